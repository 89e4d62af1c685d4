package probe

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const own = "# TYPE own counter\nown 1\n"

// scraped is what Prometheus gets.
func scraped(t *testing.T, text string, edit func(*http.Request)) (h *Handler, code int, body string) {
	t.Helper()
	h, err := New("", netip.MustParseAddr("127.0.0.1"), 15020, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Scrape(text); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://10.0.0.1:15020/stats/prometheus", nil)
	r.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.Metrics(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, own) })).ServeHTTP(w, r)
	return h, w.Code, w.Body.String()
}

// The application's metrics come after the proxy's, whole lines of them, and an application that fails costs only its own.
func TestMetrics(t *testing.T) {
	var got *http.Request
	app := http.NewServeMux()
	app.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) { got = r; fmt.Fprint(w, "app 1\napp 2") })
	app.HandleFunc("/open", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "app 1\n# EOF\n") })
	app.HandleFunc("/sick", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "sick", http.StatusServiceUnavailable) })
	app.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "app 1\n", strings.Repeat("x", 2*maxMetricsLine))
	})
	app.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "app 1\napp")
	})
	app.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	clear, secure := httptest.NewServer(app), httptest.NewTLSServer(app)
	defer clear.Close()
	defer secure.Close()
	soon := func(r *http.Request) { r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "0.2") }
	for _, c := range []struct {
		path, more string
		edit       func(*http.Request)
		want       string // after the proxy's own
		failures   uint64
	}{
		{"/metrics", "", nil, "app 1\napp 2\n", 0},
		{"", "", func(r *http.Request) { r.URL.RawQuery = "name=a" }, "app 1\napp 2\n", 0},
		{"metrics?name=b", `, "scrape": "true", "scheme": "HTTPS"`, nil, "app 1\napp 2\n", 0},
		{"/open", "", nil, "app 1\n", 0},
		{"/sick", "", nil, "", 1},
		{"/cut", "", nil, "app 1\n", 1},
		{"/long", "", nil, "app 1\n", 1},
		{"/slow", "", soon, "", 1},
		{"/metrics", `, "scrape": "false"`, nil, "", 0},
	} {
		t.Run(c.path+c.more, func(t *testing.T) {
			got = nil
			at := portOf(clear.Listener.Addr())
			if strings.Contains(c.more, "HTTPS") {
				at = portOf(secure.Listener.Addr())
			}
			h, code, body := scraped(t, fmt.Sprintf(`{"path": %q, "port": "%d"%s}`, c.path, at, c.more), c.edit)
			if n, _ := h.ScrapeFailures(); code != http.StatusOK || body != own+c.want || n != c.failures {
				t.Errorf("%d %q, %d failures", code, body, n)
			}
			if got != nil && (!strings.HasPrefix(got.Header.Get("Accept"), "text/plain;version=0.0.4") || c.path != "/metrics" && got.URL.RawQuery == "") {
				t.Errorf("asked for %v with %v", got.URL, got.Header)
			}
		})
	}
}

// Whoever asks for metrics of a proxy that has none yet is told so, and nothing else.
func TestMetricsOfAProxyThatFails(t *testing.T) {
	h, err := New("", netip.Addr{}, 15020, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Scrape(`{"port": "1"}`); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.Metrics(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not yet", http.StatusServiceUnavailable) })).
		ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/stats/prometheus", nil))
	if n, asked := h.ScrapeFailures(); w.Code != http.StatusServiceUnavailable || !asked || n != 0 {
		t.Errorf("%d, %d failures", w.Code, n)
	}
}

func TestBadScrapes(t *testing.T) {
	for _, text := range []string{"{", `{"port": "http"}`, `{"port": "0"}`, `{"port": "70000"}`, `{"port": "15020"}`, `{"scrape": "perhaps"}`, `{"scheme": "ftp"}`, `{"path": "/%zz"}`} {
		h, err := New("", netip.Addr{}, 15020, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Scrape(text); err == nil || !strings.Contains(err.Error(), MetricsEnv) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestScrapeTime(t *testing.T) {
	for text, want := range map[string]time.Duration{"10": 8 * time.Second, "": metricsTime, "-1": metricsTime, "NaN": metricsTime, "1e9": metricsTime} {
		if got := scrapeTime(http.Header{"X-Prometheus-Scrape-Timeout-Seconds": {text}}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
