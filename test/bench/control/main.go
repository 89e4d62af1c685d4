package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

// size is the mesh that is made up, and who watches it.
type size struct {
	services, endpoints, sidecars int
	hosts                         int // that each sidecar uses; 0 is all
	addresses                     int // of Pods that each asks about
	rounds                        int
}

func main() {
	s := size{}
	flag.IntVar(&s.services, "services", 1000, "Services of the mesh")
	flag.IntVar(&s.endpoints, "endpoints", 10, "endpoints of each")
	flag.IntVar(&s.sidecars, "sidecars", 500, "sidecars")
	flag.IntVar(&s.hosts, "hosts", 10, "hosts whose routes, clusters and endpoints each sidecar subscribes to; 0 is all")
	flag.IntVar(&s.addresses, "addresses", 3, "addresses of Pods that each sidecar asks about")
	flag.IntVar(&s.rounds, "rounds", 11, "changes of each kind")
	serve := flag.Bool("serve", false, "be the control plane; the benchmark starts itself so")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, s, *serve)
	if err != nil {
		fmt.Fprintln(os.Stderr, "control:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s size, serve bool) error {
	if serve {
		return beControl(ctx, s)
	}
	fmt.Printf("%d Services x %d endpoints, %d sidecars", s.services, s.endpoints, s.sidecars)
	if s.hosts == 0 {
		fmt.Println(", each subscribed to everything")
	} else {
		fmt.Printf(", each using %d hosts\n", s.hosts)
	}
	c, err := startControl(ctx, s)
	if err != nil {
		return err
	}
	defer c.stop()
	before, err := c.cost()
	if err != nil {
		return err
	}
	fleet, err := connect(ctx, c.address, s)
	if err != nil {
		return err
	}
	defer fleet.close()
	began := time.Now()
	if err := fleet.wait(ctx, (*sidecar).full); err != nil {
		return err
	}
	after, err := c.cost()
	if err != nil {
		return err
	}
	fmt.Printf("connect: all have everything after %v; %v of CPU, memory %d -> %d MiB, %d KiB sent to each\n",
		time.Since(began).Round(time.Millisecond), (after.cpu - before.cpu).Round(time.Millisecond), before.rss>>20, after.rss>>20, fleet.bytes()/int64(s.sidecars)>>10)
	for _, kind := range []string{"endpoint", "route", "service", "same"} {
		if err := measure(ctx, s, c, fleet, kind); err != nil {
			return err
		}
	}
	return nil
}

// measure makes one kind of change again and again.
func measure(ctx context.Context, s size, c *control, f *fleet, kind string) error {
	var took, cpu []time.Duration
	sent := f.bytes()
	reached := 0
	for round := range s.rounds {
		before, err := c.cost()
		if err != nil {
			return err
		}
		began := time.Now()
		if err := c.change(kind, round); err != nil {
			return err
		}
		if kind == "same" { // nobody is to be told
			time.Sleep(200 * time.Millisecond)
		} else {
			if reached, err = f.settle(ctx, c, kind, round); err != nil {
				return err
			}
			took = append(took, time.Since(began))
		}
		after, err := c.cost()
		if err != nil {
			return err
		}
		cpu = append(cpu, after.cpu-before.cpu)
	}
	if kind == "same" {
		fmt.Printf("%-9s %v of CPU, %d bytes sent\n", kind+":", median(cpu), f.bytes()-sent)
		return nil
	}
	slices.Sort(took)
	fmt.Printf("%-9s reaches %d sidecars in %v (median of %d, longest %v); %v of CPU, %d bytes to each\n", kind+":",
		reached, took[len(took)/2].Round(100*time.Microsecond), s.rounds, took[len(took)-1].Round(100*time.Microsecond), median(cpu), (f.bytes()-sent)/int64(max(1, reached*s.rounds)))
	return nil
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2].Round(100 * time.Microsecond)
}
