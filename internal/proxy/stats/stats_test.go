package stats

import (
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRequestsAreWrittenAsIstioNamesThem(t *testing.T) {
	r := New(Workload{Name: "edge", Namespace: "istio-system"})
	s := r.Service(Traffic{Cluster: "outbound|80|v1|web.shop.svc.cluster.local"})
	ok := Outcome{Status: 200, GRPC: -1}
	for range 3 {
		s.Request(r.Shard(), ok, 3*time.Millisecond, 10, 2000)
	}
	s.Request(r.Shard(), Outcome{Status: 200, GRPC: 14}, time.Hour*2, 0, 0)
	var b strings.Builder
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"# TYPE istio_requests_total counter\n",
		`destination_service="web.shop.svc.cluster.local"`,
		`destination_service_name="web"`, `destination_service_namespace="shop"`, `reporter="source"`, `source_workload="edge"`,
		`request_protocol="http",response_code="200",grpc_response_status="",response_flags="-"} 3`,
		`request_protocol="grpc",response_code="200",grpc_response_status="14",response_flags="-"} 1`,
		`response_flags="-",le="1"} 0`, `response_flags="-",le="5"} 3`,
		`istio_request_duration_milliseconds_sum{`, "} 9\n", "} 6000\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "istio_tcp_") {
		t.Error("series of TCP, where there was none")
	}
	r.Forget(func(d Traffic) bool { return strings.HasPrefix(d.Cluster, "outbound|80|") })
	b.Reset()
	if _, err := r.WriteTo(&b); err != nil || b.Len() != 0 {
		t.Errorf("%v, left over: %s", err, b.String())
	}
}

func TestCountersOfOneNameAreOne(t *testing.T) {
	r := New(Workload{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, shard := r.Counter("c", "what", Label{"a", `x"\` + "\n"}), r.Shard()
			for range 1000 {
				c.Add(shard, 1)
			}
			r.Gauge("g", "").Add(1)
		})
	}
	wg.Wait()
	r.Collect(func(t *Text) { t.Gauge("more", "", 5) })
	var b strings.Builder
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	want := "# HELP c what\n# TYPE c counter\nc{a=\"x\\\"\\\\\\n\"} 8000\n# TYPE g gauge\ng 8\n# TYPE more gauge\nmore 5\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestOutcomesAreBounded(t *testing.T) {
	s := New(Workload{}).Service(Traffic{})
	for i := range 10 * maxOutcomes {
		s.Request(0, Outcome{Status: i}, 0, 0, 0)
	}
	if n := len(*s.requests.Load()); n > maxOutcomes+1 {
		t.Errorf("%d series", n)
	}
}

func TestCountingMakesNoGarbage(t *testing.T) {
	s := New(Workload{}).Service(Traffic{})
	o := Outcome{Status: 200, GRPC: -1}
	s.Request(0, o, 0, 0, 0)
	if n := testing.AllocsPerRun(100, func() { s.Request(1, o, time.Second, 1, 1) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func TestShards(t *testing.T) {
	for n, want := range map[int]int{0: 1, 1: 1, 2: 2, 3: 4, 8: 8, 64: 16} {
		if got := shardsFor(n); got != want {
			t.Errorf("%d processors: %d shards, want %d", n, got, want)
		}
	}
}

// The labels of Istio's standard metrics, on both sides of a request.
func TestTraffic(t *testing.T) {
	own := Workload{Name: "front-v1", Namespace: "shop", App: "front", Version: "v1", CanonicalService: "front", CanonicalRevision: "v1", Cluster: "Kubernetes"}
	peer := Workload{
		Name: "orders-v2", Namespace: "lies", Principal: "spiffe://cluster.local/ns/shop/sa/orders", CanonicalService: "orders", Cluster: "Kubernetes",
	}
	const me = `workload="front-v1",SIDE_workload_namespace="shop",SIDE_principal="spiffe://cluster.local/ns/shop/sa/front",SIDE_app="front",SIDE_version="v1",` +
		`SIDE_canonical_service="front",SIDE_canonical_revision="v1",SIDE_cluster="Kubernetes"`
	const they = `workload="orders-v2",SIDE_workload_namespace="shop",SIDE_principal="spiffe://cluster.local/ns/shop/sa/orders",SIDE_app="unknown",SIDE_version="unknown",` +
		`SIDE_canonical_service="orders",SIDE_canonical_revision="latest",SIDE_cluster="Kubernetes"`
	side := func(text, side string) string { return side + "_" + strings.ReplaceAll(text, "SIDE", side) }
	for _, c := range []struct {
		traffic Traffic
		want    string
	}{
		{Traffic{Cluster: "outbound|80||orders.shop.svc.cluster.local", Peer: peer, Principal: "spiffe://cluster.local/ns/shop/sa/front", Secured: true},
			`reporter="source",` + side(me, "source") + `,` + side(they, "destination") + `,destination_service="orders.shop.svc.cluster.local",destination_service_name="orders",` +
				`destination_service_namespace="shop",connection_security_policy="unknown"`},
		{Traffic{Inbound: true, Cluster: "inbound|8080||", Host: "front.shop.svc.cluster.local", Service: "front", Namespace: "shop", Peer: peer,
			Principal: "spiffe://cluster.local/ns/shop/sa/front", Secured: true},
			`reporter="destination",` + side(they, "source") + `,` + side(me, "destination") + `,destination_service="front.shop.svc.cluster.local",destination_service_name="front",` +
				`destination_service_namespace="shop",connection_security_policy="mutual_tls"`},
	} {
		if got := string(appendLabels(nil, c.traffic.labels(own))); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
	plain := string(appendLabels(nil, Traffic{Inbound: true, Cluster: "inbound|8080||"}.labels(own)))
	for _, want := range []string{`source_workload="unknown"`, `source_canonical_revision="unknown"`, `destination_principal="unknown"`, `destination_service="unknown"`, `connection_security_policy="none"`} {
		if !strings.Contains(plain, want) {
			t.Errorf("no %s in %s", want, plain)
		}
	}
}

func TestPeersAreBounded(t *testing.T) {
	r := New(Workload{})
	for i := range 2 * maxTraffics {
		r.Service(Traffic{Peer: Workload{Name: strings.Repeat("x", i)}})
	}
	if n := len(r.traffics); n > maxTraffics+1 || r.overflow.Load() == 0 {
		t.Errorf("%d sets of series, %d overflowed", n, r.overflow.Load())
	}
}
