package upstream

import (
	"context"
	"net"
	"sync"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// Conn is a connection for bytes. Conn.Conn is the connection itself, for who wants to splice; Close must be this one's, once or more.
type Conn struct {
	net.Conn
	endpoint *Endpoint
	priority Priority
	once     sync.Once
}

// Dial picks an endpoint and connects to it, for tcp_proxy. The endpoint is nil only if none was chosen. Errors are those of [Cluster.Pick] and
// [Endpoint.Dial].
func (c *Cluster) Dial(ctx context.Context, pc *PickContext) (*Conn, *Endpoint, error) {
	e, err := c.Pick(ctx, pc)
	if err != nil {
		return nil, nil, err
	}
	nc, err := e.Dial(ctx, pc)
	return nc, e, err
}

// Dial connects to the endpoint, over its transport socket. Errors are [ErrOverflow], [ErrConnect] (that was told to Done already), or the
// context's.
func (e *Endpoint) Dial(ctx context.Context, pc *PickContext) (*Conn, error) {
	c := e.cluster
	b := &c.breakers[pc.Priority]
	if !take(&b.connections, c.config.Load().limits[pc.Priority].connections) {
		c.stats.cxOverflow.Add(1)
		return nil, c.errOverflow
	}
	t := e.pools.Load().transport
	var none *message.Request
	nc, _, err := e.dial(ctx, t, t.key(none, pc), nil)
	if err != nil {
		b.connections.Add(-1)
		return nil, err
	}
	conn := &Conn{Conn: nc, endpoint: e, priority: pc.Priority}
	e.active.Add(1)
	c.set.open.add(conn)
	return conn, nil
}

// Endpoint is where the connection goes.
func (c *Conn) Endpoint() *Endpoint { return c.endpoint }

// Close closes the connection.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.endpoint.active.Add(-1)
		c.endpoint.disconnected()
		c.endpoint.cluster.breakers[c.priority].connections.Add(-1)
		c.endpoint.cluster.set.open.remove(c)
	})
	return err
}
