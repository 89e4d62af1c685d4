package trace

import (
	"context"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/proxy/stats"
)

// Target is who takes spans.
type Target struct {
	Cluster string
	Service string // whose the spans are
	// HTTP is where they are posted (OTLP/HTTP); "" is OTLP/gRPC, with Authority.
	HTTP, Authority string
	Timeout         time.Duration
}

// Send sends a body to a target: an ExportTraceServiceRequest. ctx limits it.
type Send func(ctx context.Context, to Target, body []byte) error

const (
	maxQueue = 2048 // spans that wait; what comes on top is dropped and counted
	maxBatch = 512  // spans that are sent at once
	interval = time.Second
)

// Exporters send spans in the background, a goroutine for each target.
type Exporters struct {
	send    Send
	sent    *stats.Counter
	dropped *stats.Counter
	failed  *stats.Counter

	mu      sync.Mutex
	all     map[Target]*Exporter
	closed  chan struct{}
	once    sync.Once
	running sync.WaitGroup
}

// NewExporters makes them.
func NewExporters(r *stats.Registry, send Send) *Exporters {
	const name, help = "weft_proxy_spans_total", "Spans by what became of them: sent, dropped because too many waited, or failed to be sent."
	result := func(s string) *stats.Counter { return r.Counter(name, help, stats.Label{Name: "result", Value: s}) }
	return &Exporters{
		send: send, all: map[Target]*Exporter{}, closed: make(chan struct{}), sent: result("sent"), dropped: result("dropped"), failed: result("failed"),
	}
}

// To gives the exporter for a target. It lives as long as the process: there are as many targets as configuration has named.
func (e *Exporters) To(t Target) *Exporter {
	e.mu.Lock()
	defer e.mu.Unlock()
	one := e.all[t]
	if one == nil {
		one = &Exporter{of: e, to: t, queue: make(chan []byte, maxQueue)}
		e.all[t] = one
		e.running.Go(one.run)
	}
	return one
}

// Close sends what waits, for a second at most, and ends. Calling it twice does no harm.
func (e *Exporters) Close() {
	e.once.Do(func() { close(e.closed) })
	e.running.Wait()
}

// Exporter sends spans to one target.
type Exporter struct {
	of    *Exporters
	to    Target
	queue chan []byte
}

// Export takes a span that has ended. It never waits.
func (e *Exporter) Export(shard stats.Shard, s *Span) {
	select {
	case e.queue <- s.Append(nil):
	default:
		e.of.dropped.Add(shard, 1)
	}
}

func (e *Exporter) run() {
	for {
		select {
		case first := <-e.queue:
			e.batch(first)
		case <-e.of.closed:
			for {
				select {
				case first := <-e.queue:
					e.batch(first)
				default:
					return
				}
			}
		}
	}
}

// batch sends a span with those that come within the interval.
func (e *Exporter) batch(spans []byte) {
	n := 1
	timer := time.NewTimer(interval)
	defer timer.Stop()
	closed := e.of.closed
	for done := false; !done && n < maxBatch; {
		select {
		case more := <-e.queue:
			spans = append(spans, more...)
			n++
		case <-timer.C:
			done = true
		case <-closed:
			closed = nil
			timer.Reset(0)
		}
	}
	timeout := e.to.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	if closed == nil {
		timeout = min(timeout, interval)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	counter := e.of.sent
	if err := e.of.send(ctx, e.to, request(e.to.Service, spans)); err != nil {
		counter = e.of.failed
	}
	counter.Add(0, uint64(n))
}
