package route

import (
	"fmt"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
)

func manyHosts(n int) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{Name: "many"}
	for i := range n {
		rc.VirtualHosts = append(rc.VirtualHosts, &routev3.VirtualHost{
			Name: fmt.Sprint("host-", i), Domains: []string{fmt.Sprintf("host-%d.test", i)},
			Routes: []*routev3.Route{{
				Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: fmt.Sprint("cluster-", i)}}},
			}},
		})
	}
	return rc
}

func revise(t testing.TB, rc *routev3.RouteConfiguration, before *Table) *Table {
	t.Helper()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(rc)
	if err != nil {
		t.Fatal(err)
	}
	table, err := Revise(raw, before, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// An edit compiles what it touches, and what is around all hosts touches all.
func TestRevise(t *testing.T) {
	rc := manyHosts(10)
	first := revise(t, rc, nil)
	rc.VirtualHosts[3].Routes[0].GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "other"}
	rc.VirtualHosts[4], rc.VirtualHosts[5] = rc.VirtualHosts[5], rc.VirtualHosts[4]
	second := revise(t, rc, first)
	whole, err := Compile(rc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range second.VirtualHosts {
		was := first.VirtualHosts[map[int]int{4: 5, 5: 4}[i]]
		if i != 4 && i != 5 {
			was = first.VirtualHosts[i]
		}
		if kept := v == was; kept != (i != 3) {
			t.Errorf("host %d: the compiled one is kept: %v", i, kept)
		}
		if got, want := v.Routes[0].Forward.Destinations[0].Cluster, whole.VirtualHosts[i].Routes[0].Forward.Destinations[0].Cluster; got != want || v.Name != whole.VirtualHosts[i].Name {
			t.Errorf("host %d leads to %s, want %s", i, got, want)
		}
	}
	rc.RequestHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-a", Value: "1"}}}
	third := revise(t, rc, second)
	for i, v := range third.VirtualHosts {
		if v == second.VirtualHosts[i] {
			t.Errorf("host %d was not compiled anew with what is around it", i)
		}
	}
	rc.VirtualHosts[1].Name = rc.VirtualHosts[0].Name
	raw, err := proto.Marshal(rc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Revise(raw, third, Options{}); err == nil {
		t.Error("two hosts of one name were taken")
	}
	if _, err := Revise([]byte{0x12, 0xff}, third, Options{}); err == nil {
		t.Error("bytes that are no message were taken")
	}
}

func BenchmarkRevise(b *testing.B) {
	rc := manyHosts(3000)
	table := revise(b, rc, nil)
	for i := range b.N {
		rc.VirtualHosts[7].Routes[0].GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: fmt.Sprint(i)}
		table = revise(b, rc, table)
	}
}

// Whatever bytes come, revising says the same as compiling the whole.
func FuzzRevise(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		raw, err := proto.Marshal(manyHosts(n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, raw)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		before, err := Revise(first, nil, Options{})
		if err != nil {
			before = nil
		}
		table, err := Revise(second, before, Options{})
		rc := &routev3.RouteConfiguration{}
		if proto.Unmarshal(second, rc) != nil {
			return // what is no message as a whole may be refused for another reason, or be one in parts
		}
		whole, wrong := Compile(rc, Options{})
		if (err == nil) != (wrong == nil) {
			t.Fatalf("revised: %v; compiled: %v", err, wrong)
		}
		if err == nil && len(table.VirtualHosts) != len(whole.VirtualHosts) {
			t.Fatalf("%d hosts, want %d", len(table.VirtualHosts), len(whole.VirtualHosts))
		}
	})
}
