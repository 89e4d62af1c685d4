package compose

import (
	"slices"
	"testing"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

// rules declares policies of one host for the clients of namespace shop, those for some of them first, as [EdgeOptions.Policies] gives them.
func (w *edgeWorld) rules(host string, list ...*model.DestinationPolicy) {
	w.e.o.Policies = func(_ *derive.Reader, h, namespace string) []*model.DestinationPolicy {
		if h != host || namespace != "shop" {
			return nil
		}
		return list
	}
}

// A policy with a selector is for the clients that have its labels: Pods with sidecars, and gateways. Others have what is said for everybody, or nothing.
func TestPoliciesForSomeClients(t *testing.T) {
	web := "web.shop.svc.cluster.local"
	tls := func(m model.ClientTLSMode) model.TrafficPolicy {
		return model.TrafficPolicy{TLS: &model.ClientTLS{Mode: m}}
	}
	some := &model.DestinationPolicy{Host: web, Selector: "app=pay", Policy: tls(model.TLSSimple), Subsets: []model.Subset{{Name: "own", Labels: "version=v1"}, {Name: "v1", Labels: "version=v1"}}}
	all := &model.DestinationPolicy{Host: web, Policy: tls(model.TLSDisable), Subsets: []model.Subset{{Name: "v1", Labels: "version=v2"}, {Name: "v2"}}}
	key := func(labels model.Labels, subset string) ClusterKey {
		return ClusterKey{From: "shop", Labels: labels, Destination: model.Destination{Host: web, Port: 80, Subset: subset}}
	}
	for _, c := range []struct {
		name   string
		list   []*model.DestinationPolicy
		labels model.Labels
		subset string
		want   string // how the cluster is spoken to; "": there is none
	}{
		{"for them", []*model.DestinationPolicy{some}, "app=pay,x=y", "", "TLS"},
		{"for others", []*model.DestinationPolicy{some}, "app=web", "", "nothing said"},
		{"for clients of whom nothing is known", []*model.DestinationPolicy{some}, "", "", "nothing said"},
		{"rather than what is for all", []*model.DestinationPolicy{some, all}, "app=pay", "", "TLS"},
		{"what is for all", []*model.DestinationPolicy{some, all}, "app=web", "", "plaintext"},
		{"a subset of their own", []*model.DestinationPolicy{some, all}, "app=pay", "own", "TLS"},
		{"a subset that others do not have", []*model.DestinationPolicy{some, all}, "app=web", "own", ""},
		{"a subset for all", []*model.DestinationPolicy{some, all}, "app=pay", "v2", "TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newEdgeWorld(t)
			w.service("web")
			w.rules(web, c.list...)
			got, cluster := "", w.e.Clusters.Read(key(c.labels, c.subset))
			switch {
			case cluster == nil:
			case cluster.Policy.TLS == nil:
				got = "nothing said"
			case cluster.Policy.TLS.Mode == model.TLSSimple:
				got = "TLS"
			default:
				got = "plaintext"
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	w := newEdgeWorld(t)
	w.service("web")
	if w.e.Clusters.Read(key("app=a", "")) != w.e.Clusters.Read(key("app=b", "")) {
		t.Error("two clusters, and no policy asks for labels")
	}
	w = newEdgeWorld(t)
	w.service("web")
	w.rules(web, some, all)
	if w.e.Clusters.Read(key("app=a", "")) == w.e.Clusters.Read(key("app=pay", "")) {
		t.Error("one cluster, though a policy asks for labels")
	}
}

// The clusters of a gateway are those of its own labels, and so are the endpoints of a subset.
func TestPoliciesForSomeGateways(t *testing.T) {
	web := "web.shop.svc.cluster.local"
	fleet := model.Fleet{Namespace: "shop", Labels: "istio=ingressgateway"}
	w := newMeshWorld(t)
	w.service("web")
	w.pod("p1", "version=v1")
	w.pod("p2", "version=v2")
	w.endpoints("web", "10.0.0.1/p1", "10.0.0.2/p2")
	w.rules(web, &model.DestinationPolicy{Host: web, Selector: fleet.Labels, Subsets: []model.Subset{{Name: "s", Labels: "version=v1"}}},
		&model.DestinationPolicy{Host: web, Subsets: []model.Subset{{Name: "s", Labels: "version=v2"}}})
	w.gateway("g", 1, http(80, "*"))
	w.edgeWorld.routes(&model.RouteSet{Hosts: []string{"a.test"}, Gateways: []model.GatewayName{gatewayName("g")}, Seniority: seniority("v", 1),
		HTTP: []model.Route{{To: []model.Weighted{{Destination: model.Destination{Host: web, Port: 80, Subset: "s"}}}}}})
	want := []ClusterKey{{From: "shop", Labels: fleet.Labels, Destination: model.Destination{Host: web, Port: 80, Subset: "s"}}}
	if got := w.e.ClusterKeys.Read(fleet); !slices.Equal(got, want) {
		t.Fatalf("%+v", got)
	}
	for labels, address := range map[model.Labels]string{fleet.Labels: "10.0.0.1:8080", "app=x": "10.0.0.2:8080"} {
		k := want[0]
		k.Labels = labels
		if eps := w.e.Endpoints.Read(k); eps == nil || len(eps.Endpoints) != 1 || eps.Endpoints[0].AddrPort.String() != address {
			t.Errorf("%s: %+v", labels, eps)
		}
	}
	w.wantFindings()
}
