package upstream

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	http2 "github.com/weftmesh/weft/internal/proxy/http2/transport"
	"github.com/weftmesh/weft/internal/proxy/message"
)

const often = `"timeout": "5s", "interval": "0.01s", "unhealthy_threshold": 2, "healthy_threshold": 2`

func TestHTTPCheck(t *testing.T) {
	var status atomic.Int64
	var asked atomic.Pointer[string]
	status.Store(503)
	backend := serve(t, func(w http.ResponseWriter, r *http.Request) {
		text := r.Method + " " + r.Host + r.URL.Path + " " + r.Header.Get("x-check")
		asked.Store(&text)
		w.WriteHeader(int(status.Load()))
	})
	check := `"health_checks": [{` + often + `, "http_health_check": {"path": "/ready", "host": "check.test", "expected_statuses": [{"start": 200, "end": 300}],
		"request_headers_to_add": [{"header": {"key": "X-Check", "value": "yes"}}]}}], "common_lb_config": {"healthy_panic_threshold": {"value": 0}}`
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, check), assignmentOf(t, backend.member()))
	health := func() string { return c.Snapshot().Endpoints[0].Health }
	<-c.Ready()
	if _, err := c.Pick(t.Context(), &PickContext{}); err == nil {
		t.Error("an endpoint whose first check failed was picked")
	}
	if d := cmp.Diff("GET check.test/ready yes", *asked.Load()); d != "" {
		t.Error(d)
	}
	status.Store(204)
	waitFor(t, func() bool { return health() == "healthy" }, "the endpoint is healthy")
	waitFor(t, func() bool { // the list that is picked from is made anew a moment later
		_, err := c.Pick(t.Context(), &PickContext{})
		return err == nil
	}, "the endpoint is picked")
	status.Store(404)
	waitFor(t, func() bool { return health() == "/failed_active_hc" }, "the endpoint is unhealthy")
	if stat(c, "health_check.success") < 2 || stat(c, "health_check.failure") < 3 {
		t.Errorf("%d good, %d bad", stat(c, "health_check.success"), stat(c, "health_check.failure"))
	}
}

// A request that comes before the first check is done waits for it.
func TestFirstCheckIsWaitedFor(t *testing.T) {
	backend := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, `"health_checks": [{"timeout": "5s", "interval": "60s", "http_health_check": {"path": "/"}}],
		"common_lb_config": {"healthy_panic_threshold": {"value": 0}}`), assignmentOf(t, backend.member()))
	if _, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{}); err != nil {
		t.Error(err)
	}
}

func TestTCPCheck(t *testing.T) {
	to := raw(t, func(nc net.Conn) {
		buf := make([]byte, 4)
		if _, err := io.ReadFull(nc, buf); err == nil && string(buf) == "ping" {
			_, _ = nc.Write([]byte("the pong is here"))
		}
	})
	for want, check := range map[string]string{
		"healthy":           fmt.Sprintf(`"send": {"text": "%x"}, "receive": [{"text": "%x"}, {"text": "%x"}]`, "ping", "pong", "here"),
		"/failed_active_hc": fmt.Sprintf(`"send": {"text": "%x"}, "receive": [{"text": "%x"}, {"text": "%x"}]`, "ping", "here", "pong"),
	} {
		c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, `"health_checks": [{`+often+`, "tcp_health_check": {`+check+`}}]`), assignmentOf(t, to))
		<-c.Ready()
		if got := c.Snapshot().Endpoints[0].Health; got != want {
			t.Errorf("%s: %s, want %s", check, got, want)
		}
	}
}

// healthService answers grpc.health.v1.Health/Check for the service "s".
type healthService struct{}

func (healthService) ServeExchange(s message.ServerStream) {
	body, err := io.ReadAll(readerFunc(s.Read))
	if err != nil {
		return
	}
	status := byte(2) // NOT_SERVING
	if s.Request().Path == "/grpc.health.v1.Health/Check" && string(body) == "\x00\x00\x00\x00\x03\x0a\x01s" {
		status = 1
	}
	r := &message.Response{Status: 200}
	r.Fields.Add("content-type", "application/grpc")
	var end message.Fields
	end.Add("grpc-status", "0")
	if s.WriteHead(r, message.Unknown) == nil {
		_, _ = s.Write([]byte{0, 0, 0, 0, 2, 8, status})
		_ = s.Finish(&end)
	}
}

func TestGRPCCheck(t *testing.T) {
	b := serve2(t, http2.Options{}, healthService{})
	for service, want := range map[string]string{"s": "healthy", "other": "/failed_active_hc"} {
		c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, speakTwo+`, "health_checks": [{`+often+fmt.Sprintf(`, "grpc_health_check": {"service_name": %q}}]`, service)),
			assignmentOf(t, b.member))
		<-c.Ready()
		if got := c.Snapshot().Endpoints[0].Health; got != want {
			t.Errorf("%s: %s, want %s", service, got, want)
		}
	}
}

// Health outlives updates, an endpoint that joins is checked before it gets anything, and a check that is taken away fails nobody.
func TestChecksAndUpdates(t *testing.T) {
	good, bad := serve(t, echo), serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	check := `"common_lb_config": {"healthy_panic_threshold": {"value": 0}}, "health_checks": [{` + often + `, "http_health_check": {"path": "/"}}]`
	s := newSet(t, Options{})
	c := mustUpdate(t, s, edsCluster(t, check), assignmentOf(t, good.member()))
	<-c.Ready()
	mustUpdate(t, s, edsCluster(t, check+`, "connect_timeout": "2s"`), assignmentOf(t, good.member(), bad.member()))
	for range 100 {
		if e, err := c.Pick(t.Context(), &PickContext{}); err != nil || e.Address() != fmt.Sprint("127.0.0.1:", good.port) {
			t.Fatal(e, err)
		}
	}
	before := stat(c, "health_check.failure")
	waitFor(t, func() bool { return stat(c, "health_check.failure") > before+2 }, "the bad one is checked")
	mustUpdate(t, s, edsCluster(t, ``), nil)
	if got := counts(t, c, 100, anyPick); len(got) != 2 {
		t.Errorf("without checks: %v", got)
	}
}
