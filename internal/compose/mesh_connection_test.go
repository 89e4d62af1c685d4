package compose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/model"
)

// connectionSet is what a VirtualService of the mesh says of connections.
func connectionSet(name string, created int64, tcp, tls []model.L4Route, hosts ...string) *model.RouteSet {
	if len(hosts) == 0 {
		hosts = []string{dbHost}
	}
	return &model.RouteSet{Hosts: hosts, Gateways: []model.GatewayName{{Kind: model.Mesh}}, TCP: tcp, TLS: tls, Exported: []string{"*"}, Seniority: seniority(name, created)}
}

const dbHost = "db.shop.svc.cluster.local"

func l4(name string, matches ...model.L4Match) model.L4Route {
	return model.L4Route{Matches: matches, To: to(name)}
}

func subnetsOf(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// said reads "10.0.0.0/8 a.example.com -> web, -> db" of the rules for connections.
func said(rules []model.ConnectionRule) string {
	var out []string
	for _, r := range rules {
		var one []string
		for _, p := range r.Subnets {
			one = append(one, p.String())
		}
		one = append(append(one, r.SNI...), "->")
		for _, to := range r.To {
			name, _, _ := strings.Cut(to.Host, ".")
			one = append(one, name)
		}
		out = append(out, strings.Join(one, " "))
	}
	return strings.Join(out, ", ")
}

// Where connections lead is what VirtualServices say, in Istio's order: the first set, in it the first rule that asks for nothing, and only what is for these
// clients at this port.
func TestConnections(t *testing.T) {
	w := newMeshWorld(t)
	w.service("db", corev1.ServicePort{Name: "tcp", Port: 5432}, corev1.ServicePort{Name: "auto", Port: 80}, corev1.ServicePort{Name: "tls-x", Port: 5433}, corev1.ServicePort{Name: "http", Port: 8080})
	w.service("web", corev1.ServicePort{Name: "tcp", Port: 5432})
	for _, name := range []string{"a", "b", "c"} {
		w.service(name)
	}
	for _, c := range []struct {
		name string
		sets []*model.RouteSet
		key  MeshTableKey
		want string
	}{
		{"nobody says anything", nil, MeshTableKey{Port: 5432}, ""},
		{"one rule", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a")}, nil)}, MeshTableKey{Port: 5432}, "-> a"},
		{"the first rule", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a"), l4("b")}, nil)}, MeshTableKey{Port: 5432}, "-> a"},
		{"the oldest set", []*model.RouteSet{connectionSet("v", 2, []model.L4Route{l4("a")}, nil), connectionSet("w", 1, []model.L4Route{l4("b")}, nil)}, MeshTableKey{Port: 5432}, "-> b"},
		{"what is not declared", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a")}, nil)}, MeshTableKey{Port: 80}, "-> a"},
		{"HTTP", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a")}, nil)}, MeshTableKey{Port: 8080}, ""},
		{"no such port", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a")}, nil)}, MeshTableKey{Port: 1}, ""},
		{"bytes where TLS is declared", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a")}, nil)}, MeshTableKey{Port: 5433}, ""},
		{"names where bytes are declared", []*model.RouteSet{connectionSet("v", 1, nil, []model.L4Route{l4("a", model.L4Match{SNI: []string{"x"}})})}, MeshTableKey{Port: 5432}, ""},
		{"port", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a", model.L4Match{Port: 80}), l4("b", model.L4Match{Port: 5432})}, nil)}, MeshTableKey{Port: 5432}, "-> b"},
		{"gateway", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{
			l4("a", model.L4Match{Gateways: []model.GatewayName{gatewayName("g")}}), l4("b", model.L4Match{Gateways: []model.GatewayName{gatewayName("g"), {Kind: model.Mesh}}}),
		}, nil)}, MeshTableKey{Port: 5432}, "-> b"},
		{"labels of others", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a", model.L4Match{SourceLabels: "app=x"}), l4("b")}, nil)}, MeshTableKey{Port: 5432, Labels: "app=y"}, "-> b"},
		{"labels", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a", model.L4Match{SourceLabels: "app=x"}), l4("b")}, nil)}, MeshTableKey{Port: 5432, Labels: "app=x,version=v1"}, "-> a"},
		{"namespace of others", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a", model.L4Match{SourceNamespace: "other"})}, nil)}, MeshTableKey{Port: 5432}, ""},
		{"namespace", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a", model.L4Match{SourceNamespace: "other"})}, nil)}, MeshTableKey{Namespace: "other", Port: 5432}, "-> a"},
		{"subnets, and the rest", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{
			l4("a", model.L4Match{Subnets: subnetsOf("10.0.0.0/8")}, model.L4Match{Port: 80}), l4("b", model.L4Match{Subnets: subnetsOf("10.96.0.0/16", "fd00::/8")}),
		}, nil)}, MeshTableKey{Port: 5432}, "10.0.0.0/8 -> a, 10.96.0.0/16 fd00::/8 -> b, -> db"},
		{"subnets of a rule that also takes everything", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{
			l4("a", model.L4Match{Subnets: subnetsOf("10.0.0.0/8")}, model.L4Match{Port: 5432}), l4("b"),
		}, nil)}, MeshTableKey{Port: 5432}, "-> a"},
		{"several sets with subnets", []*model.RouteSet{
			connectionSet("v", 1, []model.L4Route{l4("a", model.L4Match{Subnets: subnetsOf("10.0.0.0/8")})}, nil), connectionSet("w", 2, []model.L4Route{l4("b")}, nil),
		}, MeshTableKey{Port: 5432}, "10.0.0.0/8 -> a, -> b"},
		{"names", []*model.RouteSet{connectionSet("v", 1, nil, []model.L4Route{
			l4("a", model.L4Match{SNI: []string{"a.example.com", "*.b.example.com"}, SourceLabels: "app=x"}, model.L4Match{SNI: []string{"c.example.com"}, Port: 1}),
			l4("b", model.L4Match{SNI: []string{"a.example.com", "*.b.example.com"}}, model.L4Match{SNI: []string{"*"}, Subnets: subnetsOf("10.0.0.0/8")}),
		})}, MeshTableKey{Port: 5433}, "a.example.com *.b.example.com -> b, 10.0.0.0/8 -> b"},
		{"the same names for those with labels", []*model.RouteSet{connectionSet("v", 1, nil, []model.L4Route{
			l4("a", model.L4Match{SNI: []string{"a.example.com"}, SourceLabels: "app=x"}), l4("b", model.L4Match{SNI: []string{"a.example.com"}}),
		})}, MeshTableKey{Port: 5433, Labels: "app=x"}, "a.example.com -> a"},
		{"wildcards", []*model.RouteSet{connectionSet("v", 2, []model.L4Route{l4("a")}, nil, "*.shop.svc.cluster.local"), connectionSet("w", 1, []model.L4Route{l4("b")}, nil, "*.cluster.local")},
			MeshTableKey{Port: 5432}, "-> b"},
		{"another host", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{l4("a")}, nil, webHost)}, MeshTableKey{Port: 5432}, ""},
		{"what only some see", []*model.RouteSet{
			{Hosts: []string{dbHost}, Gateways: []model.GatewayName{{Kind: model.Mesh}}, TCP: []model.L4Route{l4("a")}, Exported: []string{"other"}, Seniority: seniority("v", 1)},
		}, MeshTableKey{Port: 5432}, ""},
		{"what only this namespace sees goes first", []*model.RouteSet{
			connectionSet("v", 1, []model.L4Route{l4("a")}, nil),
			{Hosts: []string{dbHost}, Gateways: []model.GatewayName{{Kind: model.Mesh}}, TCP: []model.L4Route{l4("b")}, Exported: []string{"shop"}, Seniority: seniority("w", 2)},
		}, MeshTableKey{Port: 5432}, "-> b"},
		{"no destination", []*model.RouteSet{connectionSet("v", 1, []model.L4Route{{}}, nil)}, MeshTableKey{Port: 5432}, "->"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, s := range c.sets {
				w.routes(s)
			}
			defer w.noRoutes("v", "w")
			if c.key.Host = dbHost; c.key.Namespace == "" {
				c.key.Namespace = "shop"
			}
			if got := said(w.m.Connections.Read(c.key)); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// A host says whether there may be rules, and what they lead to is known without the clients' labels. Clients that no rule tells apart share one list.
func TestConnectionsOfHosts(t *testing.T) {
	w := newMeshWorld(t)
	w.service("db", corev1.ServicePort{Name: "tcp", Port: 5432})
	w.service("a", corev1.ServicePort{Name: "tcp", Port: 1}, corev1.ServicePort{Name: "two", Port: 2})
	ruled := func() bool { return w.m.Services.Read(storeKey("db")).Ruled }
	if ruled() {
		t.Error("rules, and nobody says anything")
	}
	one := l4("a", model.L4Match{SourceLabels: "app=x"})
	one.To[0].Port = 2
	w.routes(connectionSet("v", 1, []model.L4Route{one, l4("db", model.L4Match{Port: 7})}, nil))
	if !ruled() {
		t.Error("there may be rules, and the host does not say so")
	}
	want := []model.Destination{{Host: "a.shop.svc.cluster.local", Port: 2}}
	if d := cmp.Diff(want, w.m.Led.Read(MeshTableKey{Namespace: "shop", Port: 5432, Host: dbHost})); d != "" {
		t.Error(d)
	}
	read := func(labels model.Labels) []model.ConnectionRule {
		return w.m.Connections.Read(MeshTableKey{Namespace: "shop", Labels: labels, Port: 5432, Host: dbHost})
	}
	if a, b := said(read("app=x")), said(read("app=y")); a != "-> a" || b != "" {
		t.Errorf("%q %q", a, b)
	}
	w.routes(connectionSet("v", 1, []model.L4Route{l4("a")}, nil))
	if a, b := read("app=x"), read("app=y"); &a[0] != &b[0] {
		t.Error("two lists")
	}
}

// Who is found by no address is found by the port, and where TLS is spoken by its name.
func TestConnectionsWithoutAddress(t *testing.T) {
	w := newMeshWorld(t)
	entry := &model.HostEntry{
		Hosts: []string{"db.example.com", "*.wild.example.com"}, Resolution: model.ResolveDNS, Exported: []string{"*"}, Origin: object("ServiceEntry", "e"),
		Ports: []model.EntryPort{{Name: "x", Port: 443, Protocol: "TLS"}, {Name: "y", Port: 5432, Protocol: "TCP"}, {Name: "z", Port: 80, Protocol: "HTTP"}},
	}
	w.entry(entry)
	read := func(host string, port uint16) string {
		return said(w.m.Connections.Read(MeshTableKey{Namespace: "shop", Port: port, Host: host}))
	}
	expect := func(want, got string) {
		t.Helper()
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	expect("db.example.com -> db", read("db.example.com", 443))
	expect("*.wild.example.com -> *", read("*.wild.example.com", 443))
	expect("-> db", read("db.example.com", 5432))
	expect("", read("db.example.com", 80))
	hosts := w.m.Hosts.Read("shop")
	if i := slices.IndexFunc(hosts, func(h *model.MeshHost) bool { return h.Host == "db.example.com" }); i < 0 || !hosts[i].Anywhere || !hosts[i].Ruled {
		t.Errorf("%+v", hosts)
	}
	w.service("out", corev1.ServicePort{Name: "tls", Port: 443})
	w.routes(connectionSet("v", 1, nil, []model.L4Route{l4("out", model.L4Match{SNI: []string{"a.wild.example.com"}})}, "a.wild.example.com", "db.example.com"))
	expect("a.wild.example.com -> out", read("*.wild.example.com", 443))
	expect("a.wild.example.com -> out", read("db.example.com", 443)) // as Istio does it: rules by name take the place of the host's own
	ranged := *entry
	ranged.Addresses = subnetsOf("192.0.2.0/24")
	w.entry(&ranged)
	expect("", read("db.example.com", 5432))
	w.routes(connectionSet("v", 1, []model.L4Route{l4("out", model.L4Match{Subnets: subnetsOf("198.51.100.0/24")})}, nil, "db.example.com"))
	expect("198.51.100.0/24 -> out, 192.0.2.0/24 -> db", read("db.example.com", 5432))
}
