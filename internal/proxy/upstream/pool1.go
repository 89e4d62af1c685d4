package upstream

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	http1 "github.com/weftmesh/weft/internal/proxy/http1/transport"
)

// pool1 is HTTP/1 connections. What is idle is a stack: the connection used last is used next, and those at the bottom grow old.
type pool1 struct {
	pool *pool

	mu       sync.Mutex
	idle     []*conn1
	count    int // connections, and those being made
	waiters  []*waiter
	draining bool
	reaper   *time.Timer
	reaping  bool // the reaper's time runs
}

// conn1 is one HTTP/1 connection.
type conn1 struct {
	pool     *pool1
	client   *http1.Client
	priority Priority // whose breaker counts it
	intro    introduction
	requests int64
	born     time.Time
	since    time.Time // idle since
}

// waiter is a request that waits for a connection: it gets one, or nil, which is leave to make one.
type waiter struct {
	got      chan *conn1
	priority Priority
}

const (
	// restLimit is how long a connection may rest and be used again unseen. A system call for each request would cost more than what it finds; what
	// it would have found is begun again.
	restLimit = 5 * time.Millisecond
	// reapEvery is how often idle connections are looked at, so that those the endpoint closed do not linger.
	reapEvery = 30 * time.Second
)

// begin starts the exchange on an idle connection, or on a new one.
func (p *pool1) begin(x *exchange, alpn []string, fresh bool) error {
	for {
		c, err := p.take(x, alpn, fresh)
		if err != nil {
			return err
		}
		reused := c.requests > 0
		c.requests++
		before := c.intro.begin(x)
		stream, err := c.client.Start(x.req, x.length)
		x.req.Fields.Truncate(before)
		if err == nil {
			x.on1 = c
			x.carry(stream, reused)
			return nil
		}
		p.close(c)
		if !reused || !unprocessed(err) {
			return err
		}
	}
}

// take gives a connection that is the caller's.
func (p *pool1) take(x *exchange, alpn []string, fresh bool) (*conn1, error) {
	p.mu.Lock()
	for !fresh && len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle[len(p.idle)-1] = nil
		p.idle = p.idle[:len(p.idle)-1]
		if time.Since(c.since) < restLimit {
			p.mu.Unlock()
			return c, nil
		}
		p.mu.Unlock()
		if c.client.Alive() {
			return c, nil
		}
		p.stats().cxDestroyRemoteIdle.Add(1)
		p.close(c)
		p.mu.Lock()
	}
	cluster := p.cluster()
	b, l := &cluster.breakers[x.pc.Priority], &cluster.config.Load().limits[x.pc.Priority]
	if !take(&b.pending, l.pending) {
		p.mu.Unlock()
		cluster.stats.rqPendingOverflow.Add(1)
		return nil, cluster.errOverflow
	}
	defer b.pending.Add(-1)
	cluster.stats.rqPendingTotal.Add(1)
	ctx, cancel := x.pc.limit(x.ctx)
	defer cancel()
	if !take(&b.connections, l.connections) {
		cluster.stats.cxOverflow.Add(1)
		if p.count > 0 {
			return p.await(ctx, x, alpn) // unlocks
		}
		b.connections.Add(1) // each pool may have one, as with Envoy: somebody has to make room for those who wait
	}
	p.count++
	p.mu.Unlock()
	return p.connect(ctx, x, alpn)
}

// await waits for another's connection. It is called with mu held, and gives it back.
func (p *pool1) await(ctx context.Context, x *exchange, alpn []string) (*conn1, error) {
	w := &waiter{make(chan *conn1, 1), x.pc.Priority}
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	select {
	case c := <-w.got:
		if c == nil {
			return p.connect(ctx, x, alpn)
		}
		return c, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiters, w)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 { // somebody gave us something meanwhile
		if c := <-w.got; c != nil {
			p.put(c)
		} else {
			p.release(x.pc.Priority)
		}
	}
	return nil, ctx.Err()
}

// connect makes a connection that is counted already.
func (p *pool1) connect(ctx context.Context, x *exchange, alpn []string) (*conn1, error) {
	late := ctx.Err() != nil
	nc, negotiated, err := p.pool.dial(ctx, alpn)
	if err != nil {
		if !late && errors.Is(err, context.DeadlineExceeded) {
			p.pool.endpoint().Done(Result{Failure: TimedOut}) // a request that ran out of time, as any other
		}
		p.release(x.pc.Priority)
		return nil, err
	}
	if negotiated == "h2" && p.pool.owner.transport.protocol == speakNegotiated {
		p.release(x.pc.Priority)
		p.pool.learn(nc, negotiated, x.pc.Priority)
		return nil, errOtherProtocol
	}
	return p.wrap(nc, x.pc.Priority), nil
}

func (p *pool1) wrap(nc net.Conn, priority Priority) *conn1 {
	cfg := p.cluster().config.Load()
	c := &conn1{pool: p, client: http1.NewClient(nc, cfg.http.http1), intro: newIntroduction(nc), priority: priority}
	if cfg.http.maxAge > 0 {
		c.born = time.Now()
	}
	p.cluster().set.open.add(c)
	p.stats().cxHTTP1Total.Add(1)
	return c
}

// adopt takes a connection that was made for HTTP/2 and speaks HTTP/1.
func (p *pool1) adopt(nc net.Conn, priority Priority) {
	p.mu.Lock()
	p.count++
	p.mu.Unlock()
	p.cluster().breakers[priority].connections.Add(1)
	p.put(p.wrap(nc, priority))
}

// done takes a connection back after an exchange.
func (p *pool1) done(c *conn1) {
	h := &p.cluster().config.Load().http
	switch {
	case !c.client.Reusable():
		p.close(c)
	case h.maxRequests > 0 && c.requests >= h.maxRequests:
		p.stats().cxMaxRequests.Add(1)
		p.close(c)
	case h.maxAge > 0 && !c.born.IsZero() && time.Since(c.born) >= h.maxAge:
		p.close(c)
	default:
		p.put(c)
	}
}

// put gives a connection to who waits longest, or lets it rest.
func (p *pool1) put(c *conn1) {
	p.mu.Lock()
	if len(p.waiters) > 0 {
		w := p.waiters[0]
		p.waiters = slices.Delete(p.waiters, 0, 1)
		p.mu.Unlock()
		w.got <- c
		return
	}
	if p.draining {
		p.mu.Unlock()
		p.close(c)
		return
	}
	c.since = time.Now()
	p.idle = append(p.idle, c)
	if !p.reaping {
		p.reaping = true
		if p.reaper == nil {
			p.reaper = time.AfterFunc(p.reapAfter(c), p.reap)
		} else {
			p.reaper.Reset(p.reapAfter(c))
		}
	}
	p.mu.Unlock()
}

// close closes a connection that is the caller's.
func (p *pool1) close(c *conn1) {
	_ = c.client.Close()
	p.cluster().set.open.remove(c)
	p.pool.endpoint().disconnected()
	p.release(c.priority)
}

// release makes room for another connection: who waits longest may make it.
func (p *pool1) release(priority Priority) {
	cluster := p.cluster()
	p.mu.Lock()
	defer p.mu.Unlock()
	cluster.breakers[priority].connections.Add(-1)
	p.count--
	if len(p.waiters) == 0 {
		return
	}
	w := p.waiters[0]
	b, l := &cluster.breakers[w.priority], &cluster.config.Load().limits[w.priority]
	if !take(&b.connections, l.connections) {
		if p.count > 0 {
			return
		}
		b.connections.Add(1)
	}
	p.count++
	p.waiters = slices.Delete(p.waiters, 0, 1)
	w.got <- nil
}

// reapAfter is when to look again, oldest being the connection that rests longest.
func (p *pool1) reapAfter(oldest *conn1) time.Duration {
	if idle := p.cluster().config.Load().http.idle; idle > 0 {
		return max(time.Millisecond, min(idle-time.Since(oldest.since), reapEvery))
	}
	return reapEvery
}

// reap closes what has rested too long or was closed by the endpoint.
func (p *pool1) reap() {
	limit := p.cluster().config.Load().http.idle
	var old []*conn1
	p.mu.Lock()
	kept := p.idle[:0]
	for _, c := range p.idle {
		rested := time.Since(c.since)
		switch {
		case limit > 0 && rested >= limit:
			p.stats().cxIdleTimeout.Add(1)
		case rested >= restLimit && !c.client.Alive():
			p.stats().cxDestroyRemoteIdle.Add(1)
		default:
			kept = append(kept, c)
			continue
		}
		old = append(old, c)
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	if p.reaping = len(kept) > 0; p.reaping {
		p.reaper.Reset(p.reapAfter(kept[0]))
	}
	p.mu.Unlock()
	for _, c := range old {
		p.close(c)
	}
}

func (p *pool1) drain() {
	p.mu.Lock()
	p.draining = true
	idle := p.idle
	p.idle = nil
	if p.reaper != nil {
		p.reaper.Stop()
	}
	p.mu.Unlock()
	for _, c := range idle {
		p.close(c)
	}
}

func (p *pool1) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count == len(p.idle)
}

func (p *pool1) cluster() *Cluster    { return p.pool.endpoint().cluster }
func (p *pool1) stats() *clusterStats { return &p.cluster().stats }

// Close breaks the connection off; who uses it notices and gives it back.
func (c *conn1) Close() error { return c.client.Close() }
