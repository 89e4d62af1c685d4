package hcm

import (
	"context"
	"crypto/sha256"
	cryptotls "crypto/tls"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftmesh/weft/internal/proxy/http1"
	http1transport "github.com/weftmesh/weft/internal/proxy/http1/transport"
	"github.com/weftmesh/weft/internal/proxy/http2"
	http2transport "github.com/weftmesh/weft/internal/proxy/http2/transport"
	"github.com/weftmesh/weft/internal/proxy/listen"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/tls"
)

// conn is a client's connection: the handler of its exchanges.
type conn struct {
	*listen.Conn
	m   *Manager
	ctx context.Context

	director Director // nil: the manager's routes count
	server   server
	leaving  atomic.Bool // the next response says that the connection ends

	scheme                          string
	tlsVersion, tlsCipher           string
	peerURISAN, peerSubject, client string   // client is the element of x-forwarded-client-cert that describes the peer
	peerNames                       []string // URIs, then DNS names
	peer                            clientPeer
}

// leaveGrace is how long a connection that is to end waits for a request that it can answer with that.
const leaveGrace = 5 * time.Second

// preface begins every connection of HTTP/2 (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// firstBytes is what is read at once to look for it: most requests are shorter, and need no other read.
const firstBytes = 1 << 10

// server is a connection of either version.
type server interface {
	Serve(context.Context) error
	Drain()
}

// ServeConn implements [listen.Handler].
func (g *Manager) ServeConn(ctx context.Context, lc *listen.Conn) { g.ServeDirected(ctx, lc, nil) }

// ServeDirected serves a connection whose requests go where d says; nil is by the manager's own routes.
func (g *Manager) ServeDirected(ctx context.Context, lc *listen.Conn, d Director) {
	c := &conn{Conn: lc, m: g, ctx: ctx, scheme: "http", director: d}
	if lc.TLS != nil {
		c.describeTLS(lc.TLS)
	}
	h2, err := c.speaksHTTP2()
	if err != nil {
		return
	}
	var s server
	if h2 {
		o := g.http2
		o.Prefix = lc.Prefix
		s = http2transport.NewServer(lc.Net, c, o)
	} else {
		o := g.http1
		o.Prefix, o.Scheme = lc.Prefix, c.scheme
		s = http1transport.NewServer(lc.Net, c, o)
	}
	lc.Prefix, c.server = nil, s
	idle := time.AfterFunc(time.Hour, s.Drain)
	idle.Stop()
	defer idle.Stop()
	lc.OnDrain(func() {
		if h2 {
			s.Drain()
			return
		}
		// A connection without a request is not closed at once: the client may be sending one.
		c.leaving.Store(true)
		idle.Reset(leaveGrace)
	})
	if g.maxAge > 0 && !h2 {
		t := time.AfterFunc(g.maxAge, s.Drain)
		defer t.Stop()
	}
	if err := s.Serve(ctx); err != nil {
		c.failed(err)
	}
}

// failed notes a connection that the client broke.
func (c *conn) failed(err error) {
	info := message.Info{
		Start: time.Now(), Flags: message.DownstreamProtocolError, Client: c.Peer, Peer: c.Transport, Local: c.Local, ConnectionID: c.ID, ServerName: c.ServerName,
	}
	var broke1 *http1.Error
	var broke2 *http2.ConnError
	switch {
	case errors.As(err, &broke1):
		info.Details, info.Response = "http1."+broke1.Detail, &message.Response{Status: broke1.Status}
	case errors.As(err, &broke2) && !broke2.Remote && broke2.Code != http2.NoError:
		info.Details = "http2." + strings.ToLower(broke2.Code.String())
		if n := c.m.env.Metrics.Floods[broke2.Flood]; n != nil {
			n.Add(c.Shard, 1)
			info.Details = "http2." + broke2.Flood.String()
		}
	default:
		return
	}
	c.m.env.Metrics.ProtocolErrors.Add(c.Shard, 1)
	if c.m.log.Enabled() {
		c.m.log.Write(&info)
	}
}

// speaksHTTP2 finds out which version the client speaks: by configuration, by ALPN, or by how it begins.
func (c *conn) speaksHTTP2() (bool, error) {
	switch c.m.codec {
	case hcmv3.HttpConnectionManager_HTTP1:
		return false, nil
	case hcmv3.HttpConnectionManager_HTTP2:
		return true, nil
	}
	if c.TLS != nil {
		switch c.TLS.NegotiatedProtocol {
		case "h2":
			return true, nil
		case "http/1.1", "http/1.0":
			return false, nil
		} // else it says nothing of the version: "istio" is only that the client is of a mesh
	}
	if t := c.m.http1.IdleTimeout; t > 0 {
		_ = c.Net.SetReadDeadline(time.Now().Add(t))
		defer func() { _ = c.Net.SetReadDeadline(time.Time{}) }()
	}
	for {
		n := min(len(c.Prefix), len(preface))
		switch {
		case string(c.Prefix[:n]) != preface[:n]:
			return false, nil
		case n == len(preface):
			return true, nil
		}
		if cap(c.Prefix) < firstBytes {
			c.Prefix = append(make([]byte, 0, firstBytes), c.Prefix...)
		}
		more, err := c.Net.Read(c.Prefix[n:firstBytes])
		if more == 0 {
			return false, err
		}
		c.Prefix = c.Prefix[:n+more]
	}
}

func (c *conn) describeTLS(s *cryptotls.ConnectionState) {
	c.scheme = "https"
	c.tlsVersion = strings.Replace(cryptotls.VersionName(s.Version), "TLS 1.", "TLSv1.", 1)
	c.tlsCipher = cryptotls.CipherSuiteName(s.CipherSuite)
	if len(s.PeerCertificates) == 0 {
		return
	}
	leaf := s.PeerCertificates[0]
	c.peerURISAN = c.Principal
	c.peerSubject, c.peerNames = leaf.Subject.String(), tls.Names(leaf)
	c.client = c.describeClient(leaf.Raw, leaf.URIs, leaf.DNSNames)
}

// quoted makes text fit between quotes.
var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// describeClient makes the element of x-forwarded-client-cert for the peer's certificate, with what set_current_client_cert_details asks for.
func (c *conn) describeClient(raw []byte, uris []*url.URL, names []string) string {
	e := &c.m.edge
	if !e.setsClientCert() {
		return ""
	}
	sum := sha256.Sum256(raw)
	out := "Hash=" + hex.EncodeToString(sum[:])
	if c.LocalPrincipal != "" {
		out = "By=" + c.LocalPrincipal + ";" + out
	}
	if e.certSubject {
		out += `;Subject="` + quoted.Replace(c.peerSubject) + `"`
	}
	if e.certURI {
		for _, u := range uris {
			out += ";URI=" + u.String()
		}
	}
	if e.certDNS {
		for _, n := range names {
			out += ";DNS=" + n
		}
	}
	return out
}
