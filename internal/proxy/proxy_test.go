package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/test/freeport"
)

// running is a proxy under test.
type running struct {
	*proxy.Proxy
	t    *testing.T
	log  string // the access log's file
	stop context.CancelFunc
	done chan struct{}
}

// hcm is a listener "main" with an HTTP connection manager: options are further fields of it, vhosts its virtual hosts, both in YAML's flow style.
func hcm(name, options, vhosts string) string {
	if options != "" {
		options += ", "
	}
	filters := `{name: envoy.filters.http.cors, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}},
	  {name: envoy.filters.http.fault, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}}, `
	return `{name: ` + name + `, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [` + httpFilter(options, filters, vhosts) + `]}]}`
}

func httpFilter(options, filters, vhosts string) string {
	return `{name: envoy.filters.network.http_connection_manager, typed_config: {
	"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, ` + options + `
	http_filters: [` + filters + `{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}],
	access_log: [{name: a, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: ACCESS_LOG,
	  log_format: {json_format: {code: "%RESPONSE_CODE%", flags: "%RESPONSE_FLAGS%", details: "%RESPONSE_CODE_DETAILS%", path: "%REQ(:PATH)%", origin: "%METADATA(ROUTE:weft:origin)%",
	  cluster: "%UPSTREAM_CLUSTER%", attempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", up: "%UPSTREAM_HOST%", in: "%BYTES_RECEIVED%", out: "%BYTES_SENT%"}}}}],
	route_config: {name: r, virtual_hosts: [` + vhosts + `]}}}`
}

// cluster is a STATIC cluster with endpoints at the addresses; options are further fields of it.
func cluster(name, options string, addresses ...string) string {
	var endpoints []string
	for _, a := range addresses {
		host, port, _ := net.SplitHostPort(a)
		endpoints = append(endpoints, fmt.Sprintf("{endpoint: {address: {socket_address: {address: %q, port_value: %s}}}}", host, port))
	}
	if options != "" {
		options += ", "
	}
	return fmt.Sprintf("{name: %s, type: STATIC, connect_timeout: 1s, %sload_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [%s]}]}}",
		name, options, name, strings.Join(endpoints, ", "))
}

const speakHTTP2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
	"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`

// speakSame has a cluster speak the version that the client speaks.
const speakSame = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
	"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, use_downstream_protocol_config: {http2_protocol_options: {}}}}`

// start runs a proxy that does not wait for its connections when the test ends.
func start(t *testing.T, listeners, clusters []string) *running {
	t.Helper()
	c, log := config(t, listeners, clusters)
	return run(t, log, proxy.Options{Bootstrap: c, DrainTime: 100 * time.Millisecond})
}

func config(t *testing.T, listeners, clusters []string) (c *bootstrap.Config, log string) {
	t.Helper()
	log = filepath.Join(t.TempDir(), "access.log")
	text := "node: {id: test, cluster: test, metadata: {WORKLOAD_NAME: edge, NAMESPACE: istio-system}}\nstatic_resources: {listeners: [" + strings.Join(listeners, ",\n") +
		"],\nclusters: [" + strings.Join(clusters, ",\n") + "]}\n"
	c, err := bootstrap.Parse([]byte(strings.ReplaceAll(text, "ACCESS_LOG", log)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return c, log
}

func run(t *testing.T, log string, o proxy.Options) *running {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) { t.Logf("%s", bytes.TrimSpace(b)); return len(b), nil }), nil))
	}
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	o.Admin, o.Metrics, o.Health = loopback, loopback, loopback
	p, err := proxy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Proxy: p, t: t, log: log, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		_ = p.Run(ctx)
	}()
	t.Cleanup(r.end)
	if o.Bootstrap.XDS == nil {
		within(t, "ready", p.Warm())
	}
	return r
}

func (r *running) end() {
	r.stop()
	<-r.done
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func within[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: did not happen", what)
	}
	return v
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}

// addr is where a listener listens.
func (r *running) addr(name string) string {
	r.t.Helper()
	for _, l := range r.Server().Listeners() {
		if l.Name == name && len(l.Addresses) > 0 {
			return l.Addresses[0].String()
		}
	}
	r.t.Fatalf("listener %s is not open: %+v", name, r.Server().Listeners())
	return ""
}

// line waits for the access log's line about a path.
func (r *running) line(path string) map[string]any {
	r.t.Helper()
	var found map[string]any
	eventually(r.t, "a line about "+path, func() bool {
		text, _ := os.ReadFile(r.log)
		for l := range bytes.Lines(text) {
			v := map[string]any{}
			if json.Unmarshal(l, &v) == nil && v["path"] == path {
				found = v
			}
		}
		return found != nil
	})
	return found
}

// get asks, and gives status, body and head.
func (r *running) get(path string, fields ...string) (*http.Response, string) {
	r.t.Helper()
	return ask(r.t, "GET", "http://"+r.addr("main")+path, nil, fields...)
}

func ask(t *testing.T, method, url string, body io.Reader, fields ...string) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "host" {
			req.Host = fields[i+1]
		} else {
			req.Header.Add(fields[i], fields[i+1])
		}
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return resp, string(text)
}

// backend serves h and gives its address.
func backend(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	s.Config.Protocols = p
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	names := make([]string, 0, len(r.Header))
	for n := range r.Header {
		names = append(names, n)
	}
	slices.Sort(names)
	_, _ = fmt.Fprintf(w, "%s %s %s %s %d\n", r.Method, r.RequestURI, r.Host, r.Proto, len(body))
	for _, n := range names {
		_, _ = fmt.Fprintf(w, "%s: %s\n", strings.ToLower(n), strings.Join(r.Header[n], "|"))
	}
}

// closed gives an address where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	return freeport.Hold(t).String()
}

func all(routes string) string { return `{name: v, domains: ["*"], routes: [` + routes + `]}` }

func toWeb(prefix, more string) string {
	return `{match: {prefix: "` + prefix + `"}, route: {cluster: web` + more + `}}`
}

func TestRequestsAndBodies(t *testing.T) {
	b := backend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			for range 64 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 64<<10))
			}
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/trailers":
			w.Header().Set("Trailer", "x-sum")
			_, _ = io.WriteString(w, "body")
			_ = http.NewResponseController(w).Flush() // else its length is told, and HTTP/1 has no trailers then
			w.Header().Set("x-sum", "4")
		default:
			echo(w, r)
		}
	})
	for _, upstream := range []string{"", speakHTTP2} {
		r := start(t, []string{hcm("main", "", all(toWeb("/", "")))}, []string{cluster("web", upstream, b)})
		if _, body := r.get("/a?b=c", "host", "shop.example"); !strings.HasPrefix(body, "GET /a?b=c shop.example HTTP/") {
			t.Errorf("got %q", body)
		}
		for _, n := range []int{0, 1, 100, 16 << 10, 16<<10 + 1, 1 << 20} {
			for _, chunked := range []bool{false, true} {
				var in io.Reader = bytes.NewReader(make([]byte, n))
				if chunked {
					in = io.MultiReader(in) // hides the length
				}
				resp, body := ask(t, "POST", "http://"+r.addr("main")+"/post", in)
				if want := fmt.Sprintf(" %d\n", n); resp.StatusCode != 200 || !strings.Contains(body, want) {
					t.Errorf("%d bytes, chunked %v: %d %q", n, chunked, resp.StatusCode, body)
				}
			}
		}
		if resp, body := r.get("/large"); resp.StatusCode != 200 || len(body) != 4<<20 || strings.Trim(body, "x") != "" {
			t.Errorf("%d, %d bytes", resp.StatusCode, len(body))
		}
		if resp, _ := r.get("/none"); resp.StatusCode != 204 {
			t.Errorf("got %d", resp.StatusCode)
		}
		if resp, body := ask(t, "HEAD", "http://"+r.addr("main")+"/a", nil); resp.StatusCode != 200 || body != "" || resp.ContentLength <= 0 {
			t.Errorf("HEAD: %d %q %d", resp.StatusCode, body, resp.ContentLength)
		}
		if resp, body := r.get("/trailers"); body != "body" || resp.Trailer.Get("x-sum") != "4" {
			t.Errorf("%q, %q, trailers %v", upstream, body, resp.Trailer)
		}
		r.end()
	}
}

func TestEdge(t *testing.T) {
	b := backend(t, echo)
	routes := all(`{match: {prefix: "/"}, route: {cluster: web, timeout: 0s}}`)
	r := start(t, []string{
		hcm("main", `use_remote_address: true, normalize_path: true, merge_slashes: true, server_name: istio-envoy, strip_any_host_port: true`, routes),
		hcm("inner", `via: weft`, routes), hcm("hops", `use_remote_address: true, xff_num_trusted_hops: 1`, routes),
	}, []string{cluster("web", "", b)})
	given := []string{
		"x-forwarded-for", "192.0.2.1", "x-forwarded-proto", "https", "x-request-id", "mine", "x-envoy-retry-on", "5xx", "x-envoy-peer-metadata", "a", "x-istio-attributes", "b",
		"x-forwarded-client-cert", "By=x", "x-other", "kept", "x-envoy-internal", "true",
	}
	resp, body := r.get("/a/../b//c?d=//", append([]string{"host", "shop.example:80"}, given...)...)
	for _, want := range []string{"GET /b/c?d=// shop.example ", "x-forwarded-for: 192.0.2.1,127.0.0.1\n", "x-forwarded-proto: http\n", "x-other: kept\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in %s", want, body)
		}
	}
	for _, gone := range []string{"mine", "retry-on", "peer-metadata", "istio-attributes", "client-cert", "internal"} {
		if strings.Contains(body, gone) {
			t.Errorf("%s came through: %s", gone, body)
		}
	}
	if resp.Header.Get("server") != "istio-envoy" || resp.Header.Get("date") == "" || resp.Header.Get("x-envoy-upstream-service-time") == "" {
		t.Errorf("response %v", resp.Header)
	}
	resp, body = ask(t, "GET", "http://"+r.addr("inner")+"/", nil, given...)
	for _, want := range []string{"x-forwarded-for: 192.0.2.1\n", "x-forwarded-proto: https\n", "x-request-id: mine\n", "x-envoy-retry-on: 5xx\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("inner: no %q in %s", want, body)
		}
	}
	if resp.Header.Get("via") != "weft" {
		t.Errorf("response %v", resp.Header)
	}
	_, body = ask(t, "GET", "http://"+r.addr("hops")+"/", nil, given...)
	if !strings.Contains(body, "x-envoy-external-address: 192.0.2.1\n") || !strings.Contains(body, "x-forwarded-proto: https\n") {
		t.Errorf("behind one proxy: %s", body)
	}
	_, one := r.get("/")
	_, two := r.get("/")
	if id := fieldOf(one, "x-request-id"); len(id) != 36 || id[14] != '4' || id == fieldOf(two, "x-request-id") {
		t.Errorf("request ids %q", id)
	}
}

func fieldOf(body, name string) string {
	for l := range strings.Lines(body) {
		if v, ok := strings.CutPrefix(l, name+": "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func TestFailures(t *testing.T) {
	b := backend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-r.Context().Done()
		case "/cut":
			c, _, _ := http.NewResponseController(w).Hijack()
			_ = c.Close()
		case "/half":
			w.Header().Set("content-length", "100")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			c, _, _ := http.NewResponseController(w).Hijack()
			_ = c.Close()
		case "/bad":
			c, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(c, "nonsense\r\n\r\n")
			_ = c.Close()
		default:
			echo(w, r)
		}
	})
	origin := `metadata: {filter_metadata: {weft: {origin: "VirtualService default/a spec.http[0]"}}}`
	r := start(t, []string{hcm("main", "", `{name: v, domains: [known.example], routes: [
		{match: {path: /slow}, route: {cluster: web, timeout: 0.05s}, `+origin+`},
		{match: {path: /nocluster}, route: {cluster: none}},
		{match: {path: /nocluster404}, route: {cluster: none, cluster_not_found_response_code: NOT_FOUND}},
		{match: {path: /empty}, route: {cluster: empty}},
		{match: {path: /dead}, route: {cluster: dead}},
		{match: {path: /full}, route: {cluster: full}},
		{match: {path: /direct}, direct_response: {status: 418, body: {inline_string: tea}}},
		{match: {path: /redirect}, redirect: {host_redirect: other.example}},
		{match: {path: /fault}, route: {cluster: web}, typed_per_filter_config: {envoy.filters.http.fault: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault,
			abort: {http_status: 555, percentage: {numerator: 100}}}}},
		{match: {prefix: /}, route: {cluster: web}}]}`)},
		[]string{cluster("web", "", b), cluster("empty", ""), cluster("dead", "", closed(t)), cluster("full", "circuit_breakers: {thresholds: [{max_requests: 0}]}", b)})
	for _, c := range []struct {
		path   string
		status int
		body   string
		flags  string
	}{
		{"/slow", 504, "upstream request timeout", "UT"},
		{"/cut", 503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination", "UC"},
		{"/bad", 502, "upstream connect error or disconnect/reset before headers. reset reason: protocol error", "UPE"},
		{"/nocluster", 503, "", "NC"},
		{"/nocluster404", 404, "", "NC"},
		{"/empty", 503, "no healthy upstream", "UH"},
		{"/dead", 503, "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure", "UF"},
		{"/full", 503, "upstream connect error or disconnect/reset before headers. reset reason: overflow", "UO"},
		{"/direct", 418, "tea", "-"},
		{"/redirect", 301, "", "-"},
		{"/fault", 555, "fault filter abort", "FI"},
	} {
		resp, body := r.get(c.path, "host", "known.example")
		if resp.StatusCode != c.status || body != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.path, resp.StatusCode, body, c.status, c.body)
		}
		l := r.line(c.path)
		flags := l["flags"]
		if flags == nil {
			flags = "-"
		}
		if flags != c.flags || l["code"] != float64(c.status) {
			t.Errorf("%s is logged as %v, want %s", c.path, l, c.flags)
		}
		if c.path == "/slow" && l["origin"] != "VirtualService default/a spec.http[0]" {
			t.Errorf("origin %v", l["origin"])
		}
	}
	if resp, body := r.get("/unknown", "host", "unknown.example"); resp.StatusCode != 404 || body != "" || r.line("/unknown")["flags"] != "NR" {
		t.Errorf("%d %q %v", resp.StatusCode, body, r.line("/unknown"))
	}
	// A response that breaks off must not look complete.
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+r.addr("main")+"/half", nil)
	req.Host = "known.example"
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("half a response looked whole: %q", body)
	}
	if l := r.line("/half"); l["flags"] != "UC" {
		t.Errorf("%v", l)
	}
}

func TestRetries(t *testing.T) {
	var mu sync.Mutex
	seen := map[string][]string{} // by path: attempt-count and body length
	fails := func(name string) string {
		return backend(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			seen[r.URL.Path] = append(seen[r.URL.Path], fmt.Sprintf("%s %s %d", name, r.Header.Get("x-envoy-attempt-count"), len(body)))
			n := len(seen[r.URL.Path])
			mu.Unlock()
			switch {
			case r.URL.Path == "/always", n == 1 && r.URL.Path != "/slow":
				w.WriteHeader(503)
			case n == 1:
				<-r.Context().Done()
			default:
				_, _ = io.WriteString(w, "fine")
			}
		})
	}
	a, b := fails("a"), fails("b")
	retry := `retry_policy: {retry_on: "5xx,reset", num_retries: 2, LIMIT retry_back_off: {base_interval: 0.001s},
		retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]}`
	r := start(t, []string{hcm("main", "", `{name: v, domains: ["*"], include_request_attempt_count: true, routes: [
		{match: {path: /never}, route: {cluster: web}},
		{match: {path: /slow}, route: {cluster: web, `+strings.Replace(retry, "LIMIT", "per_try_timeout: 2s,", 1)+`}},
		{match: {prefix: /}, route: {cluster: web, `+strings.Replace(retry, "LIMIT", "", 1)+`}}]}`)}, []string{cluster("web", "", a, b)})
	url := "http://" + r.addr("main")
	for _, c := range []struct {
		path     string
		body     io.Reader
		size     int
		status   int
		attempts int
	}{
		{"/plain", nil, 0, 200, 2},
		{"/small", bytes.NewReader(make([]byte, 100)), 100, 200, 2},
		{"/kept", bytes.NewReader(make([]byte, 50<<10)), 50 << 10, 200, 2},
		{"/chunked", io.MultiReader(bytes.NewReader(make([]byte, 50<<10))), 50 << 10, 200, 2},
		{"/large", bytes.NewReader(make([]byte, 1<<20)), 1 << 20, 503, 1}, // too much to be kept
		{"/slow", nil, 0, 200, 2},
		{"/always", nil, 0, 503, 3},
		{"/never", nil, 0, 503, 1},
	} {
		resp, _ := ask(t, "POST", url+c.path, c.body)
		mu.Lock()
		got := seen[c.path]
		mu.Unlock()
		if resp.StatusCode != c.status || len(got) != c.attempts {
			t.Errorf("%s: %d after %v, want %d after %d", c.path, resp.StatusCode, got, c.status, c.attempts)
		}
		for i, s := range got {
			if !strings.HasSuffix(s, fmt.Sprintf(" %d %d", i+1, c.size)) {
				t.Errorf("%s: attempt %d was %q", c.path, i+1, s)
			}
		}
		if len(got) == 2 && got[0][0] == got[1][0] {
			t.Errorf("%s: both attempts went to %s", c.path, got[0][:1])
		}
	}
	if l := r.line("/plain"); l["attempts"] != 2.0 {
		t.Errorf("%v", l)
	}
}

func TestMirror(t *testing.T) {
	got := make(chan string, 4)
	b := backend(t, echo)
	m := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.URL.Path + " " + r.Host + " " + string(body)
	})
	r := start(t, []string{hcm("main", "", all(toWeb("/", `, request_mirror_policies: [{cluster: mirror, runtime_fraction: {default_value: {numerator: 100}}}]`)))},
		[]string{cluster("web", "", b), cluster("mirror", "", m)})
	if resp, _ := ask(t, "POST", "http://"+r.addr("main")+"/a", strings.NewReader("hello"), "host", "shop.example:80"); resp.StatusCode != 200 {
		t.Errorf("%d", resp.StatusCode)
	}
	if g := within(t, "the copy", got); g != "POST /a shop.example-shadow:80 hello" {
		t.Errorf("the copy was %q", g)
	}
}

func TestTunnel(t *testing.T) {
	b := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("upgrade") != "websocket" {
			w.WriteHeader(400)
			return
		}
		c, rw, _ := http.NewResponseController(w).Hijack()
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
		l, _ := rw.ReadString('\n')
		_, _ = io.WriteString(c, "you said "+l)
	})
	r := start(t, []string{hcm("main", "upgrade_configs: [{upgrade_type: websocket}]", all(toWeb("/", ""))), hcm("without", "", all(toWeb("/", "")))}, []string{cluster("web", "", b)})
	upgrade := func(listener, head, say string) string {
		c, err := net.Dial("tcp", r.addr(listener))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(c, head)
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 101 {
			return strconv.Itoa(resp.StatusCode)
		}
		_, _ = io.WriteString(c, say)
		text, _ := io.ReadAll(br)
		return "101 " + string(text)
	}
	const head = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
	if got := upgrade("main", head, "hello\n"); got != "101 you said hello\n" {
		t.Errorf("got %q", got)
	}
	if l := r.line("/chat"); l["in"] != 6.0 || l["out"] != 15.0 {
		t.Errorf("%v", l)
	}
	if got := upgrade("without", head, ""); got != "403" {
		t.Errorf("where upgrades are not allowed: %q", got)
	}
	if got := upgrade("main", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", ""); got != "403" && got != "404" {
		t.Errorf("CONNECT: %q", got)
	}
}

func TestProtocolErrors(t *testing.T) {
	b := backend(t, echo)
	r := start(t, []string{hcm("main", "", all(toWeb("/", "")))}, []string{cluster("web", "", b)})
	for in, want := range map[string]string{
		"GET / HTTP/1.1\r\n\r\n": "400",
		"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n":       "400",
		"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n": "400",
		"GET / HTTP/1.1\r\nhost: a\r\nx: " + strings.Repeat("x", 70<<10) + "\r\n\r\n":       "431",
		"nonsense\r\n\r\n": "400",
	} {
		c, err := net.Dial("tcp", r.addr("main"))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(c, in)
		if strings.Contains(in, "chunked") {
			_, _ = io.WriteString(c, "\r\n")
		}
		text, _ := io.ReadAll(c)
		if !strings.HasPrefix(string(text), "HTTP/1.1 "+want) {
			t.Errorf("%.60q: %.80q, want %s", in, text, want)
		}
		_ = c.Close()
	}
	eventually(t, "a line about it", func() bool {
		text, _ := os.ReadFile(r.log)
		return bytes.Contains(text, []byte(`"flags":"DPE"`))
	})
}
