// Command edge measures weft's proxy beside Envoy, nginx and haproxy in the same run: processor time per request of the proxy, as medians of
// interleaved rounds and their ratios.
//
//	go run ./test/bench/edge [-rounds 5] [-seconds 3] [-only REGEXP] [-peers NAME,...] [-before WEFT-PROXY] [-list]
//
// It needs two processors: the proxy under measurement has the second, the server behind it and the load generator share the first. It needs wrk,
// h2load, nginx and haproxy (Debian's), Envoy ($WEFT_ENVOY, or what scripts/envoy.sh prints) and bin/weft-proxy. Everything is on the
// loopback of a network namespace of its own, so it needs root. weft and Envoy are configured by weft's xDS, from the same objects.
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

	"github.com/weftmesh/weft/test/bench/netspace"
)

func main() {
	log.SetFlags(0)
	var (
		rounds  = flag.Int("rounds", 5, "rounds of each peer and scenario")
		seconds = flag.Float64("seconds", 3, "length of a round")
		only    = flag.String("only", ".", "scenarios whose name matches")
		peers   = flag.String("peers", "weft,envoy,nginx,haproxy", "who is measured")
		list    = flag.Bool("list", false, "print the names of the scenarios")
		weft    = flag.String("weft", "bin/weft-proxy", "weft's proxy")
		whole   = flag.String("gateway", "bin/weft", "weft, whose xDS configures both proxies")
		before  = flag.String("before", "", "another build of weft's proxy, measured as one more peer: what a change is worth on a machine that others use too")
		envoy   = flag.String("envoy", os.Getenv("WEFT_ENVOY"), "Envoy (default $WEFT_ENVOY)")
	)
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	var chosen []scenario
	for _, s := range scenarios() {
		if *before != "" {
			s.peers = slices.Insert(s.peers, 1, "before")
		}
		s.peers = slices.DeleteFunc(s.peers, func(name string) bool { return name != "before" && !slices.Contains(strings.Split(*peers, ","), name) })
		if wanted.MatchString(s.name) {
			chosen = append(chosen, s)
		}
	}
	if *list {
		for _, s := range chosen {
			fmt.Printf("%-24s %s\n", s.name, s.about)
		}
		fmt.Printf("%-24s %s\n", "edit", "the time from an edit to the first request that obeys it")
		return
	}
	if err := netspace.Alone(); err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{weft: *weft, before: *before, gateway: *whole, envoy: *envoy, rounds: *rounds, length: time.Duration(*seconds * float64(time.Second))}
	if err := b.run(ctx, chosen, wanted.MatchString("edit")); err != nil {
		log.Fatal(err)
	}
}

// bench is one run.
type bench struct {
	weft, envoy string // the proxies
	before      string // weft of another time, if it is measured too
	gateway     string // weft, whose xDS both are configured by
	rounds      int
	length      time.Duration
	dir         string
}

func (b *bench) run(ctx context.Context, chosen []scenario, edit bool) (err error) {
	if b.dir, err = os.MkdirTemp("", "weft-bench-edge-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	if err := os.Chmod(b.dir, 0o755); err != nil { // workers of nginx read what is served
		return err
	}
	backend, err := b.startBackend(ctx)
	if err != nil {
		return err
	}
	defer backend.Stop()
	fmt.Printf("median of %d interleaved rounds of %v; in brackets how many times the first's\n", b.rounds, b.length)
	for _, s := range chosen {
		if err := b.measure(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if !edit {
		return nil
	}
	return b.edit(ctx)
}

// measure runs one scenario on all its peers, in turns.
func (b *bench) measure(ctx context.Context, s scenario) error {
	peers, err := b.startPeers(ctx, s)
	defer func() {
		for _, p := range peers {
			p.stop()
		}
	}()
	if err != nil {
		return err
	}
	results := make([][]result, len(peers))
	for range b.rounds {
		for i, p := range peers {
			r, err := s.round(ctx, b, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			results[i] = append(results[i], r)
		}
	}
	print(s, peers, results)
	return nil
}
