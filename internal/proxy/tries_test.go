package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A circuit breaker that is open is no reason to try again: that would be more of what it keeps away.
func TestOverflowIsNotRetried(t *testing.T) {
	r := start(t, []string{hcm("main", "", all(toWeb("/", `, retry_policy: {retry_on: "5xx,gateway-error", num_retries: 3, retry_back_off: {base_interval: 0.001s}}`)))},
		[]string{cluster("web", "circuit_breakers: {thresholds: [{max_requests: 0}]}", closed(t))})
	if resp, _ := r.get("/"); resp.StatusCode != 503 {
		t.Errorf("%d", resp.StatusCode)
	}
	if l := r.line("/"); l["flags"] != "UO" || l["attempts"] != 1.0 {
		t.Errorf("%v", l)
	}
}

// A request with too many fields is answered with 431 in both versions of HTTP.
func TestTooManyFields(t *testing.T) {
	r := start(t, []string{hcm("main", "common_http_protocol_options: {max_headers_count: 20}", all(toWeb("/", "")))}, []string{cluster("web", "", backend(t, echo))})
	for _, version := range []int{1, 2} {
		p := new(http.Protocols)
		p.SetHTTP1(version == 1)
		p.SetUnencryptedHTTP2(version == 2)
		tr := &http.Transport{Protocols: p}
		defer tr.CloseIdleConnections()
		for n, want := range map[int]int{10: 200, 30: 431} {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+r.addr("main")+"/", nil)
			for i := range n {
				req.Header.Set(fmt.Sprint("x-", i), "a")
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("HTTP/%d, %d fields: %d, want %d", version, n, resp.StatusCode, want)
			}
		}
	}
}

// A cluster of type ORIGINAL_DST that goes by a field leads where that says.
func TestDestinationByField(t *testing.T) {
	b := backend(t, echo)
	r := start(t, []string{hcm("main", "", all(toWeb("/", "")))},
		[]string{`{name: web, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s, original_dst_lb_config: {use_http_header: true}}`})
	if resp, body := r.get("/", "x-envoy-original-dst-host", b); resp.StatusCode != 200 || !strings.HasPrefix(body, "GET / ") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if l := r.line("/"); l["up"] != b {
		t.Errorf("%v", l)
	}
}

// The limits of a request and of a try count while it waits for a connection, while that is made, and while its body is written.
func TestTimeoutsCountBeforeTheResponse(t *testing.T) {
	certificate := `transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}`
	to := func(cluster, more string) string {
		return `{match: {prefix: /` + cluster + `}, route: {cluster: ` + cluster + `, timeout: 0s` + more + `}}`
	}
	const try = `, retry_policy: {retry_on: reset, num_retries: 1, per_try_timeout: 0.1s, retry_back_off: {base_interval: 0.001s}}`
	for name, limit := range map[string]struct {
		more, details, flags string
		attempts             float64
	}{
		"timeout":   {"0.1s", "response_timeout", "UT", 1},
		"try":       {"0s" + try, "upstream_per_try_timeout", "URX,UT", 2},
		"of stream": {"0s, max_stream_duration: {max_stream_duration: 0.1s}", "upstream_max_stream_duration_reached", "UMSDR", 1},
	} {
		t.Run(name, func(t *testing.T) {
			held, release := make(chan struct{}, 1), make(chan struct{})
			busy := backend(t, func(http.ResponseWriter, *http.Request) {
				held <- struct{}{}
				<-release
			})
			r := start(t, []string{hcm("main", "", all(strings.ReplaceAll(to("busy", "")+", "+to("silent", "")+", "+to("full", ""), "timeout: 0s", "timeout: "+limit.more))),
				hcm("hang", "", all(to("busy", "")))},
				[]string{
					cluster("busy", "circuit_breakers: {thresholds: [{max_connections: 1}]}", busy),
					cluster("silent", certificate, accepts(t, "")),
					cluster("full", speakHTTP2, accepts(t, noWindow)),
				})
			hangs := make(chan struct{})
			t.Cleanup(func() {
				close(release)
				<-hangs
			})
			go func() {
				defer close(hangs)
				resp, err := http.Get("http://" + r.addr("hang") + "/busy")
				if err == nil {
					_ = resp.Body.Close()
				}
			}()
			within(t, "a request that holds the connection", held)
			for path, body := range map[string]string{"/busy": "", "/silent": "", "/full": "hello"} {
				resp, text := ask(t, "POST", "http://"+r.addr("main")+path, strings.NewReader(body))
				l := r.line(path)
				if resp.StatusCode != 504 || l["details"] != limit.details || l["flags"] != limit.flags || l["attempts"] != limit.attempts {
					t.Errorf("%s: %d %q, %v", path, resp.StatusCode, text, l)
				}
			}
		})
	}
}

// noWindow is SETTINGS of HTTP/2 that let nobody send a body.
const noWindow = "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00"

// accepts is an endpoint that takes connections, says something, and nothing after that.
func accepts(t *testing.T, say string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, say)
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	return ln.Addr().String()
}
