package proxy_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// collector takes spans as OTLP, over gRPC or HTTP.
type collector struct {
	*httptest.Server
	mu  sync.Mutex
	all []map[string]string // spans: their attributes, and what they say themselves under names with a colon
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.HasPrefix(r.Header.Get("content-type"), "application/grpc") {
			if r.URL.Path != "/opentelemetry.proto.collector.trace.v1.TraceService/Export" || len(body) < 5 {
				http.Error(w, "what?", 404)
				return
			}
			body = body[5:]
			w.Header().Set("content-type", "application/grpc")
			w.Header().Set("trailer", "grpc-status")
			_, _ = w.Write([]byte{0, 0, 0, 0, 0})
			w.Header().Set("grpc-status", "0")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, group := range parts(body)[1] {
			service := attributes(parts(parts(group)[1][0])[1])["service.name"]
			for _, scope := range parts(group)[2] {
				for _, raw := range parts(scope)[2] {
					span := parts(raw)
					s := attributes(span[9])
					s[":service"], s[":trace"], s[":span"], s[":name"], s[":kind"] = service, hex.EncodeToString(span[1][0]), hex.EncodeToString(span[2][0]), string(span[5][0]), string(span[6][0])
					if len(span[4]) > 0 {
						s[":parent"] = hex.EncodeToString(span[4][0])
					}
					c.all = append(c.all, s)
				}
			}
		}
	}))
	c.Config.Protocols = &http.Protocols{}
	c.Config.Protocols.SetHTTP1(true)
	c.Config.Protocols.SetUnencryptedHTTP2(true)
	c.Start()
	t.Cleanup(c.Close)
	return c
}

// parts reads a protobuf message: what each field has, numbers as text.
func parts(b []byte) map[protowire.Number][][]byte {
	out := map[protowire.Number][][]byte{}
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return out
		}
		b = b[size:]
		switch kind {
		case protowire.BytesType:
			v, size := protowire.ConsumeBytes(b)
			if size < 0 {
				return out
			}
			out[n], b = append(out[n], v), b[size:]
		case protowire.VarintType:
			v, size := protowire.ConsumeVarint(b)
			out[n], b = append(out[n], fmt.Append(nil, v)), b[size:]
		default:
			b = b[protowire.ConsumeFieldValue(n, kind, b):]
		}
	}
	return out
}

func attributes(all [][]byte) map[string]string {
	out := map[string]string{}
	for _, raw := range all {
		kv := parts(raw)
		out[string(kv[1][0])] = string(parts(kv[2][0])[1][0])
	}
	return out
}

// find waits for a span of a service.
func (c *collector) find(t *testing.T, service, kind string) (found map[string]string) {
	t.Helper()
	eventually(t, "a span of "+service, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.all {
			if s[":service"] == service && s[":kind"] == kind {
				found = s
				return true
			}
		}
		return false
	})
	return found
}

func tracing(service, target, more string) string {
	return `tracing: {random_sampling: {value: 100}, provider: {name: envoy.tracers.opentelemetry, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: ` +
		service + `, ` + target + `}}` + more + `}`
}

// A request through two proxies is one trace, whose spans hang together, and the application sees where it is in it.
func TestTraces(t *testing.T) {
	const overGRPC, overHTTP = `grpc_service: {envoy_grpc: {cluster_name: collector}, timeout: 5s}`, `http_service: {http_uri: {uri: "http://collector/v1/traces", cluster: collector, timeout: 5s}}`
	for _, c := range []struct{ name, target, options string }{{"gRPC", overGRPC, ", " + speakHTTP2}, {"HTTP", overHTTP, ""}} {
		t.Run(c.name, func(t *testing.T) {
			seen := make(chan http.Header, 10)
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen <- r.Header.Clone(); w.WriteHeader(503) }))
			t.Cleanup(web.Close)
			to := startCollector(t)
			spans := cluster("collector", strings.TrimPrefix(c.options, ", "), to.Listener.Addr().String())
			server := start(t, []string{strings.Replace(hcm("in", tracing("orders.shop", c.target, ""), all(toWeb("/", ""))), "{name: in,", "{name: in, traffic_direction: INBOUND,", 1)},
				[]string{cluster("web", "", web.Listener.Addr().String()), spans})
			client := start(t, []string{hcm("out", tracing("front.shop", c.target, ", spawn_upstream_span: true, custom_tags: [{tag: team, request_header: {name: x-team}}]"),
				all(`{match: {prefix: "/"}, route: {cluster: web}, decorator: {operation: "orders.shop.svc.cluster.local:80/*"}}`))},
				[]string{cluster("web", "", server.addr("in")), spans})
			if resp, _ := ask(t, "GET", "http://"+client.addr("out")+"/x?y", nil, "x-team", "red", "x-b3-sampled", "1"); resp.StatusCode != 503 {
				t.Fatal(resp.StatusCode)
			}
			app := <-seen
			first, attempt, last := to.find(t, "front.shop", "2"), to.find(t, "front.shop", "3"), to.find(t, "orders.shop", "2")
			if first[":parent"] != "" || attempt[":parent"] != first[":span"] || last[":parent"] != attempt[":span"] || first[":trace"] != attempt[":trace"] || last[":trace"] != first[":trace"] {
				t.Errorf("the spans do not hang together:\n%v\n%v\n%v", first, attempt, last)
			}
			if want := "00-" + last[":trace"] + "-" + last[":span"] + "-01"; app.Get("traceparent") != want {
				t.Errorf("the application sees %s, want %s", app.Get("traceparent"), want)
			}
			for key, want := range map[string]string{
				":name": "orders.shop.svc.cluster.local:80/*", "http.method": "GET", "http.url": "http://" + client.addr("out") + "/x?y", "http.status_code": "503", "team": "red",
				"upstream_cluster": "web", "component": "proxy", "response_flags": "-", "peer.address": "127.0.0.1", "node_id": "test", "istio.namespace": "istio-system",
				"istio.canonical_service": "edge", "http.protocol": "HTTP/1.1", "error": "true", "guid:x-request-id": app.Get("x-request-id"),
			} {
				if first[key] != want {
					t.Errorf("%s is %q, want %q", key, first[key], want)
				}
			}
			if last[":name"] != "ingress" || attempt["upstream_address"] != server.addr("in") {
				t.Errorf("%v\n%v", last, attempt)
			}
			// What somebody has decided against is passed on, and nobody hears of it.
			const not = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
			ask(t, "GET", "http://"+client.addr("out")+"/", nil, "traceparent", not, "tracestate", "a=b")
			if app = <-seen; app.Get("traceparent") != not || app.Get("tracestate") != "a=b" {
				t.Errorf("the application sees %s", app.Get("traceparent"))
			}
			eventually(t, "spans are counted", func() bool { return strings.Contains(client.metrics(), `weft_proxy_spans_total{result="sent"} 2`) })
		})
	}
}
