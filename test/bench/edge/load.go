package main

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/test/bench/measure"
)

// result is what one round came to.
type result struct {
	cpu    time.Duration // of the proxy, per request
	rate   float64       // requests per second
	memory float64       // MiB
}

// loaded measures a proxy while load runs, which tells how many requests there were.
func loaded(p *peer, load func() (requests float64, err error)) (result, error) {
	before, began := p.process.CPU(), time.Now()
	requests, err := load()
	if err != nil {
		return result{}, err
	}
	if requests < 100 {
		return result{}, fmt.Errorf("only %.0f requests: this measures nothing", requests)
	}
	took := time.Since(began)
	return result{cpu: time.Duration(float64(p.process.CPU()-before) / requests), rate: requests / took.Seconds(), memory: p.process.Memory()}, nil
}

// wrk asks for a path, whose last element is the size of the answer, on keep-alive connections.
func (b *bench) wrk(ctx context.Context, url string, connections int, headers ...string) (float64, error) {
	size, err := strconv.Atoi(path.Base(url))
	if err != nil {
		return 0, err
	}
	return measure.Wrk(ctx, measure.Place{Processor: measure.LoadProcessor}, url, connections, size, b.length, append(headers, "Host: bench.test")...)
}

var h2Requests = regexp.MustCompile(`requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)

// h2load asks over HTTP/2, many streams a connection.
func (b *bench) h2load(ctx context.Context, url string, args ...string) (float64, error) {
	args = append([]string{"-t1", "-c8", "-m16", "-D" + strconv.FormatFloat(b.length.Seconds(), 'f', 0, 64) + "s", "-H:authority: bench.test"}, args...)
	out, err := measure.Output(ctx, measure.Place{Processor: measure.LoadProcessor}, "h2load", append(args, url)...)
	if err != nil {
		return 0, err
	}
	m := h2Requests.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("h2load does not say how many requests: %s", out)
	}
	// What the end of the time cut off counts as errored.
	if m[2] != "0" && m[2] != m[3] || strings.Contains(out, "status codes: 0 2xx") {
		return 0, fmt.Errorf("requests failed: %s", out)
	}
	return strconv.ParseFloat(m[1], 64)
}

// print writes one scenario's medians, with least and most.
func print(s scenario, peers []*peer, results [][]result) {
	fmt.Printf("\n%s: %s\n", s.name, s.about)
	var first float64
	for i, p := range peers {
		var cpu, rate, memory []float64
		for _, r := range results[i] {
			cpu = append(cpu, float64(r.cpu)/1e3)
			rate = append(rate, r.rate)
			memory = append(memory, r.memory)
		}
		what, value := "µs CPU", cpu
		if s.memory {
			what, value = "MiB", memory
		}
		if i == 0 {
			first = measure.Median(value)
		}
		fmt.Printf("  %-8s %s", p.name, measure.Summary(value, what, first))
		if !s.memory {
			fmt.Printf("  %8.0f/s  %.0f MiB", measure.Median(rate), measure.Median(memory))
		}
		fmt.Println()
	}
}
