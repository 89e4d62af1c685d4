package xds

import (
	"context"
	"net/netip"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds/resource"
)

// newMeshWorld is a world whose clients are sidecars of the namespace "shop", app "web".
func newMeshWorld(t *testing.T) *world {
	w := &world{}
	table := func(k compose.MeshTableKey) string { return string(k.Labels) + " " + k.Host }
	return start(w, t, resource.Options{}, func(o *Options) {
		o.Mesh = DefineMesh(w.s.DB(), &compose.Mesh{
			Services: define[store.Key, *model.MeshHost](w, "services", store.Key.String),
			Entries:  define[store.Key, []*model.MeshHost](w, "entries", store.Key.String),
			Routed:   define[store.Key, []*model.MeshHost](w, "routed", store.Key.String),
			At:       define[netip.Addr, *model.MeshWorkload](w, "at", netip.Addr.String),

			Connections: define[compose.MeshTableKey, []model.ConnectionRule](w, "connections", table),
			Hosts:       define[string, []*model.MeshHost](w, "mesh hosts", func(namespace string) string { return namespace }),
			Tables:      define[compose.MeshTableKey, *model.RouteTable](w, "mesh tables", table),
			Inbound:     define[model.Sidecar, *model.Inbound](w, "inbound", func(s model.Sidecar) string { return s.Namespace }),
			Said:        define[compose.ClientsOf, []*model.RouteSet](w, "said", func(k compose.ClientsOf) string { return k.Host }),
		}, o.Resources, MeshKeys{Services: w.rows.KeySet(), Entries: w.rows.KeySet(), Routes: w.rows.KeySet()}, resource.Options{})
		o.Authenticate = func(context.Context) (Client, error) {
			return Client{Fleet: model.Fleet{Namespace: "shop"}, Pod: "web-1", Sidecar: &model.Sidecar{Namespace: "shop", Labels: "app=web"}}, nil
		}
	})
}

// Who runs at an address is told to who asks for it, also that nobody does, and what becomes of it.
func TestWorkloadsByAddress(t *testing.T) {
	w := newMeshWorld(t)
	at := func(ip, name string) func(*store.Tx) {
		return func(tx *store.Tx) {
			w.put(tx, "at", ip, &model.MeshWorkload{Name: model.ObjectName{Namespace: "shop", Name: name}, Addresses: []netip.Addr{netip.MustParseAddr(ip)}, TLS: true})
		}
	}
	w.change(at("10.1.0.1", "a"))
	c := w.connect()
	c.ask(workloads, "10.1.0.1", "10.1.0.2", "fd00::0:1", "not an address")
	r := c.expect(workloads, "10.1.0.1", "-10.1.0.2", "-fd00::0:1", "-not an address")
	m := &meshpb.Workload{}
	if err := r.GetResources()[0].GetResource().UnmarshalTo(m); err != nil || m.GetName() != "a" || !m.GetMeshTls() {
		t.Errorf("%v, %v", m, err)
	}
	w.change(at("10.1.0.9", "somebody else"))
	w.change(at("10.1.0.2", "b"))
	c.expect(workloads, "10.1.0.2")
	w.change(func(tx *store.Tx) { w.del(tx, "at", "10.1.0.1") })
	c.expect(workloads, "-10.1.0.1")
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.WorkloadType, ResourceNamesUnsubscribe: []string{"10.1.0.2"}})
	c.silent()
	w.change(at("10.1.0.2", "c"))
	c.silent()
}

// rules reads the rules of the first port of the Service in a response.
func rules(t *testing.T, r *discoveryv3.DeltaDiscoveryResponse) (out []string) {
	t.Helper()
	var m meshpb.Service
	if err := r.Resources[0].Resource.UnmarshalTo(&m); err != nil {
		t.Fatal(err)
	}
	for _, rule := range m.GetPorts()[0].GetRules() {
		out = append(out, rule.GetTo()[0].GetCluster())
	}
	return out
}

// A sidecar is told a Service together with the rules that are for its own Pod, and again when they change; others are told nothing then.
func TestRulesAreForTheClient(t *testing.T) {
	w := newMeshWorld(t)
	const db = "db.shop.svc.cluster.local"
	host := func(ruled bool) *model.MeshHost {
		return &model.MeshHost{Host: db, Namespace: "shop", Exported: []string{"*"}, Ruled: ruled, Ports: []model.MeshPort{{Port: 80, Protocol: model.ProtocolTCP}}}
	}
	rule := func(subset string) []model.ConnectionRule {
		return []model.ConnectionRule{{To: []model.Weighted{{Destination: destination(subset)}}}}
	}
	asks := &model.RouteSet{TCP: []model.L4Route{{Matches: []model.L4Match{{SourceLabels: "app=web"}}}}}
	expect := func(c *client, want string) {
		t.Helper()
		r := c.expect(services, "shop/"+db)
		got := ""
		if list := rules(t, r); len(list) > 0 {
			got = list[0]
		}
		if got != want {
			t.Errorf("rules lead to %q, want %q", got, want)
		}
	}
	w.change(func(tx *store.Tx) {
		w.put(tx, "key", "db", "there is one")
		w.put(tx, "services", "key/db", host(true))
		w.put(tx, "connections", " "+db, rule("all"))
		w.put(tx, "connections", "app=web "+db, rule("web"))
	})
	c := w.connect()
	c.ask(services)
	expect(c, name("all")) // no rule asks for labels
	w.change(func(tx *store.Tx) { w.put(tx, "said", db, []*model.RouteSet{asks}) })
	expect(c, name("web"))
	w.change(func(tx *store.Tx) { w.put(tx, "connections", " "+db, rule("other")) })
	c.silent()
	w.change(func(tx *store.Tx) { w.put(tx, "connections", "app=web "+db, rule("v2")) })
	expect(c, name("v2"))
	second := w.connect()
	second.ask(services)
	expect(second, name("v2")) // at once, never without
	w.change(func(tx *store.Tx) { w.put(tx, "services", "key/db", host(false)) })
	expect(c, "")
	w.change(func(tx *store.Tx) { w.put(tx, "connections", "app=web "+db, rule("v3")) })
	c.silent()
	w.change(func(tx *store.Tx) { w.del(tx, "services", "key/db") })
	c.expect(services, "-shop/"+db)
}

// A sidecar that asks for all clusters is told those that routes for its own Pod lead to.
func TestClustersAreForTheClient(t *testing.T) {
	w := newMeshWorld(t)
	web := destination("").Host
	lead := func(labels, subset string) func(*store.Tx) {
		return func(tx *store.Tx) {
			w.put(tx, "mesh tables", labels+" "+web, &model.RouteTable{Hosts: []*model.VirtualHost{host("web", subset)}})
			w.put(tx, "clusters", "shop "+name(subset), &model.Cluster{Destination: destination(subset)})
		}
	}
	w.change(func(tx *store.Tx) {
		w.put(tx, "inbound", "shop", &model.Inbound{})
		w.put(tx, "clusters", "shop "+name(""), &model.Cluster{Destination: destination("")})
		w.put(tx, "mesh hosts", "shop", []*model.MeshHost{{Host: web, Namespace: "shop", Ports: []model.MeshPort{{Port: 80, Protocol: model.ProtocolHTTP}}}})
		lead("", "others")(tx)
		lead("app=web", "v1")(tx)
	})
	c := w.connect()
	c.ask(clusters)
	c.expect(clusters, resource.InboundPassthroughCluster, resource.PassthroughCluster, name("v1"), name(""))
}

// Where a policy is for some clients only, a sidecar is told the cluster as it is for its own labels, whether it names it or asks for all.
func TestClustersAreByPolicyForTheClient(t *testing.T) {
	w := newMeshWorld(t)
	web, id := destination("").Host, "shop "+name("")
	tls := model.TrafficPolicy{TLS: &model.ClientTLS{Mode: model.TLSSimple}}
	endpointsAt := func(ip string) *model.ClusterEndpoints {
		return &model.ClusterEndpoints{Destination: destination(""), Endpoints: []model.ClusterEndpoint{{Endpoint: model.Endpoint{AddrPort: netip.MustParseAddrPort(ip + ":80"), Ready: true}}}}
	}
	w.change(func(tx *store.Tx) {
		w.put(tx, "inbound", "shop", &model.Inbound{})
		w.put(tx, "mesh hosts", "shop", []*model.MeshHost{{Host: web, Namespace: "shop", Ports: []model.MeshPort{{Port: 80, Protocol: model.ProtocolHTTP}}}})
		w.put(tx, "clusters", id, &model.Cluster{Destination: destination(""), ByDNS: true})
		w.put(tx, "clusters", id+" for app=web", &model.Cluster{Destination: destination(""), ByDNS: true, Policy: tls})
		w.put(tx, "endpoints", id, endpointsAt("10.0.0.1"))
		w.put(tx, "endpoints", id+" for app=web", endpointsAt("10.0.0.2"))
	})
	secure := func(r *discoveryv3.DeltaDiscoveryResponse) bool {
		for _, one := range r.GetResources() {
			c := &clusterv3.Cluster{}
			if one.GetName() == name("") && one.GetResource().UnmarshalTo(c) == nil {
				return c.GetTransportSocket() != nil
			}
		}
		t.Error("no cluster")
		return false
	}
	named, all := w.connect(), w.connect()
	named.ask(clusters, name(""))
	all.ask(clusters)
	if secure(named.expect(clusters, name(""))) || secure(all.expect(clusters, resource.InboundPassthroughCluster, resource.PassthroughCluster, name(""))) {
		t.Error("TLS though no policy asks for labels")
	}
	ends := w.connect()
	ends.ask(endpoints, name(""))
	before := ends.expect(endpoints, name("")).GetResources()[0].GetVersion()
	w.change(func(tx *store.Tx) { w.put(tx, "for some", "shop "+web, true) })
	if !secure(named.expect(clusters, name(""))) || !secure(all.expect(clusters, name(""))) {
		t.Error("no TLS")
	}
	if ends.expect(endpoints, name("")).GetResources()[0].GetVersion() == before {
		t.Error("the endpoints are those of others")
	}
	w.change(func(tx *store.Tx) { w.put(tx, "for some", "shop "+web, false) })
	if secure(named.expect(clusters, name(""))) || secure(all.expect(clusters, name(""))) {
		t.Error("still TLS")
	}
}
