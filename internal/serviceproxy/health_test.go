package serviceproxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weftmesh/weft/internal/serviceproxy/plan"
	"github.com/weftmesh/weft/test/freeport"
)

func TestHealthz(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel()
		p, stop := start(t, k, Options{RetryMax: time.Second})
		defer stop()
		expect := func(when string, healthz, livez int) {
			t.Helper()
			synctest.Wait()
			for path, want := range map[string]int{"/healthz": healthz, "/livez": livez, "/other": 404} {
				w := httptest.NewRecorder()
				p.HealthHandler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
				if w.Code != want {
					t.Errorf("%s: %s answers %d, want %d", when, path, w.Code, want)
				}
			}
		}
		expect("at start", 503, 503)
		p.Full()
		expect("programmed", 200, 200)
		time.Sleep(time.Hour)
		expect("nothing happened for long", 200, 200)
		p.SetEligible(false)
		expect("node is going", 503, 200)
		p.SetEligible(true)
		expect("node stays", 200, 200)

		release := k.Hold()
		p.Update(1, []Change{web("10.1.0.1:80")})
		time.Sleep(HealthTimeout - 1)
		expect("a flush takes long", 200, 200)
		time.Sleep(1)
		expect("a flush hangs", 503, 503)
		release()
		expect("it went on", 200, 200)

		k.Fail(slices.Repeat([]error{errors.New("no")}, 100)...)
		p.Update(2, []Change{web("10.1.0.2:80")})
		time.Sleep(HealthTimeout)
		expect("flushes fail for long", 503, 503)
		time.Sleep(time.Minute)
		expect("they work again", 200, 200)

		w := httptest.NewRecorder()
		p.HealthHandler().ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		now := time.Now().String()
		if diff := cmp.Diff(map[string]any{"lastUpdated": now, "currentTime": now, "nodeEligible": true}, body); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
	})
}

// ask gives status, weight and body of a health-check port; "closed" if nobody answers.
func ask(t *testing.T, port uint16) string {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		return "closed"
	}
	defer resp.Body.Close()
	var body any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Errorf("body is no JSON: %v", err)
	}
	compact, _ := json.Marshal(body)
	return fmt.Sprintf("%d weight %s %s", resp.StatusCode, resp.Header.Get("X-Load-Balancing-Endpoint-Weight"), compact)
}

func TestHealthCheckPorts(t *testing.T) {
	healthy := true
	h := newHealthChecks(quiet, func() bool { return healthy })
	defer h.close()
	a, b, taken := freeport.Hold(t).Port(), freeport.Hold(t).Port(), freeport.Hold(t).Port()
	expect := func(port uint16, want string) {
		t.Helper()
		if got := ask(t, port); got != want {
			t.Errorf("port answers\n%s, want\n%s", got, want)
		}
	}
	h.sync(map[uint16]healthCheck{a: {name("a"), 2}, b: {name("b"), 0}})
	expect(a, `200 weight 2 {"localEndpoints":2,"service":{"name":"a","namespace":"shop"},"serviceProxyHealthy":true}`)
	expect(b, `503 weight 0 {"localEndpoints":0,"service":{"name":"b","namespace":"shop"},"serviceProxyHealthy":true}`)
	healthy = false
	expect(a, `503 weight 2 {"localEndpoints":2,"service":{"name":"a","namespace":"shop"},"serviceProxyHealthy":false}`)
	healthy = true

	// One port is somebody else's: that is reported, and the others are served.
	other, err := net.Listen("tcp", fmt.Sprintf(":%d", taken))
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint16]healthCheck{a: {name("a"), 1}, taken: {name("c"), 1}}
	h.sync(want)
	expect(a, `200 weight 1 {"localEndpoints":1,"service":{"name":"a","namespace":"shop"},"serviceProxyHealthy":true}`)
	expect(b, "closed")
	for _, s := range h.status() {
		if failed := s.Error != ""; failed != (s.Port == taken) || failed && !strings.Contains(s.Error, "Service shop/c spec.healthCheckNodePort") {
			t.Errorf("status = %+v", s)
		}
	}
	other.Close()
	h.sync(want)
	expect(taken, `200 weight 1 {"localEndpoints":1,"service":{"name":"c","namespace":"shop"},"serviceProxyHealthy":true}`)
	h.sync(nil)
	expect(a, "closed")
	expect(taken, "closed")
}

func TestHealthChecksFollowThePlan(t *testing.T) {
	x := newIndex()
	set := func(svc string, port uint16, local int) {
		x.set(name(svc), &plan.Service{Name: name(svc), HealthCheck: plan.HealthCheck{Port: port, LocalEndpoints: local}}, func(plan.Key) {})
	}
	set("a", 32000, 1)
	set("b", 32000, 2)
	set("c", 32001, 3)
	set("d", 0, 4)
	set("c", 32002, 5)
	want := map[uint16]healthCheck{32000: {name("a"), 1}, 32002: {name("c"), 5}}
	if diff := cmp.Diff(want, healthChecksOf(x.checks), cmp.AllowUnexported(healthCheck{})); diff != "" {
		t.Errorf("health checks (-want +got):\n%s", diff)
	}
	x.set(name("a"), nil, func(plan.Key) {})
	if got := healthChecksOf(x.checks)[32000]; got.service != name("b") {
		t.Errorf("port 32000 is of %v, want shop/b", got.service)
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, reg := newKernel(), prometheus.NewPedanticRegistry()
		k.Refuse(key("TCP 10.96.0.9:80"), errors.New("no"))
		p, stop := start(t, k, Options{Registerer: reg})
		defer stop()
		p.Update(1, []Change{web("10.1.0.1:80", "10.1.0.2:80"), service("bad", frontend("bad", "TCP 10.96.0.9:80"))})
		p.Full()
		synctest.Wait()
		k.Fail(errors.New("no"))
		p.Update(2, []Change{web("10.1.0.1:80")})
		time.Sleep(time.Second)
		synctest.Wait()
		p.Update(3, []Change{web("10.1.0.1:80", "10.1.0.3:80")})
		synctest.Wait()
		now := float64(time.Now().UnixNano()) / 1e9
		want := fmt.Sprintf(`
# HELP kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds When a change last had to wait.
# TYPE kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds gauge
kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds %[1]v
# HELP kubeproxy_sync_proxy_rules_last_timestamp_seconds When the kernel last was known to be right.
# TYPE kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge
kubeproxy_sync_proxy_rules_last_timestamp_seconds %[1]v
# HELP weft_node_endpoints Endpoints of all frontends together.
# TYPE weft_node_endpoints gauge
weft_node_endpoints 2
# HELP weft_node_frontends Addresses and ports in force.
# TYPE weft_node_frontends gauge
weft_node_frontends 1
# HELP weft_node_refused_frontends Frontends the kernel would not take.
# TYPE weft_node_refused_frontends gauge
weft_node_refused_frontends 1
# HELP weft_node_sync_failures_total Flushes that failed as a whole and were repaired later.
# TYPE weft_node_sync_failures_total counter
weft_node_sync_failures_total 1
`, now)
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want),
			"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
			"weft_node_endpoints", "weft_node_frontends", "weft_node_refused_frontends", "weft_node_sync_failures_total"); err != nil {
			t.Error(err)
		}
		if n, err := testutil.GatherAndCount(reg, "weft_node_sync_duration_seconds", "kubeproxy_sync_proxy_rules_duration_seconds"); err != nil || n != 3 {
			t.Errorf("%d duration series, %v; want apply, restore and kube-proxy's", n, err)
		}
		if _, err := New(Options{Backend: k.Open(), Registerer: reg}); err == nil {
			t.Error("a second Proxy took the same registry")
		}
	})
}
