// Command node measures the node's Service proxy beside its peers in the same run, as medians of interleaved rounds and their ratios.
//
//	go run ./test/bench/node [-services 10000] [-changes 1000] [-rounds 5] [-only kernel|cluster]
//
// The first table is the kernel's part. Each carrier has a network namespace of its own and programs the same Services, with two endpoints
// each: weft's nftables backend alone, weft from a commit in its store on (lowering, composition, plan, proxy loop, backend), and `nft -f` of
// the shape that kube-proxy's nftables mode has.
//
// The second table is whole processes on the same API server: `weft node` and kube-proxy, each on a node of a lab of its own, which is brought
// up and taken down. An event is timed from before the write to the API server until a connection to the Service's address is answered,
// and a process is charged with all it spends, its children too, until it rests.
//
// It needs root, nft and, for the second table, bin/weft and bin/weft-lab (make build).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

type bench struct {
	services, changes, rounds int
	weft, weftLab             string
	labName                   string
}

func main() {
	log.SetFlags(0)
	var b bench
	flag.IntVar(&b.services, "services", 10_000, "number of Services, with two endpoints each")
	flag.IntVar(&b.changes, "changes", 1_000, "how many of them change at once")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds of each carrier")
	flag.StringVar(&b.weft, "weft", "bin/weft", "the weft command")
	flag.StringVar(&b.weftLab, "weft-lab", "bin/weft-lab", "the weft-lab command")
	flag.StringVar(&b.labName, "lab", "bench", "name of the lab; it must not be up")
	only := flag.String("only", "", "kernel or cluster: only that table")
	flag.Parse()
	if b.services < 2 || b.services >= maxServices || b.changes < 1 || b.changes >= b.services || b.rounds < 1 {
		log.Fatalf("want -services from 2 to %d, -changes fewer than that, and -rounds", maxServices-1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Printf("%d Services of %d endpoints; medians of %d interleaved rounds; ratios to the first carrier\n", b.services, perService, b.rounds)
	if *only != "cluster" {
		if err := b.kernel(ctx); err != nil {
			log.Fatal(err)
		}
	}
	if *only != "kernel" {
		if err := b.cluster(ctx); err != nil {
			log.Fatal(err)
		}
	}
}

// kernel makes the first table.
func (b *bench) kernel(ctx context.Context) error {
	t := newTable("From what is to be carried to the kernel carrying it")
	for r := range b.rounds {
		log.Printf("kernel: round %d of %d", r+1, b.rounds)
		if err := b.kernelRound(ctx, t); err != nil {
			return err
		}
	}
	t.print(os.Stdout)
	return nil
}

// cluster makes the second table.
func (b *bench) cluster(ctx context.Context) (err error) {
	weft, err := filepath.Abs(b.weft)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weft-bench-node-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := upLab(ctx, b.weftLab, b.labName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.down()) }()
	log.Printf("creating %d Services", b.services)
	if err := l.populate(ctx, b.stride(b.services)); err != nil {
		return err
	}
	if err := l.set(ctx, b.first(), live); err != nil {
		return err
	}
	all, err := proxies(l, weft, dir)
	if err != nil {
		return err
	}
	for _, p := range all {
		defer p.space.Close()
		stop, err := listen(p.space)
		if err != nil {
			return err
		}
		defer stop()
	}
	t := newTable("From a write to the API server to connections being answered")
	for r := range b.rounds {
		log.Printf("cluster: round %d of %d", r+1, b.rounds)
		if err := b.clusterRound(ctx, t, l, all, dir); err != nil {
			t.print(os.Stdout)
			return err
		}
	}
	t.print(os.Stdout)
	return nil
}
