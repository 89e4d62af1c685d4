package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/demo"
	"github.com/weftmesh/weft/test/lab"
)

// scrapeConfig is Prometheus' configuration for the Pods that say by their annotations that they want to be scraped. Debian's Prometheus is built without
// discovery in Kubernetes, so what that would find is written down.
func scrapeConfig(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	out.WriteString("global: {scrape_interval: 2s}\nscrape_configs:\n")
	for line := range strings.Lines(kubectl(t, "get", "pods", "-n", demo.Shop, "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.podIP} `+
		`{.metadata.annotations.prometheus\.io/scrape} {.metadata.annotations.prometheus\.io/port} {.metadata.annotations.prometheus\.io/path}{"\n"}{end}`)) {
		f := strings.Fields(line)
		if len(f) != 5 || f[2] != "true" {
			t.Fatalf("a Pod of the mesh whose annotations do not say where to scrape it: %s", line)
		}
		fmt.Fprintf(&out, "- {job_name: %s, metrics_path: %s, static_configs: [{targets: [%q]}]}\n", f[0], f[4], net.JoinHostPort(f[1], f[3]))
	}
	return out.String()
}

// A Prometheus that scrapes what Pods' annotations say answers a question about who called whom, from the callers' side and from that of who was called.
func TestTelemetryInPrometheus(t *testing.T) {
	program := os.Getenv("WEFT_PROMETHEUS")
	if program == "" {
		t.Skip("WEFT_PROMETHEUS names no Prometheus (make e2e-telemetry brings one)")
	}
	shop(t)
	dir := sharedDir(t)
	config := dir + "/prometheus.yml"
	if err := os.WriteFile(config, []byte(scrapeConfig(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	node := lab.Place(cluster.Nodes[0].Name) // nodes know the way to Pods
	background(t, node, program, "--config.file="+config, "--storage.tsdb.path="+dir+"/data", "--web.listen-address=127.0.0.1:9390")
	traffic(t)
	ask := func(query string) ([]map[string]string, error) {
		var answer struct {
			Status string
			Data   struct {
				Result []struct {
					Metric map[string]string
					Value  [2]any
				}
			}
		}
		out, err := cluster.Exec(t.Context(), node, "bookshop", "get", "-show", "body", "http://127.0.0.1:9390/api/v1/query?query="+url.QueryEscape(query))
		if err != nil {
			return nil, err
		}
		text := out[max(strings.Index(out, "{"), 0):]
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return nil, fmt.Errorf("%w in %s", err, out)
		}
		var series []map[string]string
		for _, r := range answer.Data.Result {
			if r.Value[1] != "0" {
				series = append(series, r.Metric)
			}
		}
		return series, nil
	}
	const by = `sum by (source_workload, source_workload_namespace, source_principal, source_app, source_version,
		destination_workload, destination_workload_namespace, destination_principal, destination_app, destination_version,
		destination_service, destination_service_name, destination_service_namespace, request_protocol, connection_security_policy, response_code) `
	want := map[string]string{
		"source_workload": "reviews-v2", "source_workload_namespace": "bookshop", "source_principal": "spiffe://cluster.local/ns/bookshop/sa/reviews", "source_app": "reviews", "source_version": "v2",
		"destination_workload": "ratings-v1", "destination_workload_namespace": "bookshop", "destination_principal": "spiffe://cluster.local/ns/bookshop/sa/ratings",
		"destination_app": "ratings", "destination_version": "v1", "destination_service": "ratings.bookshop.svc.cluster.local", "destination_service_name": "ratings", "destination_service_namespace": "bookshop",
		"request_protocol": "http", "response_code": "200",
	}
	for reporter, policy := range map[string]string{"destination": "mutual_tls", "source": "unknown"} { // Istio's clients do not say what they spoke
		want["connection_security_policy"] = policy
		eventually(t, time.Minute, func() error {
			series, err := ask(by + `(istio_requests_total{reporter="` + reporter + `",destination_service_name="ratings"})`)
			if err != nil {
				return err
			}
			for _, s := range series {
				if equalMaps(s, want) {
					return nil
				}
			}
			return fmt.Errorf("reporter %s: want %v, got %v", reporter, want, series)
		})
	}
	eventually(t, time.Minute, func() error { // what the application counts itself, though nobody without a certificate may ask it
		series, err := ask(`bookshop_requests_total{service="reviews",version="v2"}`)
		if err == nil && len(series) != 1 {
			err = fmt.Errorf("want reviews' own metric, got %v", series)
		}
		return err
	})
	eventually(t, time.Minute, func() error { // the scraper's attempts, as those say whom it asked
		series, err := ask(`sum by (source_workload) (istio_requests_total{reporter="destination",response_code="403",destination_workload="storefront-v1"})`)
		if err == nil && (len(series) != 1 || series[0]["source_workload"] != "scraper") {
			err = fmt.Errorf("want refusals of the scraper, got %v", series)
		}
		return err
	})
}

func equalMaps(a, b map[string]string) bool {
	for k, v := range b {
		if a[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

// A Jaeger that proxies send spans to shows a request from the gateway to ratings as one trace, with a span of each side of each call.
func TestTelemetryInJaeger(t *testing.T) {
	program := os.Getenv("WEFT_JAEGER")
	if program == "" {
		t.Skip("WEFT_JAEGER names no Jaeger (make e2e-telemetry builds one)")
	}
	shop(t)
	node, at := machine()
	background(t, node, program, "--collector.otlp.grpc.host-port="+at+":4317", "--collector.otlp.http.host-port=127.0.0.1:4318", "--query.http-server.host-port=127.0.0.1:16686",
		"--query.grpc-server.host-port=127.0.0.1:16685", "--admin.http.host-port=127.0.0.1:14269", "--collector.http-server.host-port=127.0.0.1:14268", "--collector.grpc-server.host-port=127.0.0.1:14250")
	controlFlags(t, "--tracing-otlp="+at+":4317", "--tracing-sampling=100")
	edge := strings.Fields(kubectl(t, "get", "service", "-n", "weft-system", "weft-gateway", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"))[0]
	want := []string{"istio-ingressgateway", "storefront.bookshop", "catalog.bookshop", "reviews.bookshop", "ratings.bookshop"}
	eventually(t, 90*time.Second, func() error {
		// A trace that the gateway begins: the services say which it is.
		out, err := cluster.Exec(t.Context(), lab.Outside, "bookshop", "get", "-show", "trace", "-H", "Host:bookshop.example.org", "-H", "end-user:jason", "http://"+edge+"/api/books/1")
		if err != nil {
			return err
		}
		_, id, _ := strings.Cut(strings.Fields(out)[2], "@")
		if id == "" {
			return fmt.Errorf("the storefront sees no trace: %s", out)
		}
		if strings.Count(out, "@"+id) != 4 {
			return fmt.Errorf("want four services in the trace %s, got %s", id, out)
		}
		spans, err := spansOf(t.Context(), node, id)
		if err != nil {
			return err
		}
		for _, w := range want {
			if !slices.Contains(spans.services, w) {
				return fmt.Errorf("trace %s has spans of %v, want one of %s", id, spans.services, w)
			}
		}
		if spans.roots != 1 {
			return fmt.Errorf("trace %s has %d spans without a parent in it, want the gateway's alone", id, spans.roots)
		}
		t.Logf("trace %s: %d spans of %v", id, spans.total, spans.services)
		return nil
	})
}

// spans is a trace as Jaeger shows it.
type spans struct {
	total, roots int
	services     []string // sorted
}

func spansOf(ctx context.Context, at lab.Place, trace string) (spans, error) {
	var answer struct {
		Data []struct {
			Spans []struct {
				SpanID, ProcessID string
				References        []struct{ SpanID string }
			}
			Processes map[string]struct{ ServiceName string }
		}
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(500 * time.Millisecond) { // proxies send spans a moment later
		out, err := cluster.Exec(ctx, at, "bookshop", "get", "-show", "body", "http://127.0.0.1:16686/api/traces/"+trace)
		if err != nil {
			return spans{}, err
		}
		if err := json.Unmarshal([]byte(out[max(strings.Index(out, "{"), 0):]), &answer); err != nil {
			return spans{}, fmt.Errorf("%w in %s", err, out)
		}
		var s spans
		for _, d := range answer.Data {
			known := map[string]bool{}
			for _, p := range d.Spans {
				known[p.SpanID] = true
				s.services = append(s.services, d.Processes[p.ProcessID].ServiceName)
			}
			for _, p := range d.Spans {
				if !slices.ContainsFunc(p.References, func(r struct{ SpanID string }) bool { return known[r.SpanID] }) {
					s.roots++
				}
			}
			s.total += len(d.Spans)
		}
		slices.Sort(s.services)
		s.services = slices.Compact(s.services)
		if len(s.services) >= 5 || time.Now().After(end) {
			return s, nil
		}
	}
}

// traffic is requests through all services, and some that are refused.
func traffic(t *testing.T) {
	t.Helper()
	for range 2 {
		if _, err := cluster.Exec(t.Context(), workload("storefront-v1"), "bookshop", "get", "-n", "20", "-H", "end-user:jason", "http://storefront:9080/api/books/1"); err != nil {
			t.Fatal(err)
		}
		if _, err := cluster.Exec(t.Context(), lab.Pod(demo.Shop, "scraper"), "bookshop", "get", "-n", "5", "http://storefront:9080/api/books/1"); err != nil {
			t.Fatal(err)
		}
	}
}

// sharedDir is a folder that this process and the lab's machines see.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "weft-e2e-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// background runs a program on a machine of the lab until the test ends.
func background(t *testing.T, at lab.Place, program string, args ...string) {
	t.Helper()
	pidFile := sharedDir(t) + "/pid"
	done := make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		out, err := cluster.Run(ctx, append([]string{"shell", string(at), "--", "sh", "-c", `echo $$ >"$1"; shift; exec "$@"`, "sh", pidFile, program}, args...)...)
		if ctx.Err() == nil {
			t.Logf("%s: %v: %s", program, err, out)
		}
	}()
	t.Cleanup(func() {
		stop()
		// The end of what started it does not end it: the machine is a namespace of its own.
		if _, err := cluster.Run(context.Background(), "shell", string(at), "--", "sh", "-c", `kill "$(cat "$1")"`, "sh", pidFile); err != nil {
			t.Log(err)
		}
		<-done
	})
}

// controlFlags adds flags to weft control until the test ends.
func controlFlags(t *testing.T, flags ...string) {
	t.Helper()
	control := []string{"-n", "weft-system", "deployment/weft-control"}
	var patch []map[string]string
	for _, f := range flags {
		patch = append(patch, map[string]string{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": f})
	}
	text, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	kubectl(t, append([]string{"patch", "--type=json", "-p", string(text)}, control...)...)
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
		defer stop()
		for _, c := range [][]string{append([]string{"rollout", "undo"}, control...), append([]string{"rollout", "status", "--timeout=2m"}, control...)} {
			if _, err := cluster.Kubectl(ctx, c...); err != nil {
				t.Error(err)
			}
		}
	})
	kubectl(t, append([]string{"rollout", "status", "--timeout=2m"}, control...)...)
}
