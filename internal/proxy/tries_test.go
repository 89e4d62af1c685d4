package proxy_test

import (
	"fmt"
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
