package upstream

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	http2 "github.com/weftmesh/weft/internal/proxy/http2/transport"
	"github.com/weftmesh/weft/internal/proxy/message"
)

const speakTwo = `"typed_extension_protocol_options": {"` + httpOptions + `": {"@type": "type.googleapis.com/` + httpOptions + `",
	"explicit_http_config": {"http2_protocol_options": {}}}}`

// backend2 speaks HTTP/2 and echoes.
type backend2 struct {
	member
	mu    sync.Mutex
	conns map[*http2.Server]bool
	made  atomic.Int64
}

func serve2(t testing.TB, o http2.Options, h message.Handler) *backend2 {
	b := &backend2{conns: map[*http2.Server]bool{}}
	b.member = raw(t, func(nc net.Conn) {
		s := http2.NewServer(nc, h, o)
		b.mu.Lock()
		b.conns[s] = true
		b.mu.Unlock()
		b.made.Add(1)
		_ = s.Serve(context.Background())
		b.mu.Lock()
		delete(b.conns, s)
		b.mu.Unlock()
	})
	return b
}

// drain sends GOAWAY on all connections.
func (b *backend2) drain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.conns {
		s.Drain()
	}
}

type echoHandler struct{ hold chan struct{} }

func (h echoHandler) ServeExchange(s message.ServerStream) {
	body, err := io.ReadAll(readerFunc(s.Read))
	if err != nil {
		return
	}
	if h.hold != nil {
		<-h.hold
	}
	if s.WriteHead(&message.Response{Status: 200}, message.Unknown) == nil {
		_, _ = s.Write(body)
		_ = s.Finish(nil)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// One connection carries all exchanges, until it is full.
func TestHTTP2(t *testing.T) {
	hold := make(chan struct{})
	b := serve2(t, http2.Options{MaxConcurrentStreams: 10}, echoHandler{hold})
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, speakTwo), assignmentOf(t, b.member))
	go func() { hold <- struct{}{} }()
	if _, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 25 {
		wg.Go(func() {
			if _, got, err := ask(t.Context(), c, "POST", []byte("abc"), 3, &PickContext{}); err != nil || string(got) != "abc" {
				t.Errorf("%q %v", got, err)
			}
		})
	}
	waitFor(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		n := 0
		for s := range b.conns {
			n += s.Active()
		}
		return n == 25
	}, "all 25 requests are there")
	if n := b.made.Load(); n != 3 {
		t.Errorf("25 requests at once, 10 to a connection, on %d connections", n)
	}
	close(hold)
	wg.Wait()
	if n := c.hosts.Load().endpoints[0].Active(); n != 0 {
		t.Errorf("%d are active at rest", n)
	}
}

// With as many connections as are allowed requests wait for room, and all are served.
func TestHTTP2WaitsForRoom(t *testing.T) {
	b := serve2(t, http2.Options{MaxConcurrentStreams: 2}, echoHandler{})
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, speakTwo+`, "circuit_breakers": {"thresholds": [{"max_connections": 1}]}`), assignmentOf(t, b.member))
	if _, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 50 {
				if _, _, err := ask(t.Context(), c, "POST", []byte("abc"), 3, &PickContext{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := b.made.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A server that goes away again and again costs no request: those it did not see are sent to its next connection.
func TestGoAwayCostsNothing(t *testing.T) {
	b := serve2(t, http2.Options{}, echoHandler{})
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, speakTwo), assignmentOf(t, b.member))
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var done atomic.Int64
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				body := bytes.Repeat([]byte{'x'}, rand.IntN(5000))
				if _, got, err := ask(t.Context(), c, "POST", body, int64(len(body)), &PickContext{}); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes of %d: %v", len(got), len(body), err)
					return
				}
				done.Add(1)
			}
		})
	}
	for i := range 100 {
		before := done.Load()
		b.drain()
		waitFor(t, func() bool { return done.Load() > before+20 || t.Failed() }, "requests go on after GOAWAY "+string(rune('0'+i%10)))
	}
	stop()
	wg.Wait()
	t.Logf("%d requests on %d connections, %d begun again", done.Load(), b.made.Load(), stat(c, "upstream_rq_replayed"))
}

// use_downstream_protocol_config speaks to the endpoint what the client speaks to us.
func TestDownstreamProtocol(t *testing.T) {
	one, two := serve(t, echo), serve2(t, http2.Options{}, echoHandler{})
	for _, tc := range []struct {
		version message.Version
		to      member
	}{{message.HTTP11, one.member()}, {message.HTTP2, two.member}} {
		c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, `"typed_extension_protocol_options": {"`+httpOptions+`": {"@type": "type.googleapis.com/`+httpOptions+`",
			"use_downstream_protocol_config": {"http2_protocol_options": {}}}}`), assignmentOf(t, tc.to))
		if _, _, err := ask(t.Context(), c, "POST", []byte("x"), 1, &PickContext{Downstream: tc.version}); err != nil {
			t.Errorf("%v: %v", tc.version, err)
		}
	}
}

// plainHandler answers with a head, and makes no garbage.
type plainHandler struct{ r message.Response }

func (h *plainHandler) ServeExchange(s message.ServerStream) {
	h.r.Status = 200
	_ = s.WriteHead(&h.r, message.NoBody)
}
