package upstream

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Cluster is the endpoints behind one name. It is safe for concurrent use. It is the same as long as the name is in the set, through all updates;
// who still holds it after it was removed can use it as it was.
type Cluster struct {
	name     string
	set      *Set
	config   atomic.Pointer[config] // never nil
	hosts    atomic.Pointer[hosts]  // never nil
	breakers [priorities]breaker
	stats    clusterStats

	errNoHealthy, errOverflow error

	ready   chan struct{} // closed when the first endpoints are here
	created time.Time

	mu         sync.Mutex // of everything below, and of changing what is above
	closed     bool
	pending    *config // what will be when its endpoints are here
	assignment *assignment
	endpoints  map[string]*Endpoint
	locals     []local
	round      uint64 // of updates of the endpoints
	ejections  *ejections
	growth     *time.Timer    // while an endpoint is in slow start
	names      *names         // DNS
	cleaning   bool           // ORIGINAL_DST
	checks     []*checkConfig // that run
	cost       time.Duration  // of the last rebuild
	late       *time.Timer    // of a rebuild that waits
	waiting    bool           // it does
	done       chan struct{}
}

// firstWait is how long a request waits at most for the first endpoints of a cluster, from when that was made.
const firstWait = time.Second

func newCluster(s *Set, cfg *config) *Cluster {
	c := &Cluster{
		name: cfg.name, set: s, ready: make(chan struct{}), done: make(chan struct{}), created: time.Now(), endpoints: map[string]*Endpoint{},
		errNoHealthy: fmt.Errorf("cluster %s: %w", cfg.name, ErrNoHealthyUpstream),
		errOverflow:  fmt.Errorf("cluster %s: %w", cfg.name, ErrOverflow),
	}
	c.config.Store(cfg)
	c.hosts.Store(&hosts{})
	return c
}

// Name is the cluster's name.
func (c *Cluster) Name() string { return c.name }

// AltStatName is the name that counters go by, if it is another one.
func (c *Cluster) AltStatName() string { return c.config.Load().resource.GetAltStatName() }

// Metadata is what the cluster's resource says beside; it may be nil and is not to be changed.
func (c *Cluster) Metadata() *corev3.Metadata { return c.config.Load().resource.GetMetadata() }

// Ready is closed when the cluster has got its first endpoints, be they none, and they were checked if they are to be.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

// wait waits for the first endpoints.
func (c *Cluster) wait(ctx context.Context) error {
	left := time.Until(c.created.Add(firstWait))
	if left <= 0 || c.IsReady() {
		return nil
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-c.ready:
		return nil
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// latest is the last configuration that was given, whether it is in force or waits for endpoints.
func (c *Cluster) latest() *config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending != nil {
		return c.pending
	}
	return c.config.Load()
}

// update puts a configuration in force; a is its assignment for EDS, nil if that is not here yet.
func (c *Cluster) update(cfg *config, a *assignment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cfg.kind == eds && a == nil && c.assignment != nil && c.config.Load().edsName != cfg.edsName {
		c.pending = cfg
		return
	}
	c.stats.updates.Add(1)
	c.pending = nil
	c.config.Store(cfg)
	if cfg.kind == static {
		a = cfg.declared
	}
	if c.names != nil && !cfg.kind.named() {
		c.names.close()
		c.names = nil
	}
	switch {
	case cfg.kind.named():
		if c.names == nil {
			c.names = newNames(c)
		}
		a = c.names.follow(cfg)
		if a == nil { // nothing is looked up yet: what was goes on
			a = c.assignment
		}
	case cfg.kind == originalDst:
		c.startCleanup()
		a = &assignment{overprovisioning: 140}
	}
	if a == nil {
		a = c.assignment
	}
	if a != nil {
		c.apply(a)
	}
}

// assign gives the cluster its endpoints, and puts in force what waited for them.
func (c *Cluster) assign(a *assignment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if c.pending != nil {
		c.config.Store(c.pending)
		c.pending = nil
	}
	c.stats.updates.Add(1)
	if a.len() == 0 {
		c.stats.updateEmpty.Add(1)
	}
	c.apply(a)
}

// apply makes the endpoints those of an assignment. Those that stay, by their address, keep everything.
func (c *Cluster) apply(a *assignment) {
	if c.closed {
		return
	}
	cfg := c.config.Load()
	c.assignment = a
	c.round++
	stay := 0
	c.locals = make([]local, 0, len(a.localities))
	for i := range a.localities {
		l := &a.localities[i]
		out := local{weight: l.weight, priority: l.priority, endpoints: make([]*Endpoint, 0, len(l.endpoints))}
		for j := range l.endpoints {
			d := &l.endpoints[j]
			e := c.endpoints[d.address.text]
			switch {
			case e == nil:
				e = c.newEndpoint(d, cfg)
				c.endpoints[e.key] = e
			case e.seen == c.round:
				continue // twice; the first one counts
			default:
				e.declare(d, cfg)
			}
			e.seen = c.round
			stay++
			out.endpoints = append(out.endpoints, e)
		}
		c.locals = append(c.locals, out)
	}
	if cfg.kind == originalDst { // these come by requests
		for _, e := range c.endpoints {
			e.declare(&declaration{address: (*e.address.Load())[0], attrs: *e.attrs.Load()}, cfg)
		}
		c.localsOfOriginal()
	} else if len(c.endpoints) > stay {
		for key, e := range c.endpoints {
			if e.seen != c.round {
				delete(c.endpoints, key)
				c.drop(e)
			}
		}
	}
	c.watch(cfg)
	c.rebuild()
	c.settle()
}

// settle says that the cluster is ready, unless endpoints are unchecked. Under mu.
func (c *Cluster) settle() {
	if !c.IsReady() && !c.unchecked() {
		close(c.ready)
	}
}

// IsReady tells whether Ready is closed.
func (c *Cluster) IsReady() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

// newEndpoint makes an endpoint that was not there.
func (c *Cluster) newEndpoint(d *declaration, cfg *config) *Endpoint {
	e := &Endpoint{cluster: c, key: d.address.text, born: time.Now(), joined: c.round}
	e.declare(d, cfg)
	return e
}

// declare takes over what an assignment says. Under Cluster.mu.
func (e *Endpoint) declare(d *declaration, cfg *config) {
	e.attrs.Store(&d.attrs)
	to := d.address
	if d.connect.ip.IsValid() {
		to = d.connect
	}
	if old := e.address.Load(); old == nil || (*old)[0] != to || !slices.Equal((*old)[1:], d.further) {
		all := append([]address{to}, d.further...)
		e.address.Store(&all)
	}
	t := cfg.transports.of(d.attrs.metadata)
	if p := e.pools.Load(); p == nil || p.transport != t {
		e.pools.Store(newPools(e, t))
		if p != nil {
			p.drain()
		}
	}
}

// drop lets go of an endpoint that is not in the assignment any more.
func (c *Cluster) drop(e *Endpoint) {
	e.gone.Store(true)
	e.stopChecks()
	if e.failed.Load()&failedOutlier != 0 {
		c.stats.outlier.active.Add(-1)
		e.failed.And(^failedOutlier)
	}
	e.pools.Load().drain()
}

// rebuild makes hosts anew of endpoints, their health and the configuration.
func (c *Cluster) rebuild() {
	cfg, begin := c.config.Load(), time.Now()
	b := builder{
		balancing: &cfg.lb, overprovisioning: 140, locals: c.locals, prev: c.hosts.Load(), now: begin,
	}
	if c.assignment != nil {
		b.overprovisioning, b.drops = c.assignment.overprovisioning, c.assignment.drops
	}
	if b.prev.balancing != cfg.lb {
		b.prev = nil
	}
	h := b.build()
	c.hosts.Store(h)
	c.waiting, c.cost = false, time.Since(begin)
	if b.warming && !c.closed {
		c.grow(cfg.lb.slow.window)
	}
}

// grow makes hosts anew in a while, because weights have grown then.
func (c *Cluster) grow(window time.Duration) {
	step := min(time.Second, max(100*time.Millisecond, window/20))
	if c.growth == nil {
		c.growth = time.AfterFunc(step, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if !c.closed {
				c.rebuild()
			}
		})
		return
	}
	c.growth.Reset(step)
}

// mark sets or clears a reason for which an endpoint gets no requests. Under mu.
func (c *Cluster) mark(e *Endpoint, reason uint32, failed bool) {
	before := e.health()
	if failed {
		e.failed.Or(reason)
	} else {
		e.failed.And(^reason)
	}
	if after := e.health(); after != before && !e.gone.Load() {
		if before == unhealthyState {
			e.born = time.Now()
		}
		c.rebuildSoon()
	}
}

// rebuildSoon rebuilds at once where that is cheap. Where it is not, changes of health that come together are taken together, so that at most a
// tenth of the time goes into it. Under mu.
func (c *Cluster) rebuildSoon() {
	switch {
	case c.cost < time.Millisecond:
		c.rebuild()
	case c.waiting:
	case c.late == nil:
		c.waiting = true
		c.late = time.AfterFunc(10*c.cost, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.waiting && !c.closed {
				c.rebuild()
			}
		})
	default:
		c.waiting = true
		c.late.Reset(10 * c.cost)
	}
}

// close lets go of everything; exchanges go on.
func (c *Cluster) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	close(c.done)
	for _, t := range []*time.Timer{c.growth, c.late} {
		if t != nil {
			t.Stop()
		}
	}
	if c.names != nil {
		c.names.close()
	}
	c.ejections.close()
	for _, e := range c.endpoints {
		e.stopChecks()
		e.pools.Load().drain()
	}
	if !c.IsReady() {
		close(c.ready)
	}
}

// Snapshot gives the cluster as admin shows it.
func (c *Cluster) Snapshot() ClusterSnapshot {
	cfg := c.config.Load()
	out := ClusterSnapshot{Name: c.name, AltStatName: c.AltStatName(), Type: kindNames[cfg.kind], Policy: policyNames[cfg.lb.policy], Ready: c.IsReady()}
	for p, l := range cfg.limits {
		out.Limits[p] = Limits{l.connections, l.pending, l.requests, l.retries}
	}
	c.each(func(name string, value int64, gauge bool) { out.Stats = append(out.Stats, Stat{name, value, gauge}) })
	for _, e := range c.hosts.Load().endpoints {
		out.Endpoints = append(out.Endpoints, e.snapshot())
	}
	return out
}
