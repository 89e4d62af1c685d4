package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	http2 "github.com/weftmesh/weft/internal/proxy/http2/transport"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/test/freeport"
)

// ask sends a request and reads the response. A body is sent in one piece, or of unknown length in two.
func ask(ctx context.Context, c *Cluster, method string, body []byte, length int64, pc *PickContext) (status int, got []byte, err error) {
	req := &message.Request{Method: method, Scheme: "http", Authority: "test", Path: "/", Version: message.HTTP11}
	s, e, err := c.Start(ctx, req, length, pc)
	if err != nil {
		return 0, nil, err
	}
	status, got, err = finish(s, body, length)
	if err != nil {
		e.Done(Result{Failure: Reset})
		s.Close(message.Cancelled)
		return 0, nil, err
	}
	e.Done(Result{Status: status})
	s.Close(message.Done)
	return status, got, nil
}

func finish(s message.ClientStream, body []byte, length int64) (status int, got []byte, err error) {
	if err := s.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return 0, nil, fmt.Errorf("deadline: %w", err)
	}
	if length != message.NoBody {
		half := len(body) / 2
		for _, part := range [][]byte{body[:half], body[half:]} {
			if _, err := s.Write(part); err != nil {
				return 0, nil, fmt.Errorf("write: %w", err)
			}
		}
		if err := s.Finish(nil); err != nil {
			return 0, nil, fmt.Errorf("finish: %w", err)
		}
	}
	var r message.Response
	for r.Status < 200 {
		if err := s.ReadHead(&r); err != nil {
			return 0, nil, fmt.Errorf("head: %w", err)
		}
	}
	got, err = io.ReadAll(s)
	if err != nil {
		err = fmt.Errorf("body: %w", err)
	}
	return r.Status, got, err
}

func TestKeepAlive(t *testing.T) {
	backend := serve(t, echo)
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, ``), assignmentOf(t, backend.member()))
	for i := range 100 {
		body := bytes.Repeat([]byte{'x'}, i*10)
		length := int64(len(body))
		if i%3 == 0 {
			length = message.Unknown
		}
		status, got, err := ask(t.Context(), c, "POST", body, length, &PickContext{})
		if err != nil || status != 200 || !bytes.Equal(got, body) {
			t.Fatalf("request %d: %d, %d bytes, %v", i, status, len(got), err)
		}
	}
	if n := backend.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if n := stat(c, "upstream_cx_active"); n != 1 {
		t.Errorf("upstream_cx_active is %d", n)
	}
	if n := stat(c, "upstream_rq_2xx"); n != 100 {
		t.Errorf("upstream_rq_2xx is %d", n)
	}
	if n := stat(c, "upstream_rq_active"); n != 0 {
		t.Errorf("upstream_rq_active is %d", n)
	}
}

// An endpoint that closes idle connections whenever it likes never costs a request that may be sent twice. A POST it costs only if its kernel had taken
// it when the connection was closed: then nobody can tell whether it was read.
func TestIdleCloseCostsNothing(t *testing.T) {
	total := 10000
	if testing.Short() {
		total = 1000
	}
	s := newSet(t, Options{})
	c := mustUpdate(t, s, edsCluster(t, ``), assignmentOf(t, raw(t, hasty)))
	var wg sync.WaitGroup
	var left, failed, unknown atomic.Int64
	left.Store(int64(total))
	for range 8 {
		wg.Go(func() {
			for i := 0; left.Add(-1) >= 0; i++ {
				method, body, length := "GET", []byte(nil), message.NoBody
				if i%2 == 1 {
					body = []byte(strconv.Itoa(i))
					method, length = []string{"POST", "PUT"}[i/2%2], int64(len(body))
				}
				status, got, err := ask(t.Context(), c, method, body, length, &PickContext{})
				if method == "POST" && errors.Is(err, syscall.ECONNRESET) {
					unknown.Add(1)
					continue
				}
				if err != nil || status != 200 || !bytes.Equal(got, body) {
					if failed.Add(1) < 5 {
						t.Errorf("%s: %d %q, %v", method, status, got, err)
					}
				}
				if rand.IntN(10) == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d requests, %d failed, %d may have been read, %d connections, %d begun again, %d found closed", total, failed.Load(), unknown.Load(),
		stat(c, "upstream_cx_total"), stat(c, "upstream_rq_replayed"), stat(c, "upstream_cx_destroy_remote_idle"))
	if stat(c, "upstream_rq_replayed") == 0 {
		t.Error("no request met a closed connection: the test shows nothing")
	}
}

// Endpoints come, go and change while requests go on, and none of them notices; nor when the cluster's tuning changes.
func TestUpdatesUnderLoad(t *testing.T) {
	backends := []member{serve(t, echo).member(), serve(t, echo).member(), serve(t, echo).member()}
	s := newSet(t, Options{})
	c := mustUpdate(t, s, edsCluster(t, ``), assignmentOf(t, backends...))
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var done atomic.Int64
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				body := []byte("some body")
				if _, got, err := ask(t.Context(), c, "POST", body, int64(len(body)), &PickContext{}); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%q %v", got, err)
					return
				}
				done.Add(1)
			}
		})
	}
	for i := range 500 {
		members := append([]member(nil), backends...)
		members[i%3].weight = 1 + i%5
		members = append(members[:(i+1)%3], members[(i+1)%3+1:]...)
		more := fmt.Sprintf(`"connect_timeout": "%ds", "lb_policy": %q`, 1+i%3, []string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"}[i/10%3])
		if i%50 == 0 { // a transport that is different, and works
			more += fmt.Sprintf(`, "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": %d}}`, 100+i)
		}
		mustUpdate(t, s, edsCluster(t, more), assignmentOf(t, members...))
		for before := done.Load(); done.Load() < before+2 && !t.Failed(); {
			runtime.Gosched()
		}
	}
	stop()
	wg.Wait()
	t.Logf("%d requests, %d connections", done.Load(), stat(c, "upstream_cx_total"))
}

// What tunes keeps connections; another transport does not, and what is under way on the old ones is finished.
func TestPoolsStayOrDrain(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	backend := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			begun <- struct{}{}
			<-goOn
		}
		echo(w, r)
	})
	s := newSet(t, Options{})
	c := mustUpdate(t, s, edsCluster(t, ``), assignmentOf(t, backend.member()))
	get := func() {
		t.Helper()
		if _, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{}); err != nil {
			t.Fatal(err)
		}
	}
	get()
	mustUpdate(t, s, edsCluster(t, `"connect_timeout": "3s", "lb_policy": "RANDOM", "outlier_detection": {}`), nil)
	get()
	if n := backend.conns.Load(); n != 1 {
		t.Errorf("an update that tunes made %d connections of one", n)
	}
	slow := make(chan error)
	go func() {
		_, _, err := ask(t.Context(), c, "PUT", nil, 0, &PickContext{})
		slow <- err
	}()
	<-begun
	mustUpdate(t, s, edsCluster(t, `"upstream_connection_options": {"tcp_keepalive": {}}`), nil)
	get()
	if n := backend.conns.Load(); n != 2 {
		t.Errorf("an update of the transport: %d connections, want 2", n)
	}
	e := c.hosts.Load().endpoints[0]
	mustUpdate(t, s, edsCluster(t, ``), assignmentOf(t))
	goOn <- struct{}{}
	if err := <-slow; err != nil {
		t.Errorf("a request under way on an endpoint that went: %v", err)
	}
	waitFor(t, func() bool { return e.stats.cxActive.Load() == 0 }, "connections of an endpoint that went are closed")
	st, err := e.Start(t.Context(), &message.Request{Method: "GET", Scheme: "http", Authority: "x", Path: "/"}, 0, &PickContext{})
	if err != nil {
		t.Fatalf("who picked it before can still use it: %v", err)
	}
	if _, _, err := finish(st, nil, 0); err != nil {
		t.Error(err)
	}
	st.Close(message.Done)
	waitFor(t, func() bool { return e.stats.cxActive.Load() == 0 }, "the late connection is closed")
}

func waitFor(t testing.TB, ok func() bool, what string) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestConnectFails(t *testing.T) {
	at := freeport.Hold(t) // nobody listens
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, `"outlier_detection": {"max_ejection_percent": 100, "consecutive_5xx": 2}`),
		assignmentOf(t, member{addr: at.Addr().String(), port: int(at.Port())}))
	for range 2 {
		_, e, err := c.Start(t.Context(), &message.Request{Method: "GET", Authority: "x", Path: "/"}, 0, &PickContext{})
		if !errors.Is(err, ErrConnect) || errors.Is(err, ErrConnectTimeout) || e == nil {
			t.Errorf("%v, endpoint %v", err, e)
		}
	}
	if out := ejected(c); len(out) != 1 {
		t.Error("connections that fail do not eject")
	}
	for name, want := range map[string]int64{"upstream_cx_connect_fail": 2, "upstream_cx_active": 0, "upstream_rq_active": 0, "upstream_rq_pending_active": 0} {
		if n := stat(c, name); n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
	if n := c.breakers[Default].connections.Load(); n != 0 {
		t.Errorf("the breaker counts %d connections", n)
	}
}

// A request gives up when its time is over, also while its connection is made, and that counts against the endpoint.
func TestConnectingOutlastsTheRequest(t *testing.T) {
	silent := raw(t, func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) })
	for _, more := range []string{"", ", " + speakTwo} {
		c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, `"connect_timeout": "20s", "outlier_detection": {"max_ejection_percent": 100, "consecutive_5xx": 2},
			"transport_socket": {"name": "tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}}`+more),
			assignmentOf(t, silent))
		for range 2 {
			_, e, err := c.Start(t.Context(), newRequest(), 0, &PickContext{Until: time.Now().Add(20 * time.Millisecond)})
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrConnect) || e == nil {
				t.Errorf("%v, endpoint %v", err, e)
			}
		}
		if more == "" && len(ejected(c)) != 1 {
			t.Error("requests that time out while they connect do not eject")
		}
		if b := &c.breakers[Default]; b.requests.Load() != 0 || b.pending.Load() != 0 {
			t.Errorf("%d requests, %d pending at rest", b.requests.Load(), b.pending.Load())
		}
	}
}

func TestBreakers(t *testing.T) {
	begun, goOn := make(chan struct{}, 10), make(chan struct{})
	backend := serve(t, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-goOn
	})
	s := newSet(t, Options{})
	c := mustUpdate(t, s, edsCluster(t, `"circuit_breakers": {"thresholds": [{"max_connections": 1, "max_pending_requests": 1, "max_requests": 10}]}`),
		assignmentOf(t, backend.member()))
	results := make(chan error, 3)
	start := func() {
		go func() {
			_, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{})
			results <- err
		}()
	}
	start()
	<-begun // the first one has the connection
	start()
	waitFor(t, func() bool { return stat(c, "upstream_rq_pending_active") == 1 }, "the second waits for the connection")
	if _, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{}); !errors.Is(err, ErrOverflow) {
		t.Errorf("the third: %v, want an overflow", err)
	}
	if n := stat(c, "circuit_breakers.default.cx_open"); n != 1 {
		t.Errorf("cx_open is %d", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := ask(ctx, c, "GET", nil, 0, &PickContext{Priority: High}); err == nil {
		t.Error("a context that is done is no reason")
	}
	goOn <- struct{}{}
	goOn <- struct{}{}
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := backend.conns.Load(); n != 1 {
		t.Errorf("%d connections, of one that is allowed", n)
	}
	mustUpdate(t, s, edsCluster(t, `"circuit_breakers": {"thresholds": [{"max_requests": 0}]}`), nil)
	if _, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{}); !errors.Is(err, ErrOverflow) {
		t.Errorf("max_requests 0: %v", err)
	}
	for _, b := range []*breaker{&c.breakers[Default], &c.breakers[High]} {
		if b.pending.Load() != 0 || b.requests.Load() != 0 {
			t.Errorf("pending %d, requests %d at rest", b.pending.Load(), b.requests.Load())
		}
	}
}

// A request that waits for a connection gives up with its context, and what it was given meanwhile is not lost.
func TestWaitersGiveUp(t *testing.T) {
	backend := serve(t, echo)
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, `"circuit_breakers": {"thresholds": [{"max_connections": 1}]}`), assignmentOf(t, backend.member()))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(500))*time.Microsecond)
				_, _, err := ask(ctx, c, "GET", nil, 0, &PickContext{})
				cancel()
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{}); err != nil {
		t.Error(err)
	}
	b := &c.breakers[Default]
	if n := b.connections.Load(); n > 1 || n != stat(c, "upstream_cx_active") || b.pending.Load() != 0 || b.requests.Load() != 0 {
		t.Errorf("at rest: %d connections (%d open), %d pending, %d requests", n, stat(c, "upstream_cx_active"), b.pending.Load(), b.requests.Load())
	}
}

func TestConnectionLimits(t *testing.T) {
	backend := serve(t, echo)
	s := newSet(t, Options{})
	options := func(common string) string {
		return fmt.Sprintf(`"typed_extension_protocol_options": {%q: {"@type": "type.googleapis.com/%s",
			"explicit_http_config": {"http_protocol_options": {}}, "common_http_protocol_options": {%s}}}`, httpOptions, httpOptions, common)
	}
	c := mustUpdate(t, s, edsCluster(t, options(`"max_requests_per_connection": 3`)), assignmentOf(t, backend.member()))
	for range 9 {
		if _, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := backend.conns.Load(); n != 3 {
		t.Errorf("9 requests, 3 to a connection, made %d connections", n)
	}
	mustUpdate(t, s, edsCluster(t, ``), assignmentOf(t)) // its pool goes
	c = mustUpdate(t, s, edsCluster(t, options(`"idle_timeout": "0.05s"`)), assignmentOf(t, backend.member()))
	if _, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return stat(c, "upstream_cx_active") == 0 }, "an idle connection is closed")
	if n := stat(c, "upstream_cx_idle_timeout"); n != 1 {
		t.Errorf("upstream_cx_idle_timeout is %d", n)
	}
}

// Over a connection that is kept alive an exchange makes no garbage.
func TestStartAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates; make test runs it without too")
	}
	one, two := raw(t, fixed), serve2(t, http2.Options{}, &plainHandler{}).member
	for more, to := range map[string]member{"": one, speakTwo: two} {
		c, req, pc := mustUpdate(t, newSet(t, Options{}), edsCluster(t, more), assignmentOf(t, to)), newRequest(), &PickContext{}
		exchange := onceMore(t, c, req, pc)
		for range 10 {
			exchange()
		}
		if n := testing.AllocsPerRun(500, exchange); n != 0 {
			t.Errorf("%v allocations at %v: %s", n, to, more)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	c, req, pc := mustUpdate(b, newSet(b, Options{}), edsCluster(b, ``), assignmentOf(b, raw(b, fixed))), newRequest(), &PickContext{}
	exchange := onceMore(b, c, req, pc)
	b.ReportAllocs()
	for b.Loop() {
		exchange()
	}
}

func newRequest() *message.Request {
	r := &message.Request{Method: "GET", Scheme: "http", Authority: "test", Path: "/", Version: message.HTTP11}
	r.Fields.Add("user-agent", "test")
	return r
}

func onceMore(t testing.TB, c *Cluster, req *message.Request, pc *PickContext) func() {
	ctx := t.Context()
	var r message.Response
	buf := make([]byte, 4096)
	return func() {
		s, e, err := c.Start(ctx, req, 0, pc)
		if err == nil {
			err = s.ReadHead(&r)
		}
		for err == nil {
			_, err = s.Read(buf)
		}
		if err != io.EOF {
			t.Fatal(err)
		}
		e.Done(Result{Status: r.Status})
		s.Close(message.Done)
	}
}
