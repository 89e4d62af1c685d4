package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/test/bench/measure"
)

// sizes are those of the answers that there are, in bytes.
func sizes() []int { return []int{100, 10240, 1 << 20} }

// scenario is one thing that is measured.
type scenario struct {
	name, about string
	figures     []figure
	round       func(ctx context.Context, b *bench, p *peer) (result, error)
}

// figure is what is told of a scenario's results.
type figure struct {
	name, unit string
	of         func(result) float64
}

// result is what one round came to.
type result struct {
	client, server time.Duration // processor time of each sidecar, per request
	rate           float64       // requests per second
	latencies      latencies
	memory, own    [2]float64 // MiB resident, and what of that is not shared, of the client's sidecar and of the server's
}

// What is told.
var (
	cpu       = figure{"both", "µs CPU", func(r result) float64 { return micros(r.client + r.server) }}
	cpuClient = figure{"client", "µs CPU", func(r result) float64 { return micros(r.client) }}
	cpuServer = figure{"server", "µs CPU", func(r result) float64 { return micros(r.server) }}
	rate      = figure{"rate", "/s", func(r result) float64 { return r.rate }}
	p50       = figure{"p50", "µs", func(r result) float64 { return micros(r.latencies.P50) }}
	p99       = figure{"p99", "µs", func(r result) float64 { return micros(r.latencies.P99) }}
	memory1   = figure{"client", "MiB", func(r result) float64 { return r.memory[0] }}
	memory2   = figure{"server", "MiB", func(r result) float64 { return r.memory[1] }}
	own1      = figure{"own", "MiB", func(r result) float64 { return r.own[0] }}
	own2      = figure{"own", "MiB", func(r result) float64 { return r.own[1] }}
)

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func scenarios(perSecond int) []scenario {
	full, all := []figure{cpu, cpuClient, cpuServer, rate}, []figure{memory1, own1, memory2, own2}
	wrk := func(at, host string, size int) func(context.Context, *bench, *peer) (result, error) {
		return func(ctx context.Context, b *bench, p *peer) (result, error) {
			return p.loaded(func() (float64, error) {
				return measure.Wrk(ctx, p.client.place(measure.LoadProcessor), at+"/"+strconv.Itoa(size), 64, size, b.length, "Host: "+host)
			})
		}
	}
	return []scenario{
		{"idle", "resident, before there was any request", all, func(_ context.Context, _ *bench, p *peer) (result, error) { return p.idle, nil }},
		{"100B", "64 kept connections, 100 bytes", full, wrk(serviceURL, serviceHost, 100)},
		{"10KB", "10 KB", full, wrk(serviceURL, serviceHost, 10240)},
		{"1MB", "1 MB", full, wrk(serviceURL, serviceHost, 1<<20)},
		{"handshake", "100 bytes, a new connection with mutual TLS between the sidecars for each request", full, wrk(onceURL, onceHost, 100)},
		{"rate", fmt.Sprintf("64 kept connections, 100 bytes, %d requests a second", perSecond), []figure{p50, p99, cpu}, func(ctx context.Context, b *bench, p *peer) (result, error) { return b.atRate(ctx, p) }},
		{"after", "resident, after all that", all, func(_ context.Context, _ *bench, p *peer) (result, error) { return p.resident(result{}), nil }},
		{"large", fmt.Sprintf("resident, with a mesh of %d Services x %d endpoints", largeServices, largeEndpoints), all, func(ctx context.Context, b *bench, p *peer) (result, error) {
			err := b.enlarge(ctx)
			return p.resident(result{}), err
		}},
		{"fresh", "resident, of sidecars that begin in that mesh", all, func(ctx context.Context, b *bench, p *peer) (result, error) {
			if err := b.enlarge(ctx); err != nil {
				return result{}, err
			}
			return p.restarted(ctx)
		}},
	}
}

// resident adds what the sidecars have resident.
func (p *peer) resident(r result) result {
	for i, s := range []*measure.Process{p.client.sidecar, p.server.sidecar} {
		r.memory[i], r.own[i] = s.Memory(), s.Own()
	}
	return r
}

// loaded measures a pair while load runs, which tells how many requests there were.
func (p *peer) loaded(load func() (requests float64, err error)) (r result, err error) {
	client, server, began := p.client.sidecar.CPU(), p.server.sidecar.CPU(), time.Now()
	requests, err := load()
	if err != nil {
		return r, err
	}
	if requests < 100 {
		return r, fmt.Errorf("only %.0f requests: this measures nothing", requests)
	}
	r.rate = requests / time.Since(began).Seconds()
	r.client = time.Duration(float64(p.client.sidecar.CPU()-client) / requests)
	r.server = time.Duration(float64(p.server.sidecar.CPU()-server) / requests)
	return p.resident(r), nil
}

// atRate measures latency, with a load generator in a process of its own.
func (b *bench) atRate(ctx context.Context, p *peer) (r result, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	var l latencies
	r, err = p.loaded(func() (float64, error) {
		out, err := measure.Output(ctx, p.client.place(measure.LoadProcessor), self, beLoad, "-to", strings.TrimPrefix(serviceURL, "http://")+":80", "-host", serviceHost, "-bytes", "100",
			"-rate", strconv.Itoa(b.rate), "-length", b.length.String())
		if err != nil {
			return 0, err
		}
		if err := json.Unmarshal([]byte(out), &l); err != nil {
			return 0, fmt.Errorf("load: %w: %s", err, out)
		}
		return float64(l.Requests), nil
	})
	r.latencies = l
	return r, err
}

// print writes one scenario's medians, with least and most.
func (s scenario) print(peers []*peer, results [][]result) {
	fmt.Printf("\n%s: %s\n", s.name, s.about)
	for _, f := range s.figures {
		var first float64
		for i, p := range peers {
			values := make([]float64, len(results[i]))
			for k, r := range results[i] {
				values[k] = f.of(r)
			}
			if i == 0 {
				first = measure.Median(values)
			}
			fmt.Printf("  %-7s %-7s %s\n", f.name, p.name, measure.Summary(values, f.unit, first))
		}
	}
}
