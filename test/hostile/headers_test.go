package hostile

import (
	"bufio"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// forged is what only proxies may say. Some of it the proxy says itself then; what it says is not that.
var forged = []string{
	"x-forwarded-client-cert", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-request-id",
	"x-envoy-internal", "x-envoy-external-address", "x-envoy-decorator-operation", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node",
	"x-envoy-expected-rq-timeout-ms", "x-envoy-force-trace", "x-envoy-ip-tags", "x-envoy-max-retries", "x-envoy-retry-on", "x-envoy-retry-grpc-on",
	"x-envoy-retriable-header-names", "x-envoy-retriable-status-codes", "x-envoy-hedge-on-per-try-timeout", "x-envoy-upstream-alt-stat-name",
	"x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response", "x-envoy-upstream-rq-timeout-ms",
	"x-envoy-upstream-stream-duration-ms", "x-envoy-original-path", "x-envoy-original-host", "x-envoy-attempt-count", "x-envoy-peer-metadata",
	"x-envoy-peer-metadata-id", "x-envoy-is-timeout-retry", "x-istio-attributes",
}

// An endpoint hears nothing from a stranger that only a proxy may say, however often and in whatever form it is said.
func TestForgedHeaders(t *testing.T) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain"}, {name: "tls", tls: true}}, cluster("web", "", b.addr()))
	const lie = "forged.example"
	var h1, nominated strings.Builder
	var h2 []string
	for _, name := range forged {
		h1.WriteString(name + ": " + lie + "\r\n" + strings.ToUpper(name) + ":" + lie + "\r\n")
		h2 = append(h2, name, lie, name, lie)
	}
	nominated.WriteString("Connection: x-forwarded-for, x-forwarded-proto\r\nConnection: x-request-id, x-envoy-internal, authorization\r\n")

	for _, name := range []string{"plain", "tls"} {
		t.Run(name, func(t *testing.T) {
			scheme := "http"
			conn := e.dial(t, name)
			if name == "tls" {
				scheme = "https"
				_ = conn.Close()
				conn = e.dialTLS(t, name, "http/1.1")
			}
			in := bufio.NewReader(conn)
			_, _ = io.WriteString(conn, "GET /"+name+"/1 HTTP/1.1\r\nHost: h\r\nAuthorization: mine\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n"+nominated.String()+h1.String()+"\r\n")
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v %v", resp, err)
			}
			r := e.http2(t, "plain")
			if name == "tls" {
				r = newRaw2(t, e.dialTLS(t, name, "h2"))
			}
			more := append([]string{"authorization", "mine", "x-forwarded-for", "192.0.2.1", "x-forwarded-for", "192.0.2.2"}, h2...)
			if got := r.await(r.open(true, get("/"+name+"/2", more...))); got != "200" {
				t.Fatal(got)
			}
			all, _ := b.requests()
			n := 0
			for _, q := range all {
				if !strings.HasPrefix(q.RequestURI, "/"+name+"/") {
					continue
				}
				n++
				if strings.Contains(q.head, lie) {
					t.Errorf("the endpoint heard a lie:\n%s", q.head)
				}
				for field, want := range map[string]string{
					"X-Forwarded-Proto": scheme, "X-Forwarded-For": "192.0.2.1,192.0.2.2,127.0.0.1", "Authorization": "mine",
				} {
					if got := q.Header.Values(field); !slices.Equal(got, []string{want}) {
						t.Errorf("%s %s: %q, want %q", q.RequestURI, field, got, want)
					}
				}
				if got := q.Header.Values("X-Request-Id"); len(got) != 1 || len(got[0]) != 36 {
					t.Errorf("%s x-request-id %q", q.RequestURI, got)
				}
			}
			if n != 2 {
				t.Errorf("%d requests", n)
			}
		})
	}
}
