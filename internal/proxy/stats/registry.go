package stats

import (
	"cmp"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Label is a label of a series.
type Label struct{ Name, Value string }

// Registry is the counters of one proxy.
type Registry struct {
	shards int
	next   atomic.Uint32

	mu         sync.Mutex
	plain      map[string]*series
	collectors []func(*Text)
	traffics   map[Traffic]*Service
	own        Workload
	overflow   atomic.Uint64
}

// series is one counter or gauge under its name.
type series struct {
	name, help string
	labels     []Label
	counter    *Counter
	gauge      *Gauge
}

// New makes a registry of a proxy that is part of the workload.
func New(own Workload) *Registry {
	return &Registry{
		shards:   shardsFor(processors()),
		plain:    map[string]*series{},
		traffics: map[Traffic]*Service{},
		own:      own,
	}
}

// Shard draws a shard for a connection.
func (r *Registry) Shard() Shard { return Shard(r.next.Add(1)) }

// Counter gives the counter of a name and labels, and makes it if it is new.
func (r *Registry) Counter(name, help string, labels ...Label) *Counter {
	return r.series(name, help, labels, func(s *series) { s.counter = newCounter(r.shards) }).counter
}

// Gauge gives the gauge of a name and labels, and makes it if it is new.
func (r *Registry) Gauge(name, help string, labels ...Label) *Gauge {
	return r.series(name, help, labels, func(s *series) { s.gauge = &Gauge{} }).gauge
}

func (r *Registry) series(name, help string, labels []Label, fill func(*series)) *series {
	key := name
	for _, l := range labels {
		key += "\x00" + l.Name + "\x01" + l.Value
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.plain[key]
	if s == nil {
		s = &series{name: name, help: help, labels: labels}
		fill(s)
		r.plain[key] = s
	}
	return s
}

// Collect has f asked for more each time the counters are read.
func (r *Registry) Collect(f func(*Text)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.collectors = append(r.collectors, f)
}

// WriteTo writes everything in Prometheus' text format (version 0.0.4).
func (r *Registry) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	all := make([]*series, 0, len(r.plain))
	for _, s := range r.plain {
		all = append(all, s)
	}
	services := make([]*Service, 0, len(r.traffics))
	for _, s := range r.traffics {
		services = append(services, s)
	}
	collectors := slices.Clone(r.collectors)
	r.mu.Unlock()

	slices.SortFunc(all, func(a, b *series) int {
		return cmp.Or(strings.Compare(a.name, b.name), slices.CompareFunc(a.labels, b.labels, func(x, y Label) int { return strings.Compare(x.Value, y.Value) }))
	})
	slices.SortFunc(services, func(a, b *Service) int { return strings.Compare(a.labels, b.labels) })

	t := &Text{}
	for _, s := range all {
		if s.counter != nil {
			t.Counter(s.name, s.help, s.counter.Value(), s.labels...)
		} else {
			t.Gauge(s.name, s.help, s.gauge.Value(), s.labels...)
		}
	}
	for _, f := range collectors {
		f(t)
	}
	if n := r.overflow.Load(); n > 0 {
		t.Counter("weft_proxy_traffic_labels_overflow_total", "Peers that are counted as unknown, because there are too many different ones.", n)
	}
	writeServices(t, services)
	n, err := w.Write(t.buf)
	return int64(n), err
}
