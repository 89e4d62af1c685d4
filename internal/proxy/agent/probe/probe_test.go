package probe

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

func portOf(a net.Addr) int { return a.(*net.TCPAddr).Port }

// ask is what a kubelet that was led to the agent gets.
func ask(t *testing.T, probers string, path string, edit func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	h, err := New(probers, netip.MustParseAddr("127.0.0.1"), 15020, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://10.0.0.1:15020"+path, nil)
	r.Header.Set("User-Agent", "kube-probe/1.35")
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// The application is asked as the kubelet would have asked it, and its answer comes back.
func TestHTTP(t *testing.T) {
	var got *http.Request
	app := http.NewServeMux()
	app.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { got = r; fmt.Fprint(w, "fine") })
	app.HandleFunc("/sick", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "sick", http.StatusServiceUnavailable) })
	app.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/healthz", http.StatusFound) })
	app.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://example.invalid/", http.StatusFound)
	})
	app.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	app.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 2*maxBodyBytes)) })
	clear, secure := httptest.NewServer(app), httptest.NewTLSServer(app)
	defer clear.Close()
	defer secure.Close()
	for _, c := range []struct {
		path, scheme string
		code         int
		body         string
	}{
		{"/healthz", "", 200, "fine"},
		{"healthz", "HTTP", 200, "fine"},
		{"/healthz?full=1", "HTTPS", 200, "fine"},
		{"/sick", "", 503, "sick\n"},
		{"/moved", "", 200, "fine"},
		{"/away", "", 200, ""},
		{"/long", "", 200, strings.Repeat("x", maxBodyBytes)},
		{"/slow", "", 500, "*"},
	} {
		t.Run(c.scheme+c.path, func(t *testing.T) {
			at := portOf(clear.Listener.Addr())
			if c.scheme == "HTTPS" {
				at = portOf(secure.Listener.Addr())
			}
			w := ask(t, fmt.Sprintf(`{"/app-health/app/livez": {"httpGet": {"path": %q, "port": %d, "scheme": %q}, "timeoutSeconds": 1}}`, c.path, at, c.scheme), "/app-health/app/livez",
				func(r *http.Request) { r.Header.Set("X-Asked", "yes") })
			if w.Code != c.code || c.body != "*" && w.Body.String() != c.body {
				t.Errorf("%d %.100q", w.Code, w.Body)
			}
			if c.body == "fine" {
				if got.Header.Get("X-Asked") != "yes" || got.UserAgent() != "kube-probe/1.35" || !strings.HasPrefix(got.RemoteAddr, "127.0.0.6:") {
					t.Errorf("%v from %s", got.Header, got.RemoteAddr)
				}
				if c.path != "/moved" && got.Host != fmt.Sprintf("10.0.0.1:%d", at) {
					t.Errorf("Host %s", got.Host)
				}
			}
		})
	}
}

// A Host that the probe sets itself is kept.
func TestHostIsKept(t *testing.T) {
	host := ""
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { host = r.Host }))
	defer app.Close()
	ask(t, fmt.Sprintf(`{"/app-health/app/readyz": {"httpGet": {"path": "/", "port": "%d"}}}`, portOf(app.Listener.Addr())), "/app-health/app/readyz", func(r *http.Request) { r.Host = "shop.example" })
	if host != "shop.example" {
		t.Errorf("Host %q", host)
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	probers := fmt.Sprintf(`{"/app-health/app/startupz": {"tcpSocket": {"port": %d}}}`, portOf(l.Addr()))
	if w := ask(t, probers, "/app-health/app/startupz", nil); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	_ = l.Close()
	if w := ask(t, probers, "/app-health/app/startupz", nil); w.Code != 500 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, service := grpc.NewServer(), health.NewServer()
	healthv1.RegisterHealthServer(g, service)
	service.SetServingStatus("sick", healthv1.HealthCheckResponse_NOT_SERVING)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	defer func() { g.Stop(); <-done }()
	for name, want := range map[string]int{"": 200, "sick": 500, "unknown": 500} {
		text, err := json.Marshal(map[string]any{"/app-health/app/livez": map[string]any{"grpc": map[string]any{"port": portOf(l.Addr()), "service": name}, "timeoutSeconds": 5}})
		if err != nil {
			t.Fatal(err)
		}
		if w := ask(t, string(text), "/app-health/app/livez", nil); w.Code != want {
			t.Errorf("service %q: %d %s", name, w.Code, w.Body)
		}
	}
}

// A probe that cannot be read costs itself only.
func TestBadProbers(t *testing.T) {
	if _, err := New("{", netip.Addr{}, 15020, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("text that is no JSON is taken")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, bad := range map[string]string{
		"two kinds":    `{"tcpSocket": {"port": 1}, "grpc": {"port": 1}}`,
		"none":         `{}`,
		"a named port": `{"tcpSocket": {"port": "http"}}`,
		"no port":      `{"httpGet": {"path": "/"}}`,
		"port 0":       `{"tcpSocket": {"port": 0}}`,
	} {
		t.Run(name, func(t *testing.T) {
			probers := fmt.Sprintf(`{"/app-health/bad/livez": %s, "/elsewhere": {"tcpSocket": {"port": 1}}, "/app-health/app/livez": {"tcpSocket": {"port": %d}}}`, bad, portOf(l.Addr()))
			for path, want := range map[string]int{"/app-health/bad/livez": 404, "/elsewhere": 404, "/app-health/app/livez": 200} {
				if w := ask(t, probers, path, nil); w.Code != want {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				}
			}
		})
	}
}
