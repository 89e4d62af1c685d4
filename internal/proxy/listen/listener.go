package listen

import (
	"context"
	cryptotls "crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/proxy/socket"
	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/tls"
)

// Listener is what is served on an address. It is not changed once made.
type Listener struct {
	Name          string
	Chains        []*Chain
	Default       *Chain // where no other matches; nil closes the connection
	ProxyProtocol bool
	OriginalDst   bool
	HTTPInspector bool // HTTP in the clear is told apart, where chains match by it
	// Timeout limits what has to be read before a chain is chosen (15 s if zero, none if negative); ContinueOnTimeout then goes on with what is known.
	Timeout           time.Duration
	ContinueOnTimeout bool

	index *index
}

// Prepare makes the listener ready; the error names the chain that cannot be told from another.
func (l *Listener) Prepare() (err error) {
	l.index, err = newIndex(l.Chains)
	return err
}

// All is the chains with the default one.
func (l *Listener) All() []*Chain {
	if l.Default == nil {
		return l.Chains
	}
	return append(slices.Clip(l.Chains), l.Default)
}

// Metrics are what listeners count.
type Metrics struct {
	Accepted, NoChain, BadStart, Refused, Panics *stats.Counter
	HandshakeFailed                              [tls.Failures]*stats.Counter
	Active                                       *stats.Gauge
}

// NewMetrics makes them.
func NewMetrics(r *stats.Registry) *Metrics {
	m := &Metrics{
		Accepted: r.Counter("weft_proxy_downstream_connections_total", "Connections that clients opened."),
		NoChain:  r.Counter("weft_proxy_downstream_no_filter_chain_total", "Connections that no filter chain matched."),
		BadStart: r.Counter("weft_proxy_downstream_bad_start_total", "Connections that ended before it was clear what they are."),
		Refused:  r.Counter("weft_proxy_downstream_refused_total", "Connections that a network filter refused."),
		Panics:   r.Counter("weft_proxy_panics_total", "Connections that were closed because serving them panicked."),
		Active:   r.Gauge("weft_proxy_downstream_connections_active", "Connections of clients that are open."),
	}
	for why := range tls.Failures {
		m.HandshakeFailed[why] = r.Counter("weft_proxy_downstream_handshake_failures_total", "TLS handshakes of clients that failed, by what was wrong.",
			stats.Label{Name: "reason", Value: why.String()})
	}
	return m
}

// server is what all sockets share.
type server struct {
	log     *slog.Logger
	reg     *stats.Registry
	metrics *Metrics
	learned *Learned
	outside atomic.Pointer[func(netip.Addr) bool]
	nextID  atomic.Uint64
}

const defaultTimeout = 15 * time.Second

func orDefault(d time.Duration) time.Duration {
	if d == 0 {
		return defaultTimeout
	}
	return max(d, 0)
}

// serve runs one connection to its end.
func (s *server) serve(ctx context.Context, l *Listener, nc net.Conn) {
	c := &Conn{Net: nc, ID: s.nextID.Add(1), Shard: s.reg.Shard()}
	s.metrics.Accepted.Add(c.Shard, 1)
	s.metrics.Active.Add(1)
	defer func() {
		s.metrics.Active.Add(-1)
		if p := recover(); p != nil {
			s.metrics.Panics.Add(c.Shard, 1)
			s.log.Error("a connection was closed: serving it panicked", "listener", l.Name, "peer", c.Peer, "panic", p, "stack", stack())
		}
		_ = nc.Close()
	}()
	c.Transport = addrPort(nc.RemoteAddr())
	c.Peer, c.Local = c.Transport, addrPort(nc.LocalAddr())
	ch, err := s.begin(ctx, l, c)
	if err != nil {
		s.metrics.BadStart.Add(c.Shard, 1)
		return
	}
	if ch.chain == nil {
		s.metrics.NoChain.Add(c.Shard, 1)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	counted := ch.chain
	counted.add(c, cancel)
	defer func() { counted.remove(c) }()
	if ch.chain.TLS != nil {
		if !s.handshake(ctx, ch.chain, c) || !s.inside(ctx, l, &ch, c) {
			return
		}
		if ch.chain != counted {
			counted.remove(c)
			counted = ch.chain
			counted.add(c, cancel)
		}
	}
	switch {
	case ch.opening != nil:
		ch.opening.Serve(ctx, ch.said)
	case s.admits(&ch, ch.chain, c):
		ch.chain.Handler.ServeConn(ctx, c)
	default:
		s.metrics.Refused.Add(c.Shard, 1)
		if h, ok := ch.chain.Handler.(Refuser); ok {
			h.Refused(c)
		}
	}
}

func (s *server) handshake(ctx context.Context, chain *Chain, c *Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, max(orDefault(chain.HandshakeTimeout), time.Second))
	defer cancel()
	err := chain.TLS.Await(ctx)
	t := cryptotls.Server(withPrefix(socket.Direct(c.Net), c.Prefix), chain.TLS.Config())
	if err == nil {
		err = t.HandshakeContext(ctx)
	}
	if err != nil {
		s.metrics.HandshakeFailed[tls.FailureOf(err)].Add(c.Shard, 1)
		s.log.Debug("a TLS handshake failed", "peer", c.Peer, "server_name", c.ServerName, "error", err)
		return false
	}
	state := t.ConnectionState()
	c.Net, c.Prefix, c.TLS, c.ServerName = t, nil, &state, state.ServerName
	c.LocalPrincipal = chain.TLS.Principal()
	if len(state.PeerCertificates) > 0 && len(state.PeerCertificates[0].URIs) > 0 {
		c.Principal = state.PeerCertificates[0].URIs[0].String()
	}
	return true
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
