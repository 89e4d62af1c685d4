// Package tunnel relays TCP connections from 127.0.0.1 of the user's machine
// into a lab. It never listens anywhere else, and gives nothing in the lab a
// way out.
package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/netns"
)

// Parse reads PORT:HOST:HOSTPORT, where HOST is a machine's name, an IPv4
// address, or an IPv6 address in brackets.
func Parse(text string) (control.Tunnel, error) {
	own, rest, ok := strings.Cut(text, ":")
	host, hostPort, err := net.SplitHostPort(rest)
	if !ok || err != nil || host == "" {
		return control.Tunnel{}, fmt.Errorf("tunnel %q is not PORT:HOST:HOSTPORT", text)
	}
	t := control.Tunnel{Host: host}
	if t.Port, err = parsePort(own); err != nil {
		return control.Tunnel{}, fmt.Errorf("tunnel %q: %w", text, err)
	}
	if t.HostPort, err = parsePort(hostPort); err != nil || t.HostPort == 0 {
		return control.Tunnel{}, fmt.Errorf("tunnel %q: %q is no port to connect to", text, hostPort)
	}
	return t, nil
}

func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %q", text)
	}
	return uint16(n), nil
}

// Resolve tells where in a lab a tunnel leads, and the path of the network
// namespace to connect from: outside, as a user of the cluster would; or the
// first node, for addresses that only nodes can reach.
func Resolve(s *control.Status, t control.Tunnel) (to netip.AddrPort, from string, err error) {
	address, err := netip.ParseAddr(t.Host)
	if err != nil {
		m, ok := s.Machine(t.Host)
		if !ok || len(m.IPs) == 0 {
			return netip.AddrPort{}, "", fmt.Errorf("%q is neither an address nor a machine of lab %s", t.Host, s.Name)
		}
		address = m.IPs[0]
	}
	at := s.Outside
	if s.Network.InCluster(address) {
		for _, n := range s.Nodes {
			if at = n; n.On {
				break
			}
		}
	}
	if !at.On {
		return netip.AddrPort{}, "", fmt.Errorf("%s, from where %s can be reached, is off", at.Name, address)
	}
	return netip.AddrPortFrom(address, t.HostPort), at.Netns, nil
}

// Relay listens on a port of 127.0.0.1.
type Relay struct {
	listener net.Listener
	dial     func(ctx context.Context) (net.Conn, error)
}

// Listen opens the port of a tunnel. status is asked anew for each connection,
// since machines come and go. Serve must be called, and ends it.
func Listen(t control.Tunnel, status func(ctx context.Context) (*control.Status, error)) (*Relay, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(t.Port))))
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	return &Relay{listener: l, dial: func(ctx context.Context) (net.Conn, error) {
		s, err := status(ctx)
		if err != nil {
			return nil, err
		}
		to, from, err := Resolve(s, t)
		if err != nil {
			return nil, err
		}
		return dialFrom(ctx, from, to)
	}}, nil
}

// Port is the port that the relay listens on.
func (r *Relay) Port() uint16 { return r.listener.Addr().(*net.TCPAddr).AddrPort().Port() }

func dialFrom(ctx context.Context, namespace string, to netip.AddrPort) (conn net.Conn, err error) {
	err = netns.Do(namespace, func() error {
		// One literal address: the dialer opens the socket on this thread.
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", to.String())
		return err
	})
	return conn, err
}

// Serve relays until ctx is done, and returns when the last connection is closed.
func (r *Relay) Serve(ctx context.Context, failed func(error)) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { r.listener.Close() })()
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("tunnel: %w", err)
		}
		connections.Go(func() {
			defer conn.Close()
			inner, err := r.dial(ctx)
			if err != nil {
				failed(fmt.Errorf("tunnel from port %d: %w", r.Port(), err))
				return
			}
			defer inner.Close()
			relay(ctx, conn, inner)
		})
	}
}

// relay copies both ways until both ends are done, or ctx is.
func relay(ctx context.Context, a, b net.Conn) {
	defer context.AfterFunc(ctx, func() { a.Close(); b.Close() })()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			// A connection that breaks ends the copying, and that is all.
			_, _ = io.Copy(way[0], way[1])
			if half, ok := way[0].(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
		})
	}
	both.Wait()
}
