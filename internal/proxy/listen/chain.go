package listen

import (
	"context"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/proxy/tls"
)

// Chain is a filter chain: what becomes of connections that match. It is not changed while in use; one that differs is another chain.
type Chain struct {
	Name  string
	Match Match
	// TLS is how connections are decrypted; nil leaves them as they are.
	TLS *tls.Server
	// HandshakeTimeout limits that (15 s if zero).
	HandshakeTimeout time.Duration
	// Filters decide on a connection, in order, before Handler gets it.
	Filters []Filter
	Handler Handler

	mu       sync.Mutex
	conns    map[*Conn]context.CancelFunc
	draining bool
	empty    chan struct{} // closed when draining and no connection is left
}

func (c *Chain) add(conn *Conn, cancel context.CancelFunc) {
	c.mu.Lock()
	if c.conns == nil {
		c.conns = map[*Conn]context.CancelFunc{}
	}
	c.conns[conn] = cancel
	draining := c.draining
	c.mu.Unlock()
	if draining {
		conn.startDrain()
	}
}

func (c *Chain) remove(conn *Conn) {
	c.mu.Lock()
	delete(c.conns, conn)
	if c.draining && len(c.conns) == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
	c.mu.Unlock()
}

// Active is how many connections the chain serves.
func (c *Chain) Active() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

// StartDrain asks every connection to end, also those that are still to come. It returns at once.
func (c *Chain) StartDrain() {
	c.mu.Lock()
	c.draining = true
	all := make([]*Conn, 0, len(c.conns))
	for conn := range c.conns {
		all = append(all, conn)
	}
	c.mu.Unlock()
	for _, conn := range all {
		conn.startDrain()
	}
}

// Drain is StartDrain, waits until no connection is left or ctx is done, and then ends those that are.
func (c *Chain) Drain(ctx context.Context) {
	c.StartDrain()
	c.mu.Lock()
	if len(c.conns) == 0 {
		c.mu.Unlock()
		return
	}
	if c.empty == nil {
		c.empty = make(chan struct{})
	}
	empty := c.empty
	c.mu.Unlock()
	select {
	case <-empty:
		return
	case <-ctx.Done():
	}
	c.mu.Lock()
	for _, cancel := range c.conns {
		cancel()
	}
	c.mu.Unlock()
	<-empty
}
