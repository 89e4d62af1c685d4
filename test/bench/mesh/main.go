// Command mesh measures two of weft's sidecars with mutual TLS between them, beside two of stock Envoy in the same run: processor time per request of both
// together, how long requests take at a modest rate, and memory, as medians of interleaved rounds and their ratios.
//
//	go run ./test/bench/mesh [-rounds 5] [-seconds 3] [-rate 2000] [-only REGEXP] [-peers NAME,...] [-before WEFT-PROXY] [-list]
//
// A pair is two Pods: network namespaces with a cable between them and no way out. In the first are the load and a sidecar, in the second a sidecar and
// nginx. weft-proxy redirect's table turns connections to the sidecars, weft-proxy agent runs them, weft's own or Envoy, and weft's control plane signs
// their certificates and configures them, all from the same objects: a Service, its endpoints, mutual TLS that is STRICT, and a policy that lets in
// the first Pod's identity alone. Before anything is measured each pair must refuse plaintext, clients without a certificate and clients of another identity,
// and count what it lets through.
//
// It needs root and two processors: the sidecars under measurement have the second, load and nginx share the first. It needs wrk, nginx (Debian's),
// Envoy ($WEFT_ENVOY, or what scripts/envoy.sh prints) and bin/weft-proxy.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == beLoad {
		if err := loadCommand(os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	var (
		rounds  = flag.Int("rounds", 5, "rounds of each peer and scenario")
		seconds = flag.Float64("seconds", 3, "length of a round")
		rate    = flag.Int("rate", 2000, "requests per second where latency is measured")
		only    = flag.String("only", ".", "scenarios whose name matches")
		peers   = flag.String("peers", "weft,envoy", "who is measured")
		list    = flag.Bool("list", false, "print the names of the scenarios")
		weft    = flag.String("weft", "bin/weft-proxy", "weft's proxy")
		before  = flag.String("before", "", "another build of weft's proxy, measured as one more peer: what a change is worth on a machine that others use too")
		envoy   = flag.String("envoy", os.Getenv("WEFT_ENVOY"), "Envoy (default $WEFT_ENVOY)")
	)
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	chosen := slices.DeleteFunc(scenarios(*rate), func(s scenario) bool { return !wanted.MatchString(s.name) })
	if *list {
		for _, s := range chosen {
			fmt.Printf("%-12s %s\n", s.name, s.about)
		}
		return
	}
	b := &bench{rounds: *rounds, length: time.Duration(*seconds * float64(time.Second)), rate: *rate}
	for _, p := range []*peer{{name: "weft", weft: *weft}, {name: "before", weft: *before}, {name: "envoy", weft: *weft, envoy: *envoy}} {
		if p.name == "before" && *before != "" || slices.Contains(strings.Split(*peers, ","), p.name) {
			b.peers = append(b.peers, p)
		}
	}
	if err := b.run(ctx, chosen); err != nil {
		log.Fatal(err)
	}
}

// bench is one run.
type bench struct {
	rounds int
	length time.Duration
	rate   int
	dir    string
	peers  []*peer

	control *control
	large   bool // the mesh has been made so
}

func (b *bench) run(ctx context.Context, chosen []scenario) (err error) {
	if b.dir, err = os.MkdirTemp("", "weft-bench-mesh-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	if err := os.Chmod(b.dir, 0o755); err != nil { // sidecars are not root
		return err
	}
	c, err := newControl(b.dir)
	if err != nil {
		return err
	}
	b.control = c
	ctx, stop := context.WithCancel(ctx)
	defer c.wait()
	defer stop()
	for _, p := range b.peers {
		defer p.stop()
		if err := p.start(ctx, c, b.dir); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	for _, p := range b.peers {
		if err := p.settled(ctx); err != nil {
			return err
		}
		p.idle = p.resident(result{})
		if err := p.check(ctx, c); err != nil {
			return fmt.Errorf("%s is not what is to be measured: %w", p.name, err)
		}
	}
	fmt.Printf("median of %d interleaved rounds of %v; in brackets how many times the first's, then least and most\n", b.rounds, b.length)
	for _, s := range chosen {
		if err := b.measure(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// measure runs one scenario on all peers, in turns.
func (b *bench) measure(ctx context.Context, s scenario) error {
	results := make([][]result, len(b.peers))
	for range b.rounds {
		for i, p := range b.peers {
			r, err := s.round(ctx, b, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			results[i] = append(results[i], r)
		}
	}
	s.print(b.peers, results)
	return nil
}
