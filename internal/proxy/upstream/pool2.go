package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	http2 "github.com/weftmesh/weft/internal/proxy/http2/transport"
)

// errOtherProtocol says that ALPN gave the protocol of the pool's other half, which has the connection now.
var errOtherProtocol = errors.New("upstream: ALPN gave another protocol")

// pool2 is HTTP/2 connections. One carries all exchanges until it takes no more; then there are two.
type pool2 struct {
	pool *pool

	mu       sync.Mutex
	conns    []*conn2
	dialing  *dialing
	draining bool

	waiting atomic.Int32 // requests for which there is no room
	room    chan struct{}
}

// conn2 is one HTTP/2 connection.
type conn2 struct {
	pool     *pool2
	client   *http2.Client
	priority Priority
	intro    introduction
	requests atomic.Int64
}

// dialing is a connection in the making; all requests that need one wait for it, and none of them can break it off.
type dialing struct {
	done chan struct{}
	conn *conn2 // after done
	err  error  // after done
}

// begin starts the exchange on a connection that has room, or on a new one.
func (p *pool2) begin(x *exchange, alpn []string) error {
	for refused := 0; ; {
		c := p.ready(x.avoid)
		if c == nil {
			made, err := p.grow(x, alpn)
			if err != nil {
				return err
			}
			if made != nil && made.ended() { // closed as soon as it was made
				if refused++; refused > 3 {
					return fmt.Errorf("cluster %s: %s: %w: it takes no stream", p.cluster().name, p.pool.endpoint().key, ErrConnect)
				}
			}
			continue
		}
		reused := c.requests.Add(1) > 1
		before := c.intro.begin(x)
		stream, err := c.client.Start(x.req, x.length)
		x.req.Fields.Truncate(before)
		if err == nil {
			x.on2 = c
			x.carry(stream, reused)
			p.limit(c)
			p.wake() // there may be room for more than one of those who wait
			return nil
		}
		if refused++; refused > 3 || !unprocessed(err) {
			return err
		}
	}
}

// ready gives a connection that takes another stream, the newest first; nil if there is none.
func (p *pool2) ready(avoid *conn2) *conn2 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.conns) - 1; i >= 0; i-- {
		if c := p.conns[i]; c != avoid && c.client.CanStart() {
			return c
		}
	}
	return nil
}

// limit drains a connection that carried as many requests as it may.
func (p *pool2) limit(c *conn2) {
	if limit := p.cluster().config.Load().http.maxRequests; limit > 0 && c.requests.Load() >= limit {
		p.stats().cxMaxRequests.Add(1)
		p.remove(c)
		c.client.Drain()
		return
	}
	p.mu.Lock()
	draining := p.draining
	p.mu.Unlock()
	if draining { // somebody came late, and was served all the same
		c.client.Drain()
	}
}

// grow waits until there is another connection, or room on one.
func (p *pool2) grow(x *exchange, alpn []string) (*conn2, error) {
	cluster := p.cluster()
	b, l := &cluster.breakers[x.pc.Priority], &cluster.config.Load().limits[x.pc.Priority]
	if !take(&b.pending, l.pending) {
		cluster.stats.rqPendingOverflow.Add(1)
		return nil, cluster.errOverflow
	}
	defer b.pending.Add(-1)
	cluster.stats.rqPendingTotal.Add(1)
	ctx, cancel := x.pc.limit(x.ctx)
	defer cancel()

	p.mu.Lock()
	if p.pool.learned.Load() == learnedHTTP1 && p.pool.owner.transport.protocol == speakNegotiated {
		p.mu.Unlock()
		return nil, errOtherProtocol
	}
	d := p.dialing
	if d == nil {
		full := !take(&b.connections, l.connections)
		if full {
			cluster.stats.cxOverflow.Add(1)
			if len(p.conns) > 0 {
				return nil, p.await(ctx, x) // unlocks
			}
			b.connections.Add(1) // each pool may have one
		}
		d = &dialing{done: make(chan struct{})}
		p.dialing = d
		priority := x.pc.Priority
		if !cluster.set.spawn(func() { p.dial(d, alpn, priority) }) {
			p.dialing = nil
			b.connections.Add(-1)
			p.mu.Unlock()
			return nil, ErrClosed
		}
	}
	p.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// await waits for room on the connections there are. It is called with mu held, and gives it back.
func (p *pool2) await(ctx context.Context, x *exchange) error {
	if p.room == nil {
		p.room = make(chan struct{}, 1)
	}
	room := p.room
	p.waiting.Add(1)
	p.mu.Unlock()
	defer p.waiting.Add(-1)
	if p.ready(x.avoid) != nil { // between the look and the count
		return nil
	}
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wake tells one of those who wait that there may be room.
func (p *pool2) wake() {
	if p.waiting.Load() == 0 {
		return
	}
	p.mu.Lock()
	room := p.room
	p.mu.Unlock()
	select {
	case room <- struct{}{}:
	default:
	}
}

// dial makes a connection, for whoever needs one. It is counted already.
func (p *pool2) dial(d *dialing, alpn []string, priority Priority) {
	nc, negotiated, err := p.pool.dial(p.cluster().set.ctx, alpn)
	switch {
	case err != nil:
		if errors.Is(err, context.Canceled) {
			err = ErrClosed
		}
		p.cluster().breakers[priority].connections.Add(-1)
	case negotiated != "h2" && p.pool.owner.transport.protocol == speakNegotiated:
		p.cluster().breakers[priority].connections.Add(-1)
		p.pool.learn(nc, negotiated, priority)
		err = errOtherProtocol
	default:
		d.conn = p.add(nc, priority)
	}
	p.mu.Lock()
	p.dialing = nil
	p.mu.Unlock()
	d.err = err
	close(d.done)
	p.wake()
}

// adopt takes a connection that was made for HTTP/1 and speaks HTTP/2.
func (p *pool2) adopt(nc net.Conn, priority Priority) {
	p.cluster().breakers[priority].connections.Add(1)
	p.add(nc, priority)
}

// add takes a connection in. It leaves when it is closed.
func (p *pool2) add(nc net.Conn, priority Priority) *conn2 {
	cluster := p.cluster()
	cfg := cluster.config.Load()
	c := &conn2{pool: p, client: http2.NewClient(nc, cfg.http.http2), intro: newIntroduction(nc), priority: priority}
	cluster.set.open.add(c)
	cluster.stats.cxHTTP2Total.Add(1)
	if p.pool.owner.transport.protocol == speakNegotiated {
		p.pool.learned.Store(learnedHTTP2)
	}
	p.mu.Lock()
	p.conns = append(p.conns, c)
	age := cfg.http.maxAge
	if p.draining { // it was begun before that, and is for those who wait for it
		age = cfg.connectTimeout
	}
	p.mu.Unlock()
	if !cluster.set.spawn(func() { p.follow(c, age) }) {
		_ = c.client.Close()
	}
	return c
}

// follow waits for a connection's end.
func (p *pool2) follow(c *conn2, maxAge time.Duration) {
	var old <-chan time.Time
	if maxAge > 0 {
		t := time.NewTimer(maxAge)
		defer t.Stop()
		old = t.C
	}
	draining := c.client.Draining()
	for closed := false; !closed; {
		select {
		case <-old:
			c.client.Drain()
			old = nil
		case <-draining:
			p.remove(c)
			p.wake()
			draining = nil
		case <-c.client.Closed():
			closed = true
		}
	}
	p.remove(c)
	cluster := p.cluster()
	cluster.breakers[c.priority].connections.Add(-1)
	cluster.set.open.remove(c)
	p.pool.endpoint().disconnected()
	p.wake()
}

// remove takes a connection out; its streams go on.
func (p *pool2) remove(c *conn2) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.conns, c); i >= 0 {
		p.conns = slices.Delete(p.conns, i, i+1)
	}
}

// drain closes connections when their streams are done.
func (p *pool2) drain() {
	p.mu.Lock()
	p.draining = true
	conns := slices.Clone(p.conns)
	p.mu.Unlock()
	for _, c := range conns {
		c.client.Drain()
	}
}

func (p *pool2) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dialing != nil {
		return false
	}
	for _, c := range p.conns {
		if c.client.Active() > 0 {
			return false
		}
	}
	return true
}

func (p *pool2) cluster() *Cluster    { return p.pool.endpoint().cluster }
func (p *pool2) stats() *clusterStats { return &p.cluster().stats }

// Close breaks the connection off.
func (c *conn2) Close() error { return c.client.Close() }

// ended tells whether it takes no stream any more.
func (c *conn2) ended() bool {
	select {
	case <-c.client.Draining():
		return true
	default:
		return false
	}
}
