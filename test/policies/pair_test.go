package policies

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/test/freeport"
)

// policy is a listener with filters in front of the router, and what is expected of requests to it.
type policy struct {
	name, filters, route string // in YAML's flow style; route is further fields of the route
	requests             []request
}

// request is a request and what is to become of it.
type request struct {
	ask  string // METHOD PATH [HEADER=VALUE ...]
	want string // STATUS BODY | FLAGS DETAILS
	// shows are fields of the response, or with "endpoint:" of what the endpoint saw: NAME=VALUE; an empty value is absent.
	shows []string
}

// listeners are the policies' listeners at the ports.
func listeners(all []policy, ports []string, log string) string {
	var out []string
	for i, p := range all {
		out = append(out, `{name: `+p.name+`, address: {socket_address: {address: 127.0.0.1, port_value: `+ports[i]+`}}, filter_chains: [{filters: [
		{name: envoy.filters.network.http_connection_manager, typed_config: {
		"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, normalize_path: true,
		http_filters: [`+p.filters+`, {name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}],
		access_log: [{name: a, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: `+log+`,
		log_format: {text_format_source: {inline_string: "%REQ(X-CASE)%|%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%|%DYNAMIC_METADATA(envoy.filters.http.rbac:dry_shadow_engine_result)%\n"}}}}],
		route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [
		{match: {prefix: /off}, route: {cluster: web}`+p.route+`}, {match: {prefix: /}, route: {cluster: web}}]}]}}}]}]}`)
	}
	return strings.Join(out, ",\n")
}

// config makes the listeners of a proxy, at ports, in the order of their names; log is its access log.
type config func(ports []string, log string) string

func bootstrapText(listeners, backend string) string {
	_, port, _ := net.SplitHostPort(backend)
	return "node: {id: policies, cluster: policies}\nstatic_resources: {listeners: [" + listeners + `],
clusters: [{name: web, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: web, endpoints: [{lb_endpoints: [
{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ` + port + `}}}}]}]}}]}`
}

// carrier is a proxy with the policies' listeners.
type carrier struct {
	at  map[string]string // addresses by the listener's name
	log string
}

func startWeft(t *testing.T, names []string, of config, backend string) *carrier {
	t.Helper()
	c := &carrier{at: map[string]string{}, log: filepath.Join(t.TempDir(), "access.log")}
	b, err := bootstrap.Parse([]byte(bootstrapText(of(slices.Repeat([]string{"0"}, len(names)), c.log), backend)))
	if err != nil {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	p, err := proxy.New(proxy.Options{
		Bootstrap: b, DrainTime: -1, Admin: loopback, Metrics: loopback, Health: loopback, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	select {
	case <-p.Warm():
	case <-time.After(20 * time.Second):
		t.Fatal("the proxy does not become ready")
	}
	for _, l := range p.Server().Listeners() {
		c.at[l.Name] = l.Addresses[0].String()
	}
	return c
}

func startEnvoy(t *testing.T, names []string, of config, backend string) *carrier {
	t.Helper()
	envoy := os.Getenv("WEFT_ENVOY")
	if envoy == "" {
		t.Skip("WEFT_ENVOY does not say where Envoy is (scripts/envoy.sh)")
	}
	dir := t.TempDir()
	c := &carrier{at: map[string]string{}, log: filepath.Join(dir, "access.log")}
	var ports []string
	for _, name := range names {
		free := freeport.Hold(t)
		c.at[name] = free.String()
		ports = append(ports, strconv.Itoa(int(free.Port())))
	}
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, []byte(bootstrapText(of(ports, c.log), backend)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, envoy, "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error", "--file-flush-interval-msec", "10")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = cmd.Wait() })
	for name, at := range c.at {
		eventually(t, "Envoy listens for "+name, func() bool {
			conn, err := net.Dial("tcp", at)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
	return c
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
	}
}

// answer is what came of a request, in the form of request.want, and where to look for fields.
type answer struct {
	text             string
	header, endpoint http.Header
}

// show gives a field that a request names.
func (a *answer) show(name string) string {
	if inner, ok := strings.CutPrefix(name, "endpoint:"); ok {
		return a.endpoint.Get(inner)
	}
	return a.header.Get(name)
}

// ask sends a request.
func (c *carrier) ask(t *testing.T, listener, id, ask string) *answer {
	t.Helper()
	words := strings.Fields(ask)
	r, err := http.NewRequest(words[0], "http://"+c.at[listener]+words[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("x-case", id)
	for _, w := range words[2:] {
		name, value, _ := strings.Cut(w, "=")
		value = strings.ReplaceAll(value, "+", " ")
		if name == "host" {
			r.Host = value
		} else {
			r.Header.Add(name, value)
		}
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{header: resp.Header, endpoint: http.Header{}}
	if resp.Header.Get("x-endpoint") != "" { // it tells what it saw
		for line := range strings.Lines(string(body)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			a.endpoint.Add(name, value)
		}
		body = nil
	}
	a.text = fmt.Sprintf("%d %s", resp.StatusCode, body)
	return a
}

// line waits for what the access log says of a request.
func (c *carrier) line(t *testing.T, id string) (line string) {
	t.Helper()
	eventually(t, "a line for "+id+" in the access log", func() bool {
		text, _ := os.ReadFile(c.log)
		for l := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(l, id+"|"); ok && strings.HasSuffix(l, "\n") {
				line = strings.TrimSpace(rest)
				return true
			}
		}
		return false
	})
	return strings.TrimSuffix(line, "|-")
}

// endpoint answers with what it saw, and at /jwks with keys.
func endpoint(t *testing.T, keys string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/jwks" {
			_, _ = io.WriteString(w, keys)
			return
		}
		w.Header().Set("x-endpoint", "1")
		fmt.Fprintf(w, ":path: %s\n", r.RequestURI)
		for name, values := range r.Header {
			for _, v := range values {
				fmt.Fprintf(w, "%s: %s\n", name, v)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// try tries all requests of the policies on one proxy.
func (c *carrier) try(t *testing.T, all []policy) {
	t.Helper()
	id := func(p policy, i int) string { return fmt.Sprintf("%s-%d", p.name, i) }
	answers := map[string]*answer{}
	for _, p := range all {
		for i, r := range p.requests {
			answers[id(p, i)] = c.ask(t, p.name, id(p, i), r.ask)
		}
	}
	for _, p := range all { // the log is written a moment later
		for i, r := range p.requests {
			a := answers[id(p, i)]
			if got := a.text + "|" + c.line(t, id(p, i)); got != r.want {
				t.Errorf("%s: %s: %s, want %s", p.name, r.ask, got, r.want)
			}
			for _, s := range r.shows {
				name, want, _ := strings.Cut(s, "=")
				if want = strings.ReplaceAll(want, "HOST", c.at[p.name]); a.show(name) != want {
					t.Errorf("%s: %s: %s is %q, want %q", p.name, r.ask, name, a.show(name), want)
				}
			}
		}
	}
}

// both tries the policies on weft's proxy and on Envoy. keys is what the endpoint has at /jwks.
func both(t *testing.T, keys string, all []policy) {
	t.Helper()
	backend := endpoint(t, keys)
	names := make([]string, 0, len(all))
	for _, p := range all {
		names = append(names, p.name)
	}
	of := func(ports []string, log string) string { return listeners(all, ports, log) }
	t.Run("weft", func(t *testing.T) { startWeft(t, names, of, backend).try(t, all) })
	t.Run("envoy", func(t *testing.T) { startEnvoy(t, names, of, backend).try(t, all) })
}
