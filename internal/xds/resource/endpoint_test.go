package resource

import (
	"math"
	"net/netip"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// A cluster that is found by DNS has an endpoint for each name, at its port and with its weight.
func TestNamesOfCluster(t *testing.T) {
	c, problems := Cluster("shop", &model.Cluster{Destination: model.Destination{Host: "api.test", Port: 80}, ByDNS: true, Names: []model.NamedEndpoint{
		{Host: "192.0.2.1", Port: 8080}, {Host: "uk.test", Port: 9080, Weight: 3},
	}}, Options{})
	if len(problems) > 0 || c.GetType() != clusterv3.Cluster_STRICT_DNS {
		t.Fatal(c, problems)
	}
	uk := lbEndpoint("uk.test", 9080)
	uk.LoadBalancingWeight = wrapperspb.UInt32(3)
	want := &endpointv3.ClusterLoadAssignment{ClusterName: c.GetName(), Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{lbEndpoint("192.0.2.1", 8080), uk}}}}
	if d := cmp.Diff(want, c.GetLoadAssignment(), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if c, problems = Cluster("shop", &model.Cluster{Destination: model.Destination{Host: "api.test", Port: 80}, ByDNS: true}, Options{}); len(problems) > 0 || len(c.GetLoadAssignment().GetEndpoints()) > 0 {
		t.Error(c, problems)
	}
}

// Weights are said as they are, unless their sum is more than a proxy takes.
func TestWeightsOfEndpoints(t *testing.T) {
	weights := func(list ...uint32) (out []uint32) {
		e := &model.ClusterEndpoints{}
		for i, w := range list {
			at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)
			e.Endpoints = append(e.Endpoints, model.ClusterEndpoint{Endpoint: model.Endpoint{AddrPort: at, Ready: true}, Weight: w})
		}
		for _, lb := range Endpoints("c", e).GetEndpoints()[0].GetLbEndpoints() {
			out = append(out, lb.GetLoadBalancingWeight().GetValue())
		}
		return out
	}
	if d := cmp.Diff([]uint32{3, 0, 1}, weights(3, 0, 1)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]uint32{math.MaxUint32 / 3, math.MaxUint32 / 3, 1}, weights(math.MaxUint32, math.MaxUint32, 0)); d != "" {
		t.Error(d)
	}
}
