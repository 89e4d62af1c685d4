package index

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

func packed(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ip(text string) []byte { return netip.MustParseAddr(text).AsSlice() }

var shopScope = Scope{"shop", "cluster.local"}

func world(t *testing.T) *Index {
	t.Helper()
	x := New()
	for _, m := range []*meshpb.Service{
		{Host: "web.shop.svc.cluster.local", Namespace: "shop", Addresses: [][]byte{ip("10.96.0.1"), ip("fd00::1")}, SubjectAltNames: []string{"spiffe://a", "spiffe://b"},
			Ports: []*meshpb.Port{{Number: 80, Protocol: meshpb.Protocol_HTTP, MeshTls: true}, {Number: 5432, Protocol: meshpb.Protocol_TCP}}},
		{Host: "web.other.svc.cluster.local", Namespace: "other", Addresses: [][]byte{ip("10.96.0.2")}, Ports: []*meshpb.Port{{Number: 80}}},
		{Host: "db.shop.svc.cluster.local", Namespace: "shop", Headless: true, Ports: []*meshpb.Port{{Number: 9042, Protocol: meshpb.Protocol_TCP}}},
		{Host: "*.example.com", Namespace: "shop", Ports: []*meshpb.Port{{Number: 80, Protocol: meshpb.Protocol_HTTP}}},
		{Host: "api.example.com", Namespace: "other", Prefixes: []*meshpb.Prefix{{Address: ip("192.0.2.0"), Length: 24}}, Aliases: []string{"alias.example.org"},
			Ports: []*meshpb.Port{{Number: 80, Protocol: meshpb.Protocol_HTTP}}},
		{Host: "routed.example.org", Namespace: "shop"},
	} {
		if _, err := x.SetService(m.Namespace+"/"+m.Host, packed(t, m)); err != nil {
			t.Fatal(err)
		}
	}
	x.Publish()
	return x
}

func TestHost(t *testing.T) {
	x := world(t)
	for _, c := range []struct {
		host string
		port uint16
		want string
	}{
		{"web", 80, "web.shop.svc.cluster.local"},
		{"WEB:80", 80, "web.shop.svc.cluster.local"},
		{"web.other", 80, "web.other.svc.cluster.local"},
		{"web.other.svc", 80, "web.other.svc.cluster.local"},
		{"web.other.svc.cluster.local.", 80, "web.other.svc.cluster.local"},
		{"web", 81, ""},
		{"web", 5432, ""}, // no HTTP there
		{"10.96.0.1", 80, "web.shop.svc.cluster.local"},
		{"[fd00::1]:80", 80, "web.shop.svc.cluster.local"},
		{"a.b.example.com", 80, "*.example.com"},
		{"api.example.com", 80, "api.example.com"},
		{"alias.example.org", 80, "api.example.com"},
		{"routed.example.org", 1234, "routed.example.org"},
		{"nobody.example.net", 80, ""},
		{"", 80, ""},
	} {
		got := ""
		if s := x.Host(c.host, c.port, shopScope); s != nil {
			got = s.Host
		}
		if got != c.want {
			t.Errorf("%s at %d: %q, want %q", c.host, c.port, got, c.want)
		}
	}
}

func TestDestination(t *testing.T) {
	x := world(t)
	for at, want := range map[string]string{
		"10.96.0.1:80": "web.shop.svc.cluster.local 80", "10.96.0.1:5432": "web.shop.svc.cluster.local 5432", "10.96.0.1:1": "web.shop.svc.cluster.local none",
		"192.0.2.77:80": "api.example.com 80", "192.0.3.1:80": "", "[fd00::1]:80": "web.shop.svc.cluster.local 80",
	} {
		got := ""
		if s, p := x.Destination(netip.MustParseAddrPort(at)); s != nil {
			got = s.Host + " none"
			if p != nil {
				got = fmt.Sprint(s.Host, " ", p.Number)
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", at, got, want)
		}
	}
	if len(x.Headless(9042)) != 1 || x.SpeaksHTTP(9042) || !x.SpeaksHTTP(80) {
		t.Error("ports")
	}
	x.RemoveService("shop/web.shop.svc.cluster.local")
	x.Publish()
	if s, _ := x.Destination(netip.MustParseAddrPort("10.96.0.1:80")); s != nil || x.Host("web", 80, shopScope) != nil {
		t.Error("what was removed is found")
	}
}

func TestWorkloads(t *testing.T) {
	x := New()
	set := func(name, at string) {
		if err := x.SetWorkload(netip.MustParseAddr(at), packed(t, &meshpb.Workload{Namespace: "shop", Name: name})); err != nil {
			t.Fatal(err)
		}
	}
	who := func(at string) string { return x.Workload(netip.MustParseAddr(at)).GetName() }
	set("a", "10.0.0.1")
	set("a", "10.0.0.2")
	set("b", "10.0.0.2")
	x.RemoveWorkload(netip.MustParseAddr("10.0.0.1"))
	if who("10.0.0.1") != "" || who("10.0.0.2") != "b" {
		t.Errorf("%q %q", who("10.0.0.1"), who("10.0.0.2"))
	}
	if err := x.SetWorkload(netip.MustParseAddr("10.0.0.3"), packed(t, &meshpb.Service{})); err == nil {
		t.Error("a Service")
	}
}

// What a large mesh costs, beside the bytes that came: a few MB.
func TestMemory(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	resources := make([]*anypb.Any, 11000)
	for i := range 1000 {
		resources[i] = packed(t, &meshpb.Service{
			Host: fmt.Sprintf("service-%d.namespace-%d.svc.cluster.local", i, i%50), Namespace: fmt.Sprintf("namespace-%d", i%50),
			Addresses: [][]byte{{10, 96, byte(i >> 8), byte(i)}}, SubjectAltNames: []string{fmt.Sprintf("spiffe://cluster.local/ns/namespace-%d/sa/service-%d", i%50, i)},
			Ports: []*meshpb.Port{{Number: 80, Protocol: meshpb.Protocol_HTTP, MeshTls: true}},
		})
	}
	for i := range 10000 {
		resources[1000+i] = packed(t, &meshpb.Workload{
			Namespace: fmt.Sprintf("namespace-%d", i%50), Name: fmt.Sprintf("service-%d-5d9c8b7f6d-abcde%d", i/10, i), Addresses: [][]byte{{10, 0, byte(i >> 8), byte(i)}},
			ServiceAccount: fmt.Sprintf("service-%d", i/10), Workload: fmt.Sprintf("service-%d", i/10), CanonicalName: fmt.Sprintf("service-%d", i/10),
			CanonicalRevision: "v1", Identity: fmt.Sprintf("spiffe://cluster.local/ns/namespace-%d/sa/service-%d", i%50, i/10), MeshTls: true, Cluster: "Kubernetes",
		})
	}
	before := heap()
	x := New()
	for i, r := range resources {
		var err error
		if i < 1000 {
			_, err = x.SetService(fmt.Sprint("s/", i), r)
		} else {
			err = x.SetWorkload(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	x.Publish()
	used := int64(heap()) - int64(before)
	t.Logf("1,000 Services and 10,000 workloads: %d KB", used>>10)
	if used > 6<<20 {
		t.Errorf("%d KB", used>>10)
	}
	runtime.KeepAlive(x)
	runtime.KeepAlive(resources)
}
