package listen

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/weftmesh/weft/internal/proxy/detect"
)

// choice is which chain serves a connection.
type choice struct {
	chain *Chain // nil: none
	of    *candidates
	// asked is the chain whose filters were asked already, and admitted what they said.
	asked    *Chain
	admitted bool
	opening  Opening // what the chain's handler began with; nil if it did not
	said     []byte  // what the server said meanwhile
}

// admits asks the filters of a chain, once.
func (s *server) admits(ch *choice, chain *Chain, c *Conn) bool {
	if ch.asked != chain {
		ch.asked, ch.admitted = chain, !slices.ContainsFunc(chain.Filters, func(f Filter) bool { return !f.Admit(c) })
	}
	return ch.admitted
}

// begin finds out what the choice needs, and chooses.
func (s *server) begin(ctx context.Context, l *Listener, c *Conn) (ch choice, err error) {
	if l.OriginalDst {
		if at, ok := originalDst(c.Net); ok {
			c.Local = at
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Net.Close() })
	defer stop()
	limit := func() {
		if t := orDefault(l.Timeout); t > 0 {
			_ = c.Net.SetReadDeadline(time.Now().Add(t))
		}
	}
	if l.ProxyProtocol {
		limit()
		src, dst, err := readProxyHeader(c.Net)
		if err != nil {
			return ch, err
		}
		if src.IsValid() {
			c.Peer, c.Local = src, dst
		}
		_ = c.Net.SetReadDeadline(time.Time{})
	}
	ch.of = l.index.candidates(c.Local)
	if ch.of == nil {
		ch.chain = l.Default
		return ch, nil
	}
	q := ch.of.question
	q.HTTP = q.HTTP && l.HTTPInspector
	silent := l.find(ch.of, facts{transport: "raw_buffer"})
	if !q.TLS && !q.HTTP {
		ch.chain = silent
		return ch, nil
	}
	// Where bytes are carried for who says nothing, the server may speak first: nobody waits for the client.
	if silent != nil && silent.TLS == nil && s.admits(&ch, silent, c) {
		if o, ok := silent.Handler.(Opener); ok {
			return ch, s.race(ctx, l, q, silent, o, &ch, c)
		}
	}
	limit()
	a, err := detect.Read(c.Net, q)
	c.Prefix = a.Read
	var timeout net.Error
	if err != nil && !(l.ContinueOnTimeout && errors.As(err, &timeout) && timeout.Timeout()) {
		return ch, err
	}
	_ = c.Net.SetReadDeadline(time.Time{})
	ch.chain = l.find(ch.of, c.heard(&a))
	return ch, nil
}

// find gives the chain among candidates, or the default one.
func (l *Listener) find(of *candidates, f facts) *Chain {
	if chain := of.find(&f); chain != nil {
		return chain
	}
	return l.Default
}

// factsOf is what of a client's first bytes the choice goes by.
func factsOf(a *detect.Answer) facts {
	f := facts{transport: "raw_buffer"}
	switch {
	case a.TLS:
		f.transport, f.name, f.alpn = "tls", a.Hello.ServerName, a.Hello.Protocols
	case a.Protocol != "":
		f.alpn = []string{a.Protocol}
	}
	return f
}

// heard is factsOf, noted of the connection.
func (c *Conn) heard(a *detect.Answer) facts {
	c.ServerName, c.ALPN = a.Hello.ServerName, a.Hello.Protocols
	return factsOf(a)
}

// race chooses between the chain for a client that says nothing, which is opened at once, and others that it may mean.
func (s *server) race(ctx context.Context, l *Listener, q detect.Question, silent *Chain, o Opener, ch *choice, c *Conn) error {
	grace := time.Duration(0)
	if q.TLS && !s.plaintext(c.Transport.Addr()) {
		grace = hush
	}
	a, opening, said, err := Race(ctx, c, q, grace, func(ctx context.Context) Opening { return o.Open(ctx, c) },
		func(a *detect.Answer) bool { return l.find(ch.of, factsOf(a)) == silent })
	if err != nil {
		return err
	}
	ch.chain, ch.opening, ch.said = l.find(ch.of, c.heard(&a)), opening, said
	if !a.TLS { // of that, what is inside counts
		s.learned.Note(c.Local, said, len(c.Prefix) > 0)
	}
	return nil
}

// plaintext tells whether a client is known to speak none of the mesh's TLS.
func (s *server) plaintext(ip netip.Addr) bool {
	f := s.outside.Load()
	return f != nil && (*f)(ip)
}

// What a client of the mesh says by ALPN when it does not say what it speaks, and when it does.
const (
	meshALPN   = "istio"
	meshHTTP11 = "istio-http/1.1"
	meshHTTP2  = "istio-h2"
)

// inside finds out what is inside the mesh's TLS, where the client does not say it and the port has a chain for HTTP beside the one that carries bytes. It
// is false when the connection is over.
func (s *server) inside(ctx context.Context, l *Listener, ch *choice, c *Conn) bool {
	carries, ok := ch.chain.Handler.(Opener)
	if !ok || ch.of == nil || !slices.Equal(c.ALPN, []string{meshALPN}) || s.learned.ServerFirst(c.Local) || !s.admits(ch, ch.chain, c) {
		return true
	}
	f := facts{name: c.ServerName, transport: "tls", alpn: []string{meshHTTP11}}
	http11 := ch.of.find(&f)
	f.alpn[0] = meshHTTP2
	http2 := ch.of.find(&f)
	if http11 == nil || http11 == ch.chain || http11.TLS == nil || http2 == nil {
		return true
	}
	a, opening, said, err := Race(ctx, c, detect.Question{HTTP: true}, 0, func(ctx context.Context) Opening { return carries.Open(ctx, c) },
		func(a *detect.Answer) bool { return a.Protocol == "" })
	if err != nil {
		return false
	}
	s.learned.Note(c.Local, said, len(c.Prefix) > 0)
	switch a.Protocol {
	case "":
		ch.opening, ch.said = opening, said
	case detect.H2C:
		ch.chain = http2
	default:
		ch.chain = http11
	}
	return true
}
