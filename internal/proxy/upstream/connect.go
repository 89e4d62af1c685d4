package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/proxy/tls"
)

// key is what tells connections of one endpoint and transport apart.
type key struct {
	serverName    string         // of TLS, where requests decide on it
	identities    string         // which the endpoint must prove one of
	source, local netip.AddrPort // what the PROXY protocol says
}

// dial makes a connection to the endpoint over the transport: TCP, PROXY header, TLS, all within the cluster's connect_timeout. alpn is what to
// offer if the TLS context says nothing; negotiated is what came of it. The error is one of ErrConnect or the context's.
func (e *Endpoint) dial(ctx context.Context, t *transport, k key, alpn []string) (nc net.Conn, negotiated string, err error) {
	if ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	if e.cluster.set.ctx.Err() != nil {
		return nil, "", ErrClosed
	}
	timeout := e.cluster.config.Load().connectTimeout
	ours := time.Now().Add(timeout)
	limited, cancel := context.WithDeadline(ctx, ours)
	defer cancel()
	nc, negotiated, err = e.connect(limited, t, k, alpn, *e.address.Load())
	if err == nil {
		e.stats.cxTotal.Add(1)
		e.cluster.stats.cxTotal.Add(1)
		e.stats.cxActive.Add(1)
		e.cluster.stats.cxActive.Add(1)
		return nc, negotiated, nil
	}
	late := limited.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded)
	if ctx.Err() != nil { // the caller gave up: that says nothing of the endpoint
		return nil, "", ctx.Err()
	}
	if theirs, ok := ctx.Deadline(); late && ok && theirs.Before(ours) { // as above, a moment before the context says so
		return nil, "", context.DeadlineExceeded
	}
	e.stats.cxConnectFail.Add(1)
	e.cluster.stats.cxConnectFail.Add(1)
	e.Done(Result{Failure: ConnectFailed})
	if late {
		e.cluster.stats.cxConnectTimeout.Add(1)
		return nil, "", fmt.Errorf("cluster %s: %s: %w (%v)", e.cluster.name, e.key, ErrConnectTimeout, timeout)
	}
	return nil, "", fmt.Errorf("cluster %s: %s: %w: %w", e.cluster.name, e.key, ErrConnect, err)
}

// disconnected counts a connection that dial made and that is no more.
func (e *Endpoint) disconnected() {
	e.stats.cxActive.Add(-1)
	e.cluster.stats.cxActive.Add(-1)
}

func (e *Endpoint) connect(ctx context.Context, t *transport, k key, alpn []string, to []address) (nc net.Conn, negotiated string, err error) {
	if err := e.cluster.set.secretsOf(ctx, t.tls); err != nil {
		return nil, "", err
	}
	d := net.Dialer{KeepAlive: -1, KeepAliveConfig: t.keepalive}
	if t.source.first.IsValid() {
		d.Control = lateBind
	}
	for i := range to {
		if nc, err = dialOne(ctx, d, t.source.to(to[i].ip), to[i], len(to)-i); err == nil {
			break
		}
	}
	if err != nil {
		return nil, "", err
	}
	if t.proxy != 0 {
		if deadline, ok := ctx.Deadline(); ok {
			_ = nc.SetWriteDeadline(deadline)
		}
		if _, err = nc.Write(t.proxy.appendHeader(nil, k.source, k.local)); err != nil {
			_ = nc.Close()
			return nil, "", err
		}
		_ = nc.SetWriteDeadline(time.Time{})
	}
	if t.tls == nil {
		return nc, "", nil
	}
	o := tls.HandshakeOptions{HostSNI: e.Hostname(), SNI: k.serverName, ALPN: alpn, Identities: k.identities}
	if t.offers {
		o.ALPN = nil
	}
	secure, err := t.tls.Handshake(ctx, nc, o)
	e.cluster.stats.tls.note(err)
	if err != nil {
		return nil, "", err
	}
	state := secure.ConnectionState()
	if t.verifySNI && k.serverName != "" && len(state.PeerCertificates) > 0 {
		if err := state.PeerCertificates[0].VerifyHostname(k.serverName); err != nil {
			_ = secure.Close()
			return nil, "", err
		}
	}
	if id := identityOf(state); id != e.Identity() {
		e.identity.Store(&id)
	}
	return secure, state.NegotiatedProtocol, nil
}

// secretsOf waits until the Secrets that a TLS context names are there: a cluster may be told of before them.
func (s *Set) secretsOf(ctx context.Context, c *tls.Client) error {
	for c != nil {
		changed := s.options.Secrets.Changed()
		if c.Ready() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the Secrets %v are not all there: %w", c.SecretNames(), ctx.Err())
		}
	}
	return nil
}

// dialOne connects to one address in its part of the time that is left, from a source if that is valid.
func dialOne(ctx context.Context, d net.Dialer, from netip.AddrPort, at address, parts int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && parts > 1 {
		d.Timeout = time.Until(deadline) / time.Duration(parts)
	}
	if at.network == "unix" {
		return d.DialContext(ctx, at.network, at.text)
	}
	if at.host != "" && !at.ip.IsValid() {
		if from.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(from)
		}
		return d.DialContext(ctx, at.network, at.text)
	}
	return d.DialTCP(ctx, "tcp", from, at.ip)
}

// closer is a connection that can be broken off at any time, from any goroutine.
type closer interface{ Close() error }

// connections is all that are open, for the end of the set.
type connections struct {
	mu   sync.Mutex
	all  map[closer]struct{}
	idle chan struct{} // closed when none is left, if somebody waits
}

func (c *connections) add(one closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[one] = struct{}{}
}

func (c *connections) remove(one closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, one)
	if len(c.all) == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// wait waits until none is open; when ctx is done it breaks off those that are.
func (c *connections) wait(ctx context.Context) error {
	c.mu.Lock()
	if len(c.all) == 0 {
		c.mu.Unlock()
		return nil
	}
	idle := make(chan struct{})
	c.idle = idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	all := c.all
	c.all, c.idle = map[closer]struct{}{}, nil
	c.mu.Unlock()
	for one := range all {
		_ = one.Close()
	}
	return ctx.Err()
}
