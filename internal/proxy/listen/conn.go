package listen

import (
	"context"
	cryptotls "crypto/tls"
	"net"
	"net/netip"
	"sync"

	"github.com/weftmesh/weft/internal/proxy/stats"
)

// Conn is a connection as a chain's handler gets it.
type Conn struct {
	// Net is the connection: a *net.TCPConn, or a *tls.Conn whose handshake is done.
	Net net.Conn
	// Prefix is what was read from Net already, to be taken before what Net gives.
	Prefix []byte

	ID    uint64 // unique in the process
	Shard stats.Shard
	// Peer is the other end, or what the PROXY protocol says of it; Local our end, or where the connection went before it was redirected.
	Peer, Local netip.AddrPort
	// Transport is the other end of the TCP connection, whatever the PROXY protocol says.
	Transport netip.AddrPort

	ServerName string   // of the ClientHello, if one was read
	ALPN       []string // what the client offers, if a ClientHello was read
	TLS        *cryptotls.ConnectionState
	// Principal is the first URI in the certificate that the other end has shown: its SPIFFE ID, "" if there is none. It was verified if the chain's
	// TLS context asks for that.
	Principal string
	// LocalPrincipal is the same of the certificate that we have shown.
	LocalPrincipal string
	// Refusal is why a filter refused it, in the words of access logs.
	Refusal string

	mu       sync.Mutex
	drain    func()
	draining bool
}

// OnDrain has f called when the connection should end soon: its chain was replaced, or the process ends. f returns at once. It is called right away
// if that has happened already.
func (c *Conn) OnDrain(f func()) {
	c.mu.Lock()
	c.drain = f
	now := c.draining
	c.mu.Unlock()
	if now {
		f()
	}
}

func (c *Conn) startDrain() {
	c.mu.Lock()
	f := c.drain
	first := !c.draining
	c.draining = true
	c.mu.Unlock()
	if f != nil && first {
		f()
	}
}

// Draining tells whether the connection should end soon.
func (c *Conn) Draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// Handler serves the connections of a chain.
type Handler interface {
	// ServeConn runs a connection to its end. When ctx is done the connection is closed beneath it.
	ServeConn(ctx context.Context, c *Conn)
}

// Refuser is a handler that is told of the connections which a filter kept from it.
type Refuser interface{ Refused(c *Conn) }

// Opener is a handler that can begin before the client has said anything: the server may be the one that speaks first.
type Opener interface {
	Handler
	// Open connects to where the connection would go. It changes nothing of c, and is called before it is known whether c is for this handler.
	Open(ctx context.Context, c *Conn) Opening
}

// Opening is the other half of a connection. One of Serve and Drop is called, once.
type Opening interface {
	// Conn is the connection to the server; nil if there is none.
	Conn() net.Conn
	// Serve runs both halves to their end, as Handler.ServeConn does. said is what the server has said already.
	Serve(ctx context.Context, said []byte)
	// Drop ends this half: the client wants something else.
	Drop()
}

// Filter is a network filter: it lets a connection be served, or refuses it, by what is known before a byte of it was read. It is called once for each
// connection, after the TLS handshake, by many at a time.
type Filter interface {
	// Admit is false to have the connection closed. It may wait, but not longer than clients do, and changes nothing of the connection but Refusal.
	Admit(c *Conn) bool
}

// prefixed is a connection of which something was read already.
type prefixed struct {
	net.Conn
	prefix []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// NetConn is the connection that it was made of.
func (p *prefixed) NetConn() net.Conn { return p.Conn }

// withPrefix gives conn back what was read of it.
func withPrefix(conn net.Conn, prefix []byte) net.Conn {
	if len(prefix) == 0 {
		return conn
	}
	return &prefixed{conn, prefix}
}
