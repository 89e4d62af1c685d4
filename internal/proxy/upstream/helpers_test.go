package upstream

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// parse reads a resource from JSON as Envoy's documentation writes it.
func parse[M proto.Message](t testing.TB, m M, text string, args ...any) M {
	t.Helper()
	if err := protojson.Unmarshal(fmt.Appendf(nil, text, args...), m); err != nil {
		t.Fatalf("%v in %s", err, fmt.Sprintf(text, args...))
	}
	return m
}

func newSet(t testing.TB, o Options) *Set {
	s := NewSet(o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// edsCluster is a cluster "c" of type EDS, with more fields.
func edsCluster(t testing.TB, more string) *clusterv3.Cluster {
	t.Helper()
	if more != "" {
		more = "," + more
	}
	return parse(t, &clusterv3.Cluster{}, `{"name": "c", "type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}} %s}`, more)
}

// member is an endpoint of an assignment.
type member struct {
	addr     string // IPv4
	port     int
	weight   int
	health   string
	zone     string
	priority int
	zoneLoad int
	metadata string
}

// assignmentOf makes the assignment "c" of members; each zone and priority is a locality.
func assignmentOf(t testing.TB, members ...member) *endpointv3.ClusterLoadAssignment {
	t.Helper()
	a := &endpointv3.ClusterLoadAssignment{ClusterName: "c"}
	at := map[string]*endpointv3.LocalityLbEndpoints{}
	for _, m := range members {
		key := fmt.Sprint(m.zone, "/", m.priority)
		l := at[key]
		if l == nil {
			l = parse(t, &endpointv3.LocalityLbEndpoints{}, `{"locality": {"zone": %q}, "priority": %d}`, m.zone, m.priority)
			if m.zoneLoad > 0 {
				l = parse(t, l, `{"locality": {"zone": %q}, "priority": %d, "load_balancing_weight": %d}`, m.zone, m.priority, m.zoneLoad)
			}
			at[key] = l
			a.Endpoints = append(a.Endpoints, l)
		}
		l.LbEndpoints = append(l.LbEndpoints, lbEndpoint(t, m))
	}
	return a
}

func lbEndpoint(t testing.TB, m member) *endpointv3.LbEndpoint {
	t.Helper()
	if m.health == "" {
		m.health = "UNKNOWN"
	}
	if m.weight == 0 {
		m.weight = 1
	}
	if m.port == 0 {
		m.port = 80
	}
	if m.metadata == "" {
		m.metadata = "{}"
	}
	return parse(t, &endpointv3.LbEndpoint{}, `{"endpoint": {"address": {"socket_address": {"address": %q, "port_value": %d}}},
		"health_status": %q, "load_balancing_weight": %d, "metadata": %s}`, m.addr, m.port, m.health, m.weight, m.metadata)
}

// many is n members 10.x.y.z.
func many(n int) []member {
	out := make([]member, n)
	for i := range out {
		out[i] = member{addr: fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255)}
	}
	return out
}

func mustUpdate(t testing.TB, s *Set, c *clusterv3.Cluster, a *endpointv3.ClusterLoadAssignment) *Cluster {
	t.Helper()
	if err := s.UpdateCluster(c); err != nil {
		t.Fatal(err)
	}
	if a != nil {
		if err := s.UpdateEndpoints(a); err != nil {
			t.Fatal(err)
		}
	}
	return s.Get(c.GetName())
}

// counts picks n times and counts who was picked.
func counts(t testing.TB, c *Cluster, n int, pc func(i int) *PickContext) map[string]int {
	t.Helper()
	out := map[string]int{}
	for i := range n {
		e, err := c.Pick(t.Context(), pc(i))
		if err != nil {
			out[err.Error()]++
			continue
		}
		out[e.Address()]++
	}
	return out
}

func anyPick(int) *PickContext { return &PickContext{} }

// near asserts that parts of n came about as expected, within five standard deviations and a little.
func near(t testing.TB, got map[string]int, n int, want map[string]float64) {
	t.Helper()
	for who, part := range want {
		expected := part * float64(n)
		slack := 5*math.Sqrt(expected*(1-part)) + 0.002*float64(n)
		if d := float64(got[who]) - expected; d > slack || d < -slack {
			t.Errorf("%s was picked %d times of %d, want %.0f ± %.0f (all: %v)", who, got[who], n, expected, slack, got)
		}
	}
	for who := range got {
		if _, ok := want[who]; !ok {
			t.Errorf("%s was picked %d times", who, got[who])
		}
	}
}

func stat(c *Cluster, name string) int64 {
	for _, s := range c.Snapshot().Stats {
		if s.Name == name {
			return s.Value
		}
	}
	panic("no stat " + name)
}
