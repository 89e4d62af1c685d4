package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/finding"
)

func get(h http.Handler, from, path string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.RemoteAddr = from
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

func TestProbes(t *testing.T) {
	a := New(Options{Component: "node"})
	var notReady error
	a.Check("sync", Readyz|Healthz, func(context.Context) error { return notReady })
	a.Check("loop", Livez, func(context.Context) error { return nil })

	notReady = errors.New("no objects\nyet")
	for _, tc := range []struct {
		path string
		code int
		body string
	}{
		{"/livez", 200, "ok"},
		{"/livez?verbose", 200, "[+] loop\n"},
		{"/readyz", 503, "[-] sync: no objects yet\n"},
		{"/healthz", 503, "[-] sync: no objects yet\n"},
	} {
		w := get(a.Handler(), "192.0.2.1:1", tc.path)
		if w.Code != tc.code || w.Body.String() != tc.body {
			t.Errorf("%s: %d %q, want %d %q", tc.path, w.Code, w.Body, tc.code, tc.body)
		}
	}
	notReady = nil
	if w := get(a.Handler(), "192.0.2.1:1", "/readyz"); w.Code != 200 {
		t.Errorf("/readyz: %d %q after the check passes", w.Code, w.Body)
	}
}

func TestStatus(t *testing.T) {
	warn := finding.Finding{Object: finding.Object{Kind: "Service", Namespace: "shop", Name: "web"}, Severity: finding.Warning, Code: "x", Message: "m"}
	bad := warn
	bad.Severity = finding.Error
	changed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := New(Options{Component: "node", Instance: "weft-node-x", Node: "n1", Version: "v1", Status: func() Status {
		return Status{
			Component: "ignored",
			Sections:  []Section{{Name: "nftables", Origin: FromLive, Revision: 7, Changed: changed, Facts: []Fact{{"services", "3"}}}},
			Findings:  []finding.Finding{warn, bad},
		}
	}})
	a.Check("sync", Readyz, func(context.Context) error { return errors.New("waiting") })

	w := get(a.Handler(), "192.0.2.1:1", "/status")
	var got Status
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	want := Status{
		Component: "node", Instance: "weft-node-x", Node: "n1", Version: "v1",
		NotReady: []string{"sync: waiting"},
		Sources:  []Source{},
		Sections: []Section{{Name: "nftables", Origin: FromLive, Revision: 7, Changed: changed, Facts: []Fact{{"services", "3"}}}},
		Findings: []finding.Finding{bad, warn},
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Status{}, "Started")); d != "" {
		t.Error(d)
	}
	if got.Started.IsZero() {
		t.Error("no start time")
	}
	if strings.Contains(w.Body.String(), "0001-01-01") {
		t.Errorf("a zero time is shown: %s", w.Body)
	}
}

func TestPathsAndLoopback(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_test_total"})
	reg.MustRegister(c)
	a := New(Options{Component: "dns", Version: "v1", Registry: reg})
	a.Handle("/explain", Loopback(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "because") })))
	for _, tc := range []struct {
		from, path string
		code       int
		contains   string
	}{
		{"192.0.2.1:1", "/metrics", 200, "weft_test_total 0"},
		{"192.0.2.1:1", "/", 200, "/explain\n"},
		{"192.0.2.1:1", "/nothing", 404, ""},
		{"127.0.0.1:1", "/explain", 200, "because"},
		{"[::1]:1", "/explain", 200, "because"},
		{"[::ffff:127.0.0.1]:1", "/explain", 200, "because"},
		{"192.0.2.1:1", "/explain", 403, ""},
		{"127.0.0.1:1", "/debug/pprof/", 200, "goroutine"},
		{"127.0.0.1:1", "/debug/pprof/cmdline", 200, ""},
		{"[2001:db8::1]:1", "/debug/pprof/", 403, ""},
		{"192.0.2.1:1", "/debug/pprof/profile", 403, ""},
		{"192.0.2.1:1", "/debug/pprof/heap", 403, ""},
	} {
		w := get(a.Handler(), tc.from, tc.path)
		if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.contains) {
			t.Errorf("%s from %s: %d %.200q, want %d and %q", tc.path, tc.from, w.Code, w.Body, tc.code, tc.contains)
		}
	}
}

func TestServe(t *testing.T) {
	a := New(Options{Component: "dns"})
	inside, release := make(chan struct{}), make(chan struct{})
	a.Handle("/slow", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-release
		io.WriteString(w, "done")
	}))
	ctx, cancel := context.WithCancel(t.Context())
	full, err := Listen(ctx, "127.0.0.1:0", a.Handler())
	if err != nil {
		t.Fatal(err)
	}
	live, err := Listen(ctx, "127.0.0.1:0", a.Probe(Livez))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, slog.New(slog.DiscardHandler), full, live) }()

	resp, err := http.Get("http://" + live.Addr().String() + "/anything")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("live probe: %s", resp.Status)
	}

	// A request in flight when the component is told to stop is answered.
	body := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + full.Addr().String() + "/slow")
		if err != nil {
			body <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		body <- string(b)
	}()
	<-inside
	cancel()
	close(release)
	if got := <-body; got != "done" {
		t.Errorf("request in flight at shutdown: %q", got)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if c, err := net.Dial("tcp", full.Addr().String()); err == nil {
		c.Close()
		t.Error("still listening after Serve returned")
	}
}

func TestServeReportsAFailedListener(t *testing.T) {
	a := New(Options{})
	good, err := Listen(t.Context(), "127.0.0.1:0", a.Handler())
	if err != nil {
		t.Fatal(err)
	}
	bad, err := Listen(t.Context(), "127.0.0.1:0", a.Handler())
	if err != nil {
		t.Fatal(err)
	}
	bad.Close()
	if err := Serve(t.Context(), slog.New(slog.DiscardHandler), good, bad); err == nil {
		t.Error("no error from a closed listener")
	}
	if _, err := Listen(t.Context(), "not an address", nil); err == nil {
		t.Error("no error from a bad address")
	}
}
