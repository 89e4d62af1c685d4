package serviceproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/conntrack"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// Change is what a node does for one Service from now on.
type Change struct {
	Name    model.ServiceName
	Service *plan.Service // nil: nothing any more
}

// Flows removes flows that lead elsewhere than the plan says; *conntrack.Cleaner is one.
type Flows interface {
	Clean(ctx context.Context, diff *plan.Diff) (conntrack.Result, error)
}

// Refused is a frontend that is not in force, because the kernel would not take it.
type Refused struct {
	Frontend *plan.Frontend
	Err      error
}

// Options is what a Proxy is made of. Only Backend must be given.
type Options struct {
	Backend plan.Backend // the Proxy calls it from one goroutine at a time, and does not close it
	Flows   Flows        // nil: stale flows stay

	// PlanDir is where the last plan is kept; empty: nowhere. It is made if it does not exist.
	PlanDir string
	// DiskWait is how long the sources get, at start, before the plan on disk is used.
	DiskWait time.Duration
	// SaveDelay is how long after a change the plan is written to disk; 0 is half a second.
	SaveDelay time.Duration

	// MinInterval is the least time from the end of a flush to the next.
	MinInterval time.Duration
	// RetryMin and RetryMax bound the time to the repair after a failure, which doubles each time; 0 is 200 ms and 30 s.
	RetryMin, RetryMax time.Duration
	// AuditInterval is how often the kernel's state is compared with the plan for somebody else's edits; 0 is never.
	AuditInterval time.Duration

	// OnRefused is told the whole list, sorted by key, whenever it changes. It must not block and must not call the Proxy.
	OnRefused func([]Refused)

	Log        *slog.Logger          // nil: slog.Default
	Registerer prometheus.Registerer // nil: no metrics
}

// Proxy keeps a plan.Backend in step with the Services it is told of. Nothing is programmed until it is told that the sources are full, or
// a plan was found on disk: a plan of half the Services would cut off the other half.
type Proxy struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	file    *planFile // nil: none
	wake    chan struct{}
	saving  chan struct{}

	// turn holds a token while the backend, or what is known of its state, is used.
	turn      chan struct{}
	have      map[plan.Key]*plan.Frontend // what the backend was told last, refused ones too
	endpoints int                         // of all in have
	refused   map[plan.Key]error
	cleanAll  bool              // stale flows may be anywhere, not only at what changed
	uncleaned map[plan.Key]bool // frontends that are gone, but perhaps not their flows
	checks    *healthChecks

	mu       sync.Mutex
	live     *index
	disk     *index // nil: no plan was found, or it has been replaced
	full     bool   // live is whole
	eligible bool   // the node is meant to get traffic from load balancers
	started  time.Time
	revision uint64                     // of live
	dirty    map[plan.Key]bool          // keys that may differ between the index in use and have
	whole    bool                       // every key may
	restore  bool                       // the backend's state is not known
	pending  time.Time                  // since when there is something to flush; zero: nothing
	queued   time.Time                  // when something last joined what waits
	inFlight time.Time                  // pending of the flush under way
	unsaved  map[model.ServiceName]bool // not yet on disk
	state    state
}

// New reads the last plan from disk and gives a Proxy that waits to be run. A plan that cannot be read is logged, reported in Status and
// ignored. The error is about metrics that cannot be registered.
func New(opts Options) (*Proxy, error) {
	if opts.Backend == nil {
		return nil, errors.New("serviceproxy: no backend given")
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	setDefault(&opts.SaveDelay, 500*time.Millisecond)
	setDefault(&opts.RetryMin, 200*time.Millisecond)
	setDefault(&opts.RetryMax, 30*time.Second)
	p := &Proxy{
		opts: opts, log: opts.Log,
		wake: make(chan struct{}, 1), saving: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		have: map[plan.Key]*plan.Frontend{}, refused: map[plan.Key]error{}, cleanAll: true,
		live: newIndex(), dirty: map[plan.Key]bool{}, unsaved: map[model.ServiceName]bool{},
		restore: true, eligible: true, started: time.Now(),
	}
	p.checks = newHealthChecks(p.log, p.healthy)
	var err error
	if p.metrics, err = newMetrics(opts.Registerer, p); err != nil {
		return nil, err
	}
	if opts.PlanDir != "" {
		p.file = &planFile{dir: opts.PlanDir}
		p.readDisk()
	}
	return p, nil
}

func setDefault(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

// Update takes the changes of one commit of the source; revision is the commit's, for people to see. A key that moves from one Service to
// another within the changes is one change of that key. It never waits for the kernel. The changes' values are shared and must not change.
func (p *Proxy) Update(revision uint64, changes []Change) {
	p.mu.Lock()
	p.revision = revision
	different := false
	for _, c := range changes {
		touched := func(k plan.Key) {
			if p.full { // the first live plan is compared whole
				p.dirty[k] = true
			}
		}
		if p.live.set(c.Name, c.Service, touched) {
			different = true
			if p.full && p.file != nil {
				p.unsaved[c.Name] = true
			}
		}
	}
	if different && p.full {
		p.queue()
	}
	full := p.full
	p.mu.Unlock()
	if different && full {
		signal(p.wake)
		signal(p.saving)
	}
}

// Full says that the Updates so far add up to everything there is. The first live plan then takes the place of the one from disk, as a diff.
func (p *Proxy) Full() {
	p.mu.Lock()
	if p.full {
		p.mu.Unlock()
		return
	}
	p.full, p.whole = true, true
	p.queue()
	p.unsaved = map[model.ServiceName]bool{}
	for name, svc := range p.live.services {
		if p.disk == nil || !p.disk.services[name].Equal(svc) {
			p.unsaved[name] = true
		}
	}
	if p.disk != nil {
		for name := range p.disk.services {
			if p.live.services[name] == nil {
				p.unsaved[name] = true
			}
		}
	}
	p.disk = nil
	p.mu.Unlock()
	signal(p.wake)
	signal(p.saving)
}

// Run programs until the context ends, then writes the plan to disk and gives up the health-check ports. What is programmed stays. It is
// called once.
func (p *Proxy) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { p.saveLoop(ctx) })
	p.flushLoop(ctx)
	wg.Wait()
	p.checks.close()
	return nil
}

// Lookup tells where and how the kernel holds a frontend now, for people.
func (p *Proxy) Lookup(ctx context.Context, key plan.Key) ([]string, error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("look up %s: the kernel is being programmed: %w", describe(key), ctx.Err())
	}
	defer func() { <-p.turn }()
	return p.opts.Backend.Lookup(ctx, key)
}

// queue notes that there is something to flush.
func (p *Proxy) queue() {
	p.queued = time.Now()
	if p.pending.IsZero() {
		p.pending = p.queued
	}
}

func (p *Proxy) lastQueued() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queued
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
