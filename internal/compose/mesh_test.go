package compose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// meshWorld is an edgeWorld with sidecars.
type meshWorld struct {
	*edgeWorld
	m       *Mesh
	peers   *store.Table[peersOf]
	entries *store.Table[model.HostEntry]
}

type peersOf struct {
	namespace string
	model.PeerAuthentication
}

func newMeshWorld(t *testing.T) *meshWorld {
	w := &meshWorld{edgeWorld: newEdgeWorld(t)}
	w.peers = store.NewTable(w.s, "peers", func(p *peersOf) store.Key { return store.Key{Name: p.namespace} }, func(a, b *peersOf) bool { return equal(a, b) })
	w.e.o.Peers = func(r *derive.Reader, namespace string, _ model.Labels) *model.PeerAuthentication {
		if p := w.peers.Get(r, store.Key{Name: namespace}); p != nil {
			return &p.PeerAuthentication
		}
		return nil
	}
	w.entries = store.NewTable(w.s, "an entry", func(e *model.HostEntry) store.Key { return storeKey(e.Origin.Name) }, func(a, b *model.HostEntry) bool { return equal(a, b) })
	entriesOf := store.NewIndex(w.entries, "host", func(e *model.HostEntry) []string { return e.Hosts })
	w.e.o.Entry = func(r *derive.Reader, host, _ string) *model.HostEntry {
		if list := entriesOf.List(r, host); len(list) > 0 {
			return list[0]
		}
		return nil
	}
	byHost := store.NewIndex(w.sets, "mesh host", func(s *model.RouteSet) []string { return s.Hosts })
	w.m = DefineMesh(w.s.DB(), w.e, MeshOptions{
		RoutesFor: func(r *derive.Reader, host string) []*model.RouteSet { return byHost.List(r, host) },
		ConnectionsFor: func(r *derive.Reader, host string) []*model.RouteSet {
			return slices.DeleteFunc(slices.Clone(byHost.List(r, host)), func(s *model.RouteSet) bool { return len(s.TCP)+len(s.TLS) == 0 })
		},
		Routes:      w.sets.Get,
		Entry:       w.entries.Get,
		Addresses:   func(*derive.Reader, store.Key) []netip.Addr { return []netip.Addr{netip.MustParseAddr("10.0.0.1")} },
		AllServices: w.tables.Services.Keys, AllRoutes: w.sets.Keys, AllEntries: w.entries.Keys,
	})
	return w
}

func storeKey(name string) store.Key { return store.Key(named(name)) }

func (w *meshWorld) entry(e *model.HostEntry) {
	w.commit(func(tx *store.Tx) { w.entries.Put(tx, e) })
}

func (w *meshWorld) noRoutes(names ...string) {
	w.commit(func(tx *store.Tx) {
		for _, n := range names {
			w.sets.Delete(tx, storeKey(n))
		}
	})
}

const meshLabel = "security.istio.io/tlsMode=istio"

func (w *meshWorld) pod(name, labels string) {
	w.commit(func(tx *store.Tx) {
		w.pods.Put(tx, &model.Workload{Name: named(name), Labels: model.Labels(labels), ServiceAccount: "account-" + name, Owner: "owner"})
	})
}

func (w *meshWorld) demand(p model.PeerAuthentication) {
	w.commit(func(tx *store.Tx) { w.peers.Put(tx, &peersOf{"shop", p}) })
}

func meshSet(name string, hosts []string, routes ...model.Route) *model.RouteSet {
	return &model.RouteSet{Hosts: hosts, Gateways: []model.GatewayName{{Kind: model.Mesh}}, HTTP: routes, Exported: []string{"*"}, Seniority: seniority(name, 1)}
}

const webHost = "web.shop.svc.cluster.local"

// The mesh's TLS is spoken to who takes it: a Pod with a sidecar, unless somebody says that its port does not.
func TestMeshTLSIsDecidedByEndpoint(t *testing.T) {
	w := newMeshWorld(t)
	w.service("web")
	w.pod("in", "app=web,"+meshLabel)
	w.pod("out", "app=web")
	w.endpoints("web", "10.0.0.1/in", "10.0.0.2/out")
	key := ClusterKey{From: "shop", Destination: model.Destination{Host: webHost, Port: 80}}
	takes := func() (out []bool) {
		for _, e := range w.e.Endpoints.Read(key).Endpoints {
			out = append(out, e.MeshTLS)
		}
		return out
	}
	if d := cmp.Diff([]bool{true, false}, takes()); d != "" {
		t.Error(d)
	}
	want := &model.MeshTLS{SNI: "outbound_.80_._." + webHost, Identities: []string{"spiffe://cluster.local/ns/shop/sa/account-in"}}
	if d := cmp.Diff(want, w.e.Clusters.Read(key).Mesh); d != "" {
		t.Error(d)
	}
	port := func() model.MeshPort { return w.m.Services.Read(store.Key(named("web"))).Ports[0] }
	if port().TLS {
		t.Error("not every endpoint takes TLS, and the index says so")
	}
	w.endpoints("web", "10.0.0.1/in")
	if !port().TLS {
		t.Error("every endpoint takes TLS, and the index does not say so")
	}
	w.demand(model.PeerAuthentication{Ports: []model.PortMTLS{{Port: 8080, Mode: model.MTLSDisable}}})
	if d := cmp.Diff([]bool{false}, takes()); d != "" {
		t.Error("the port is not to take TLS: " + d)
	}
}

// The routes of a host are those that are declared for it, as far as they are for these clients; otherwise it leads to itself.
func TestMeshTables(t *testing.T) {
	w := newMeshWorld(t)
	w.service("web")
	w.service("v2")
	read := func(namespace, labels, host string) string {
		table := w.m.Tables.Read(MeshTableKey{Namespace: namespace, Labels: model.Labels(labels), Port: 80, Host: host})
		if table == nil {
			return "none"
		}
		var out []string
		for _, r := range table.Hosts[0].Routes {
			to, _, _ := strings.Cut(r.To[0].Host, ".")
			out = append(out, to)
		}
		return strings.Join(out, " ")
	}
	expect := func(want, namespace, labels, host string) {
		t.Helper()
		if got := read(namespace, labels, host); got != want {
			t.Errorf("%s for %s in %s: %q, want %q", host, labels, namespace, got, want)
		}
	}
	expect("web", "shop", "", webHost)
	expect("none", "shop", "", "nobody.shop.svc.cluster.local")
	some := model.Match{SourceLabels: "app=test", Path: model.PathMatch{Kind: model.MatchPrefix, Value: "/"}}
	other := model.Match{SourceNamespace: "other", Path: model.PathMatch{Kind: model.MatchPrefix, Value: "/x"}}
	set := meshSet("canary", []string{webHost}, model.Route{Matches: []model.Match{other}, To: to("v2")}, model.Route{Matches: []model.Match{some}, To: to("v2")}, model.Route{To: to("web")})
	w.routes(set)
	expect("web", "shop", "", webHost)
	expect("v2", "shop", "app=test", webHost)
	expect("v2 web", "other", "", webHost)
	w.routes(meshSet("alone", []string{"api.example.com"}, model.Route{To: to("web")}))
	expect("web", "shop", "", "api.example.com")
	if hosts := w.m.Routed.Read(store.Key(named("alone"))); len(hosts) != 1 || hosts[0].Host != "api.example.com" {
		t.Errorf("%v", hosts)
	}
	if hosts := w.m.Routed.Read(store.Key(named("canary"))); len(hosts) != 0 {
		t.Errorf("%v: a Service is told by itself", hosts)
	}
	hidden := meshSet("hidden", []string{"v2.shop.svc.cluster.local"}, model.Route{To: to("web")})
	hidden.Exported = []string{"shop"}
	w.routes(hidden)
	expect("web", "shop", "", "v2.shop.svc.cluster.local")
	expect("v2", "other", "", "v2.shop.svc.cluster.local")

	own := meshSet("own", []string{webHost}, model.Route{Matches: prefixOf("/own"), To: to("v2")})
	own.Exported, own.Created = []string{"shop"}, 2
	w.routes(own)
	expect("v2 web", "shop", "", webHost) // what only this namespace sees goes first, though it is younger
	expect("v2 web", "other", "", webHost)
	w.noRoutes("canary")
	expect("v2", "shop", "", webHost)
	expect("web", "other", "", webHost)
}

// Clients that no rule tells apart share one table.
func TestMeshTablesAreShared(t *testing.T) {
	w := newMeshWorld(t)
	w.service("web")
	a := w.m.Tables.Read(MeshTableKey{Namespace: "shop", Labels: "app=a", Port: 80, Host: webHost})
	b := w.m.Tables.Read(MeshTableKey{Namespace: "shop", Labels: "app=b", Port: 80, Host: webHost})
	if a == nil || a != b {
		t.Error("two tables")
	}
}

// A Pod's ports are those that Services lead to, by number or by the name that its containers have for them.
func TestInboundPorts(t *testing.T) {
	w := newMeshWorld(t)
	w.service("web",
		corev1.ServicePort{Name: "http", Port: 80, TargetPort: intstr.FromString("web")},
		corev1.ServicePort{Name: "grpc-x", Port: 90, TargetPort: intstr.FromInt32(9090)},
		corev1.ServicePort{Name: "none", Port: 70, TargetPort: intstr.FromString("nobody")},
		corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP})
	w.service("other")
	in := w.m.Inbound.Read(model.Sidecar{Namespace: "shop", Labels: "app=web,version=v1", Ports: "web=8080"})
	var got []string
	for _, p := range in.Ports {
		got = append(got, p.Protocol.String()+" "+p.Service.Name+" "+netip.AddrPortFrom(netip.IPv4Unspecified(), p.Port).String())
	}
	if d := cmp.Diff([]string{"http web 0.0.0.0:8080", "http2 web 0.0.0.0:9090"}, got); d != "" {
		t.Error(d)
	}
}
