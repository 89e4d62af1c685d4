package tcp

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/internal/proxy/listen"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// Target is where a connection goes, when that is found out for each and not said by the proxy's configuration.
type Target struct {
	Cluster string
	// Exactly and Identities are those of [upstream.PickContext].
	Exactly    netip.AddrPort
	Identities string
	Origin     string // the rule that leads there; "": the configuration's
}

// ServeConn implements [listen.Handler].
func (p *Proxy) ServeConn(ctx context.Context, c *listen.Conn) { p.Open(ctx, c).Serve(ctx, nil) }

// Open implements [listen.Opener].
func (p *Proxy) Open(ctx context.Context, c *listen.Conn) listen.Opening {
	return p.OpenTo(ctx, c, Target{Cluster: p.pick()})
}

// OpenTo is Open with another target than the configuration's.
func (p *Proxy) OpenTo(ctx context.Context, c *listen.Conn, to Target) listen.Opening {
	s := &session{p: p, c: c, info: message.Info{
		Start: time.Now(), Client: c.Peer, Peer: c.Transport, Local: c.Local, ConnectionID: c.ID, ServerName: c.ServerName, Origin: cmp.Or(to.Origin, p.origin),
		UpstreamCluster: to.Cluster,
	}}
	if s.cluster = p.env.Clusters.Get(to.Cluster); s.cluster == nil {
		s.info.Flags |= message.NoCluster
		return s
	}
	s.connect(ctx, &to)
	return s
}

// session is one connection and the one to its endpoint.
type session struct {
	p       *Proxy
	c       *listen.Conn
	info    message.Info
	cluster *upstream.Cluster // nil: there is none of the name
	up      *upstream.Conn    // nil: no endpoint took it
}

// Conn implements [listen.Opening].
func (s *session) Conn() net.Conn {
	if s.up == nil {
		return nil
	}
	return s.up.Conn
}

// Drop implements [listen.Opening].
func (s *session) Drop() {
	if s.up != nil {
		_ = s.up.Close()
	}
}

// Serve implements [listen.Opening].
func (s *session) Serve(ctx context.Context, said []byte) {
	p, c := s.p, s.c
	defer func() {
		s.info.Duration = time.Since(s.info.Start)
		p.log.Write(&s.info)
	}()
	defer s.Drop()
	if p.maxAge > 0 {
		t := time.AfterFunc(p.maxAge, func() { _ = c.Net.Close() })
		defer t.Stop()
	}
	if s.cluster == nil {
		return
	}
	counted := p.counters(c, s.cluster, s.up)
	counted.Opened(c.Shard)
	defer counted.Closed(c.Shard)
	if s.up == nil {
		return
	}
	if at, ok := s.up.LocalAddr().(*net.TCPAddr); ok {
		s.info.UpstreamLocal = at.AddrPort()
	}
	s.info.BytesReceived, s.info.BytesSent = p.carry(ctx, c, s.up, said)
	counted.Bytes(c.Shard, s.info.BytesReceived, s.info.BytesSent)
}

// connect finds an endpoint that takes a connection.
func (s *session) connect(ctx context.Context, to *Target) {
	c, info := s.c, &s.info
	pick := upstream.PickContext{Source: c.Peer, Local: c.Local, Destination: c.Local, Exactly: to.Exactly, Identities: to.Identities}
	if s.p.byHash {
		a := c.Peer.Addr().As16()
		pick.Hash, pick.HasHash = xxhash.Sum64(a[:]), true
	}
	for info.Attempts < s.p.attempts {
		info.Attempts++
		up, ep, err := s.cluster.Dial(ctx, &pick)
		if ep != nil {
			info.Upstream = ep.RemoteAddrPort()
			pick.Exclude = append(pick.Exclude, ep)
		}
		switch {
		case err == nil:
			s.up = up
			return
		case errors.Is(err, upstream.ErrNoHealthyUpstream):
			info.Flags |= message.NoHealthyUpstream
			return
		case errors.Is(err, upstream.ErrOverflow):
			info.Flags |= message.UpstreamOverflow
			return
		case ctx.Err() != nil:
			info.Flags |= message.DownstreamTermination
			return
		}
		info.UpstreamFailure = err.Error()
	}
	info.Flags |= message.UpstreamConnectionFailure | message.UpstreamRetryLimit
}
