package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// rate asks steadily, for a while, with a bound on what is under way: a request whose turn comes while all are busy is left out and counted.
type rate struct {
	rps   int
	took  time.Duration
	limit int // requests under way
	of    asker
}

// results is what came of it.
type results struct {
	mu                    sync.Mutex
	began                 time.Time
	asked, left           int
	status, who, failures map[string]int
	latencies             []time.Duration
	finished              time.Duration
}

func load(ctx context.Context, args []string) error {
	l := rate{rps: 50, took: 10 * time.Second, limit: 32}
	timeout := 10 * time.Second
	rest := parse("load", args, func(fs *flag.FlagSet) {
		fs.IntVar(&l.rps, "rps", l.rps, "requests per second")
		fs.DurationVar(&l.took, "for", l.took, "how long")
		fs.IntVar(&l.limit, "c", l.limit, "at most this many under way")
		fs.DurationVar(&timeout, "timeout", timeout, "of one request")
		fs.Var(&l.of.header, "H", "a header field, as in Name:value")
		fs.StringVar(&l.of.url, "url", "", "whom to ask; may be given without the flag")
	})
	if len(rest) == 1 && l.of.url == "" {
		l.of.url, rest = rest[0], nil
	}
	switch {
	case l.of.url == "" || len(rest) > 0:
		return fmt.Errorf("load wants one URL")
	case l.rps <= 0 || l.rps > 100_000 || l.limit <= 0 || l.took <= 0:
		return fmt.Errorf("load wants from 1 to 100000 requests per second, at least one under way, and a time")
	}
	l.of.client = &http.Client{Timeout: timeout, Transport: &http.Transport{MaxIdleConnsPerHost: l.limit}}
	r := l.run(ctx)
	r.print(os.Stdout)
	if bad := r.bad(); bad > 0 {
		return fmt.Errorf("%d of %d requests failed", bad, r.asked)
	}
	return nil
}

func (l rate) run(ctx context.Context) *results {
	r := &results{began: time.Now(), status: map[string]int{}, who: map[string]int{}, failures: map[string]int{}}
	free := make(chan struct{}, l.limit)
	tick := time.NewTicker(time.Second / time.Duration(l.rps))
	defer tick.Stop()
	var group sync.WaitGroup
	for turn := range int(l.took.Seconds() * float64(l.rps)) {
		if turn > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break
		}
		select {
		case free <- struct{}{}:
			r.asked++
			group.Go(func() {
				began := time.Now()
				resp, _, err := l.of.ask(ctx)
				r.add(resp, err, time.Since(began))
				<-free
			})
		default:
			r.left++
		}
	}
	group.Wait()
	r.finished = time.Since(r.began)
	return r
}

func (r *results) add(resp *http.Response, err error, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latencies = append(r.latencies, took)
	if err != nil {
		r.failures[err.Error()]++
		return
	}
	r.status[fmt.Sprint(resp.StatusCode)]++
	if who := resp.Header.Get(servedBy); who != "" {
		r.who[who]++
	}
}

// bad is how many requests failed, or were answered with a server's error.
func (r *results) bad() (n int) {
	for _, k := range r.failures {
		n += k
	}
	for status, k := range r.status {
		if status[0] == '5' {
			n += k
		}
	}
	return n
}

func (r *results) print(w io.Writer) {
	fmt.Fprintf(w, "asked    %d in %.1fs (%.1f/s), %d failed, %d left out because too many were under way\n",
		r.asked, r.finished.Seconds(), float64(r.asked)/r.finished.Seconds(), r.bad(), r.left)
	for _, part := range []struct {
		name   string
		counts map[string]int
	}{{"status", r.status}, {"served", r.who}, {"error", r.failures}} {
		for _, k := range sorted(part.counts) {
			fmt.Fprintf(w, "%-8s %6d  %s\n", part.name, part.counts[k], k)
		}
	}
	if len(r.latencies) == 0 {
		return
	}
	slices.Sort(r.latencies)
	at := func(share float64) time.Duration {
		return r.latencies[int(share*float64(len(r.latencies)-1))].Round(10 * time.Microsecond)
	}
	fmt.Fprintf(w, "latency  p50 %v  p90 %v  p99 %v  max %v\n", at(0.5), at(0.9), at(0.99), at(1))
}
