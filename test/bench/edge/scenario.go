package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// scenario is one thing that is measured.
type scenario struct {
	name, about string
	shape       shape
	peers       []string // that can do it
	memory      bool     // what is measured is memory
	round       func(ctx context.Context, b *bench, p *peer) (result, error)
}

// shape is what proxies are configured for.
type shape struct {
	routes    int  // how many there are; requests are for the last
	accessLog bool // to a file
	tls       bool // clients speak TLS
	http2     bool // so does the server behind
}

func scenarios() []scenario {
	everybody := func() []string { return []string{"weft", "envoy", "nginx", "haproxy"} }
	meshes := func() []string { return []string{"weft", "envoy"} }
	get := func(path string) func(context.Context, *bench, *peer) (result, error) {
		return func(ctx context.Context, b *bench, p *peer) (result, error) {
			return loaded(p, func() (float64, error) { return b.wrk(ctx, p.url(path), 64) })
		}
	}
	one := shape{routes: 1}
	return []scenario{
		{name: "h1-100B", about: "HTTP/1.1, 64 kept connections, 100 bytes", shape: one, peers: everybody(), round: get("/100")},
		{name: "h1-100B-log", about: "the same with an access log", shape: shape{routes: 1, accessLog: true}, peers: everybody(), round: get("/100")},
		{name: "h1-10KB", about: "10 KB", shape: one, peers: everybody(), round: get("/10240")},
		{name: "h1-1MB", about: "1 MB", shape: one, peers: everybody(), round: get("/1048576")},
		{name: "h1-100-routes", about: "100 bytes, the last of 100 routes", shape: shape{routes: 100}, peers: meshes(), round: get("/100")},
		{name: "h1-10000-routes", about: "100 bytes, the last of 10,000 routes", shape: shape{routes: 10000}, peers: meshes(), round: get("/100")},
		{name: "h1-connect", about: "a new connection for every request", shape: one, peers: everybody(), round: func(ctx context.Context, b *bench, p *peer) (result, error) {
			return loaded(p, func() (float64, error) { return b.wrk(ctx, p.url("/100"), 16, "Connection: close") })
		}},
		{name: "tls-handshake", about: "a new TLS 1.3 connection (ECDSA P-256) for every request", shape: shape{routes: 1, tls: true}, peers: everybody(), round: func(ctx context.Context, b *bench, p *peer) (result, error) {
			return loaded(p, func() (float64, error) { return b.handshakes(ctx, p) })
		}},
		{name: "tls-100B", about: "HTTPS, 64 kept connections, 100 bytes", shape: shape{routes: 1, tls: true}, peers: everybody(), round: get("/100")},
		{name: "h2-100B", about: "HTTP/2 from clients, 8 connections of 16 streams, HTTP/1.1 behind", shape: one, peers: meshes(), round: func(ctx context.Context, b *bench, p *peer) (result, error) {
			return loaded(p, func() (float64, error) { return b.h2load(ctx, p.url("/100")) })
		}},
		{name: "grpc-100B", about: "HTTP/2 on both sides, a POST of 100 bytes with trailers asked for", shape: shape{routes: 1, http2: true}, peers: meshes(), round: func(ctx context.Context, b *bench, p *peer) (result, error) {
			return loaded(p, func() (float64, error) {
				return b.h2load(ctx, p.url("/100"), "-d", b.dir+"/www/100", "-Hcontent-type: application/grpc", "-Hte: trailers")
			})
		}},
		{name: "memory-idle", about: "resident, nobody connected", shape: one, peers: everybody(), memory: true, round: func(ctx context.Context, _ *bench, p *peer) (result, error) {
			if err := p.process.Settled(ctx); err != nil {
				return result{}, err
			}
			return result{memory: p.process.Memory()}, nil
		}},
		{name: "memory-10000", about: "resident, 10,000 idle connections that made a request each", shape: one, peers: []string{"weft", "envoy", "nginx"}, memory: true, round: idleConnections},
	}
}

// handshakes makes connections until the time is over, and a request on each.
func (b *bench) handshakes(ctx context.Context, p *peer) (n float64, err error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, //nolint:gosec // who it is, is known
	}}
	for end := time.Now().Add(b.length); time.Now().Before(end) && ctx.Err() == nil; n++ {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url("/100"), http.NoBody)
		if err != nil {
			return n, err
		}
		r.Host = "bench.test"
		response, err := client.Do(r)
		if err != nil {
			return n, err
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			return n, fmt.Errorf("status %d: %w", response.StatusCode, err)
		}
	}
	return n, ctx.Err()
}

// idleConnections opens 10,000 and looks at the memory while they wait.
func idleConnections(ctx context.Context, _ *bench, p *peer) (result, error) {
	const connections = 10000
	open := make([]net.Conn, 0, connections)
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for i := range connections {
		// Loopback addresses of their own, so that ports are enough.
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 82, byte(i/1000), 1)}}
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
		if err != nil {
			return result{}, err
		}
		open = append(open, c)
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, "GET /100 HTTP/1.1\r\nHost: bench.test\r\n\r\n"); err != nil {
			return result{}, err
		}
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return result{}, err
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return result{}, err
		}
		_ = response.Body.Close()
	}
	return result{memory: p.process.Memory()}, nil
}
