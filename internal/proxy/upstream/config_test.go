package upstream

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/google/go-cmp/cmp"
)

// What cannot be taken is refused with the name of the field, and what was stays.
func TestRefused(t *testing.T) {
	s := newSet(t, Options{})
	for _, tc := range []struct{ cluster, want string }{
		{`"lb_policy": 6`, `lb_policy`},
		{`"connect_timeout": "0s"`, `connect_timeout: 0s is not more than zero`},
		{`"lb_subset_config": {"subset_selectors": [{"keys": ["v"]}]}`, `lb_subset_config: not supported`},
		{`"filters": [{"name": "x"}]`, `filters: not supported`},
		{`"type": "EDS", "load_assignment": {"cluster_name": "c"}`, `load_assignment: a cluster of type EDS has none`},
		{`"type": "STATIC", "load_assignment": {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "name", "port_value": 80}}}}]}]}`,
			`load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: "name" is no IP address`},
		{`"type": "LOGICAL_DNS", "load_assignment": {"cluster_name": "c"}`, `load_assignment: a cluster of type LOGICAL_DNS has one endpoint, this has 0`},
		{`"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 65536}`, `maglev_lb_config.table_size: 65536 is no prime number`},
		{`"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 10, "maximum_ring_size": 5}`, `ring_hash_lb_config.minimum_ring_size`},
		{`"circuit_breakers": {"per_host_thresholds": [{}]}`, `circuit_breakers.per_host_thresholds: not supported`},
		{`"outlier_detection": {"max_ejection_percent": 101}`, `outlier_detection.max_ejection_percent: 101 is no percentage`},
		{`"health_checks": [{"timeout": "1s", "interval": "1s", "http_health_check": {}}]`, `health_checks[0].http_health_check.path: is empty`},
		{`"health_checks": [{"timeout": "1s", "interval": "1s", "tcp_health_check": {"send": {"text": "zz"}}}]`, `health_checks[0].tcp_health_check.send.text`},
		{`"transport_socket": {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"}}`, `transport_socket.typed_config: `},
		{`"transport_socket": {"name": "x"}`, `transport_socket.typed_config: is missing`},
		{`"common_lb_config": {"healthy_panic_threshold": {"value": 120}}`, `common_lb_config.healthy_panic_threshold: 120 is no percentage`},
		{`"load_balancing_policy": {"policies": []}`, `load_balancing_policy.policies: none of them is supported`},
	} {
		c := edsCluster(t, ``)
		override := parse(t, &clusterv3.Cluster{}, `{%s}`, tc.cluster)
		if override.GetType() != clusterv3.Cluster_EDS && strings.Contains(tc.cluster, `"type"`) {
			c.EdsClusterConfig = nil
		}
		proto.Merge(c, override)
		err := s.UpdateCluster(c)
		if err == nil || !strings.HasPrefix(err.Error(), "cluster c: "+tc.want) {
			t.Errorf("%s\n got %v\nwant %s", tc.cluster, err, tc.want)
		}
		if s.Get("c") != nil {
			t.Fatalf("%s was refused and is there", tc.cluster)
		}
	}
	before := mustUpdate(t, s, edsCluster(t, ``), assignmentOf(t, many(2)...))
	if err := s.UpdateCluster(edsCluster(t, `"connect_timeout": "0s"`)); err == nil || s.Get("c") != before {
		t.Error("a bad update was taken, or took something away")
	}
	bad := parse(t, &endpointv3.ClusterLoadAssignment{}, `{"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address":
		{"socket_address": {"address": "10.0.0.1"}}}}]}]}`)
	if err := s.UpdateEndpoints(bad); err == nil || err.Error() != "assignment c: endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: 0 is no port" {
		t.Error(err)
	}
	if n := len(before.hosts.Load().endpoints); n != 2 {
		t.Errorf("a bad assignment left %d endpoints", n)
	}
}

func TestBreakerConfig(t *testing.T) {
	r := parse(t, &clusterv3.CircuitBreakers{}, `{"thresholds": [
		{"max_connections": 1, "max_pending_requests": 2, "max_requests": 3, "max_retries": 4},
		{"priority": "HIGH", "retry_budget": {"budget_percent": {"value": 50}}}, {"priority": "HIGH", "max_requests": 9}]}`)
	got, err := compileBreakers(r)
	want := [priorities]limits{
		{connections: 1, pending: 2, requests: 3, retries: 4, budgetPercent: -1},
		{connections: 1024, pending: 1024, requests: 1024, retries: 3, budgetPercent: 50, budgetMin: 3},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(limits{})); d != "" || err != nil {
		t.Error(err, d)
	}
}

func TestRetryBudget(t *testing.T) {
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, `"circuit_breakers": {"thresholds": [{"max_retries": 2},
		{"priority": "HIGH", "retry_budget": {"budget_percent": {"value": 10}, "min_retry_concurrency": 1}}]}`), nil)
	allowed := func(p Priority) (n int) {
		for c.BeginRetry(p) {
			n++
		}
		for range n {
			c.EndRetry(p, true)
		}
		return n
	}
	if n := allowed(Default); n != 2 {
		t.Errorf("max_retries 2 allows %d", n)
	}
	if n := allowed(High); n != 1 {
		t.Errorf("with no requests the budget allows %d", n)
	}
	c.breakers[High].requests.Store(100)
	if n := allowed(High); n != 10 {
		t.Errorf("with 100 requests the budget of 10 %% allows %d", n)
	}
	c.breakers[High].requests.Store(0)
	if n := stat(c, "upstream_rq_retry_overflow"); n != 3 {
		t.Errorf("upstream_rq_retry_overflow is %d", n)
	}
}

// Resources come from a control plane that may be anything: whatever they hold, they are taken or refused, and picking goes on.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		`{"name": "c", "type": "EDS", "eds_cluster_config": {}}`,
		`{"name": "c", "type": "STATIC", "lb_policy": "MAGLEV", "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [
			{"endpoint": {"address": {"socket_address": {"address": "::1", "port_value": 80}}}, "load_balancing_weight": 5},
			{"endpoint": {"address": {"pipe": {"path": "/x"}}}, "load_balancing_weight": 4294967295}]}]}}`,
		`{"name": "c", "type": "STATIC", "lb_policy": "RING_HASH", "common_lb_config": {"locality_weighted_lb_config": {}}, "load_assignment": {"endpoints": [
			{"load_balancing_weight": 7, "priority": 3, "lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "::1", "port_value": 80}}}}]}]}}`,
		`{"name": "c", "type": "STATIC", "load_assignment": {"policy": {"overprovisioning_factor": 1}}, "outlier_detection": {"consecutive_5xx": 0},
			"round_robin_lb_config": {"slow_start_config": {"slow_start_window": "1s"}}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var r clusterv3.Cluster
		if protojson.Unmarshal([]byte(text), &r) != nil {
			return
		}
		if r.GetRingHashLbConfig().GetMinimumRingSize().GetValue() > 1<<16 || r.GetMaglevLbConfig().GetTableSize().GetValue() > 1<<17 || len(r.GetHealthChecks()) > 0 {
			return // allowed, and slow; and a check would talk to the network
		}
		if r.GetType() == clusterv3.Cluster_STRICT_DNS || r.GetType() == clusterv3.Cluster_LOGICAL_DNS {
			return
		}
		s := newSet(t, Options{})
		if s.UpdateCluster(&r) != nil {
			return
		}
		c := s.Get(r.GetName())
		c.created = c.created.Add(-firstWait)
		for i := range 10 {
			if e, err := c.Pick(t.Context(), &PickContext{Hash: uint64(i), HasHash: i%2 == 0}); (e == nil) != (err != nil) {
				t.Fatal(e, err)
			}
		}
		_ = c.Snapshot()
	})
}
