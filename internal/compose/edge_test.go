package compose

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/service"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// edgeWorld is an edge over declared values of the model: the source of an API that is not there.
type edgeWorld struct {
	t      *testing.T
	s      *store.Store
	src    *store.Source
	tables *kube.Tables
	e      *Edge

	gateways *store.Table[model.Gateway]
	sets     *store.Table[model.RouteSet]
	byGate   *store.Index[model.GatewayName, model.RouteSet]
	policies *store.Table[model.DestinationPolicy]
	pods     *store.Table[model.Workload]
}

var edgeFleet = model.Fleet{Namespace: "weft-system", Labels: "istio=ingressgateway"}

func newEdgeWorld(t *testing.T) *edgeWorld {
	s := store.New(nil)
	w := &edgeWorld{t: t, s: s, src: s.Source("test"), tables: kube.NewTables(s)}
	o := service.Objects{Services: w.tables.Services, Slices: w.tables.EndpointSlices, SlicesByService: w.tables.SlicesByService, Nodes: w.tables.Nodes, Secrets: w.tables.Secrets}
	same := func(a, b any) bool { return equal(a, b) }
	w.gateways = store.NewTable(s, "a Gateway", func(g *model.Gateway) store.Key { return store.Key(g.Name.Name) }, func(a, b *model.Gateway) bool { return same(a, b) })
	w.sets = store.NewTable(s, "a RouteSet", func(s *model.RouteSet) store.Key { return store.Key(s.Seniority.Name) }, func(a, b *model.RouteSet) bool { return same(a, b) })
	w.byGate = store.NewIndex(w.sets, "gateway", func(s *model.RouteSet) []model.GatewayName { return s.Gateways })
	w.policies = store.NewTable(s, "a policy", func(p *model.DestinationPolicy) store.Key { return store.Key{Name: p.Host} }, func(a, b *model.DestinationPolicy) bool { return same(a, b) })
	w.pods = store.NewTable(s, "a workload", func(p *model.Workload) store.Key { return store.Key(p.Name) }, func(a, b *model.Workload) bool { return *a == *b })
	w.e = DefineEdge(s.DB(), Define(s.DB(), o, service.Define(s.DB(), o)), EdgeOptions{
		Sources: []EdgeSource{w},
		Pod:     func(r *derive.Reader, n model.ObjectName) *model.Workload { return w.pods.Get(r, store.Key(n)) },
		Policies: func(r *derive.Reader, host, _ string) (out []*model.DestinationPolicy) {
			if p := w.policies.Get(r, store.Key{Name: host}); p != nil {
				out = append(out, p)
			}
			return out
		},
	})
	return w
}

func (w *edgeWorld) GatewaysFor(r *derive.Reader, f model.Fleet) (out []*model.Gateway) {
	for _, k := range w.gateways.Keys(r) {
		if g := w.gateways.Get(r, k); f.Labels.Match(g.Selector) {
			out = append(out, g)
		}
	}
	return out
}

func (w *edgeWorld) RouteSetsFor(r *derive.Reader, g model.GatewayName) []*model.RouteSet {
	return w.byGate.List(r, g)
}

func (w *edgeWorld) commit(f func(tx *store.Tx)) { w.src.Commit(f) }

func object(kind, name string) model.Origin {
	return model.Origin{Object: finding.Object{Kind: kind, Namespace: "shop", Name: name}}
}

func named(name string) model.ObjectName { return model.ObjectName{Namespace: "shop", Name: name} }

func gatewayName(name string) model.GatewayName {
	return model.GatewayName{Kind: "Gateway", Name: named(name)}
}

// gateway puts a Gateway; the later one is put, the younger it is.
func (w *edgeWorld) gateway(name string, age int64, servers ...model.Server) {
	for i := range servers {
		servers[i].Origin = object("Gateway", name).At(fmt.Sprintf("spec.servers[%d]", i))
	}
	w.commit(func(tx *store.Tx) {
		w.gateways.Put(tx, &model.Gateway{Name: gatewayName(name), Selector: "istio=ingressgateway", Servers: servers,
			Seniority: model.Seniority{Created: age, Kind: "Gateway", Name: named(name)}, Origin: object("Gateway", name)})
	})
}

func hosts(names ...string) (out []model.ServerHost) {
	for _, n := range names {
		ns := "*"
		if i := strings.IndexByte(n, '/'); i >= 0 {
			ns, n = n[:i], n[i+1:]
		}
		out = append(out, model.ServerHost{Host: n, Namespace: ns})
	}
	return out
}

func (w *edgeWorld) routes(set *model.RouteSet) {
	set.Origin = object("VirtualService", set.Seniority.Name.Name)
	if set.Exported == nil {
		set.Exported = []string{"*"}
	}
	for i := range set.HTTP {
		at := set.Origin.At(fmt.Sprintf("spec.http[%d]", i))
		set.HTTP[i].Origin = at
		for j := range set.HTTP[i].To {
			set.HTTP[i].To[j].Origin = at.At(fmt.Sprintf("%s.route[%d]", at.Field, j))
		}
	}
	w.commit(func(tx *store.Tx) { w.sets.Put(tx, set) })
}

func seniority(name string, created int64) model.Seniority {
	return model.Seniority{Created: created, Kind: "VirtualService", Name: named(name)}
}

func to(host string) []model.Weighted {
	return []model.Weighted{{Destination: model.Destination{Host: host + ".shop.svc.cluster.local"}}}
}

func prefixOf(path string) []model.Match {
	return []model.Match{{Path: model.PathMatch{Kind: model.MatchPrefix, Value: path}}}
}

func (w *edgeWorld) service(name string, ports ...corev1.ServicePort) {
	if len(ports) == 0 {
		ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	}
	w.commit(func(tx *store.Tx) {
		w.tables.Services.Put(tx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.9", Selector: map[string]string{"app": name}, Ports: ports}})
	})
}

// endpoints puts a Service's endpoints: "10.0.0.1", "10.0.0.1/pod", with "!" in front if it is not ready, "~" if it ends.
func (w *edgeWorld) endpoints(name string, list ...string) {
	sl := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}}, AddressType: discoveryv1.AddressTypeIPv4}
	port, number := "http", int32(8080)
	sl.Ports = []discoveryv1.EndpointPort{{Name: &port, Port: &number}}
	for _, s := range list {
		ready, ending := !strings.HasPrefix(s, "!") && !strings.HasPrefix(s, "~"), strings.HasPrefix(s, "~")
		addr, pod, _ := strings.Cut(strings.TrimLeft(s, "!~"), "/")
		e := discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ending, Terminating: &ending}}
		if ready {
			e.Conditions = discoveryv1.EndpointConditions{Ready: &ready}
		}
		if pod != "" {
			e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: pod}
		}
		sl.Endpoints = append(sl.Endpoints, e)
	}
	w.commit(func(tx *store.Tx) { w.tables.EndpointSlices.Put(tx, sl) })
}

// table says in short what a table holds: "domain: rule => destination".
func (w *edgeWorld) table(name string) (out []string) {
	t := w.e.Tables.Read(TableKey{edgeFleet, name})
	if t == nil {
		return nil
	}
	for _, h := range t.Hosts {
		line := strings.Join(h.Domains, ",") + ":"
		if h.RedirectHTTPS {
			line += " https"
		}
		for _, r := range h.Routes {
			line += " " + r.Origin.Name + strings.TrimPrefix(r.Origin.Field, "spec.http")
		}
		out = append(out, line)
	}
	return out
}

func (w *edgeWorld) findings() (out []string) {
	for _, f := range w.s.DB().AllFindings() {
		out = append(out, f.String())
	}
	return out
}

func (w *edgeWorld) want(what string, got, want []string) {
	w.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("%s (-want +got)\n%s", what, d)
	}
}

func (w *edgeWorld) wantFindings(prefixes ...string) {
	w.t.Helper()
	got := w.findings()
	ok := len(got) == len(prefixes)
	for i := range got {
		ok = ok && strings.HasPrefix(got[i], prefixes[i])
	}
	if !ok {
		w.t.Errorf("findings %q, want those that begin %q", got, prefixes)
	}
}

func http(port uint16, names ...string) model.Server {
	return model.Server{Name: "http", Port: port, Hosts: hosts(names...)}
}

func https(name string, secret string, names ...string) model.Server {
	return model.Server{Name: name, Port: 443, Hosts: hosts(names...), TLS: &model.ServerTLS{Credentials: []model.ObjectName{{Name: secret}}}}
}

func TestHostsOfServersAndRoutesMeet(t *testing.T) {
	for _, c := range []struct {
		name   string
		server []string
		set    []string
		want   []string
	}{
		{"the same", []string{"a.test"}, []string{"a.test"}, []string{"a.test:"}},
		{"another", []string{"a.test"}, []string{"b.test"}, nil},
		{"the set is narrower", []string{"*.test"}, []string{"a.test", "b.other"}, []string{"a.test:"}},
		{"the server is narrower", []string{"a.test", "b.test", "c.other"}, []string{"*.test"}, []string{"a.test:", "b.test:"}},
		{"wildcards", []string{"*.a.test"}, []string{"*.test"}, []string{"*.a.test:"}},
		{"all", []string{"*"}, []string{"*", "a.test"}, []string{"*:", "a.test:"}},
		{"a suffix is no wildcard", []string{"*.a.test"}, []string{"a.test", "ba.test"}, nil},
		{"of the set's namespace", []string{"shop/a.test"}, []string{"a.test"}, []string{"a.test:"}},
		{"of another namespace", []string{"other/a.test", "shop/b.test"}, []string{"a.test", "b.test"}, []string{"b.test:"}},
		{"granted to several", []string{"other/*", "shop/*.test"}, []string{"a.test"}, []string{"a.test:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newEdgeWorld(t)
			w.gateway("g", 1, http(80, c.server...))
			w.routes(&model.RouteSet{Hosts: c.set, Gateways: []model.GatewayName{gatewayName("g")}, Seniority: seniority("v", 1)})
			w.want("table", w.table("http.80"), c.want)
		})
	}
}

func TestPlaintextServersShareTheirPort(t *testing.T) {
	w := newEdgeWorld(t)
	w.service("web")
	w.gateway("old", 1, http(80, "a.test"), http(8080, "*"))
	w.gateway("young", 2, http(80, "a.test", "b.test"))
	w.routes(&model.RouteSet{Hosts: []string{"a.test", "b.test"}, Gateways: []model.GatewayName{gatewayName("young")}, Seniority: seniority("y", 1), HTTP: []model.Route{{Matches: prefixOf("/y"), To: to("web")}}})
	w.routes(&model.RouteSet{Hosts: []string{"a.test"}, Gateways: []model.GatewayName{gatewayName("old"), gatewayName("young")}, Seniority: seniority("o", 2), HTTP: []model.Route{{Matches: prefixOf("/o"), To: to("web")}}})
	w.want("table", w.table("http.80"), []string{"a.test: y[0] o[0]", "b.test: y[0]"})
	var got []string
	for _, l := range w.e.Listeners.Read(edgeFleet) {
		for _, c := range l.Chains {
			got = append(got, fmt.Sprint(l.Port, " ", c.Name, " ", c.Table))
		}
	}
	w.want("listeners", got, []string{"80 http.80 http.80", "8080 http.8080 http.8080"})
	w.wantFindings()
	if w.e.Tables.Read(TableKey{edgeFleet, "http.81"}) != nil {
		t.Error("there is a table that no chain names")
	}
	if got := w.e.Listeners.Read(model.Fleet{Namespace: "weft-system", Labels: "app=other"}); len(got) != 0 {
		t.Errorf("another fleet listens: %+v", got)
	}
}

func TestServersThatDisagree(t *testing.T) {
	for _, c := range []struct {
		name       string
		old, young model.Server
		chains     []string
		findings   []string
	}{
		{"protocols", http(443, "*"), https("s", "c", "a.test"), []string{"http.443"}, []string{"error Gateway shop/young spec.servers[0]: port 443 speaks plaintext HTTP for Gateway shop/old spec.servers[0]"}},
		{"one host over TLS twice", https("s", "c", "a.test", "b.test"), https("s", "c", "b.test", "c.test"), []string{"https.443.s.old.shop a.test b.test", "https.443.s.young.shop c.test"},
			[]string{"error Gateway shop/old spec.servers[0]: Secret weft-system/c does not", "error Gateway shop/young spec.servers[0]: port 443 of b.test belongs to Gateway shop/old", "error Gateway shop/young spec.servers[0]: Secret weft-system/c does"}},
		{"passthrough beside termination", https("s", "c", "*.test"), model.Server{Name: "p", Port: 443, Protocol: model.ServePassthrough, Hosts: hosts("p.test")}, []string{"https.443.s.old.shop *.test"},
			[]string{"error Gateway shop/old spec.servers[0]: Secret", "warning Gateway shop/young spec.servers[0]: no rule says where"}},
		{"two of TCP", model.Server{Port: 443, Protocol: model.ServeTCP, Hosts: hosts("*")}, model.Server{Port: 443, Protocol: model.ServeTCP, Hosts: hosts("*")}, nil,
			[]string{"warning Gateway shop/old", "error Gateway shop/young spec.servers[0]: port 443 speaks plaintext TCP"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newEdgeWorld(t)
			w.gateway("young", 2, c.young)
			w.gateway("old", 1, c.old)
			var got []string
			for _, l := range w.e.Listeners.Read(edgeFleet) {
				for _, c := range l.Chains {
					got = append(got, strings.TrimSpace(c.Name+" "+strings.Join(c.SNI, " ")))
				}
			}
			w.want("chains", got, c.chains)
			w.wantFindings(c.findings...)
		})
	}
}

func TestOrderOfRoutes(t *testing.T) {
	w := newEdgeWorld(t)
	w.service("web")
	w.gateway("g", 1, http(80, "*"))
	at := []model.GatewayName{gatewayName("g")}
	exact := []model.Match{{Path: model.PathMatch{Kind: model.MatchExact, Value: "/x"}}}
	// Written in an order: the older set first, and what takes everything last. Nothing comes after that in its own set.
	w.routes(&model.RouteSet{Hosts: []string{"a.test"}, Gateways: at, Seniority: seniority("old", 1), HTTP: []model.Route{{Matches: prefixOf("/1"), To: to("web")}, {To: to("web")}, {Matches: prefixOf("/never"), To: to("web")}}})
	w.routes(&model.RouteSet{Hosts: []string{"a.test"}, Gateways: at, Seniority: seniority("young", 2), HTTP: []model.Route{{Matches: prefixOf("/2"), To: to("web")}, {Matches: prefixOf("/"), To: to("web")}}})
	// These compete by length.
	w.routes(&model.RouteSet{Hosts: []string{"a.test"}, Gateways: at, Longest: true, Seniority: seniority("in-young", 4), HTTP: []model.Route{{Matches: prefixOf("/long/path"), To: to("web")}, {Matches: prefixOf("/same"), To: to("web")}}})
	w.routes(&model.RouteSet{Hosts: []string{"a.test"}, Gateways: at, Longest: true, Seniority: seniority("in-old", 3), HTTP: []model.Route{{Matches: prefixOf("/"), To: to("web")}, {Matches: prefixOf("/same"), To: to("web")}, {Matches: exact, To: to("web")}}})
	w.want("table", w.table("http.80"), []string{"a.test: old[0] young[0] old[1] in-old[2] in-young[0] in-old[1] in-old[0]"})
	w.wantFindings("error VirtualService shop/in-young spec.http[1]: prefix /same of a.test belongs to VirtualService shop/in-old spec.http[1]",
		"warning VirtualService shop/young spec.http[1]: every request for a.test")
}

func TestConditionsOfGatewayAndPort(t *testing.T) {
	w := newEdgeWorld(t)
	w.service("web")
	w.gateway("g", 1, http(80, "*"), http(81, "*"))
	w.gateway("h", 2, http(80, "*"))
	only := func(m model.Match) []model.Match { return []model.Match{m} }
	p := model.PathMatch{Kind: model.MatchPrefix, Value: "/p"}
	w.routes(&model.RouteSet{Hosts: []string{"a.test"}, Gateways: []model.GatewayName{gatewayName("g")}, Seniority: seniority("v", 1), HTTP: []model.Route{
		{Matches: only(model.Match{Path: p, Port: 81}), To: to("web")},
		{Matches: only(model.Match{Path: p, Gateways: []model.GatewayName{gatewayName("g")}}), To: to("web")},
		{Matches: only(model.Match{Path: p, Gateways: []model.GatewayName{gatewayName("h"), {Kind: model.Mesh}}}), To: to("web")},
		{Matches: only(model.Match{Path: p, SourceLabels: "a=b"}), To: to("web")},
		{Matches: only(model.Match{Path: p, SourceNamespace: "shop"}), To: to("web")},
		{Matches: only(model.Match{Path: p, SourceNamespace: "weft-system"}), To: to("web")},
	}})
	w.want("port 80", w.table("http.80"), []string{"a.test: v[1] v[5]"})
	w.want("port 81", w.table("http.81"), []string{"a.test: v[0] v[1] v[5]"})
}

// What is not exported to a gateway's namespace does not hold there; what is exported to fewer goes first.
func TestExportsToGateways(t *testing.T) {
	w := newEdgeWorld(t)
	w.service("web")
	w.gateway("g", 1, http(80, "*"), model.Server{Port: 9000, Protocol: model.ServeTCP, Hosts: hosts("*")})
	set := func(name string, age int64, exported ...string) {
		w.routes(&model.RouteSet{Hosts: []string{"a.test"}, Gateways: []model.GatewayName{gatewayName("g")}, Exported: exported, Seniority: seniority(name, age),
			HTTP: []model.Route{{Matches: prefixOf("/" + name), To: to("web")}}, TCP: []model.L4Route{{To: to("web"), Origin: object("VirtualService", name)}}})
	}
	set("own", 1, "shop")
	set("all", 2, "*")
	set("some", 3, "shop", "weft-system")
	w.want("table", w.table("http.80"), []string{"a.test: some[0] all[0]"})
	listeners := w.e.Listeners.Read(edgeFleet)
	if at := listeners[1].Chains[0].Origin; at != object("VirtualService", "some") {
		t.Errorf("connections are led by %v", at)
	}
	w.wantFindings("info VirtualService shop/own spec.exportTo: the proxies of Gateway shop/g in namespace weft-system do not see it")
}

func TestRedirectToHTTPS(t *testing.T) {
	w := newEdgeWorld(t)
	s := http(80, "a.test")
	s.RedirectHTTPS = true
	w.gateway("g", 1, s, http(80, "b.test"))
	w.routes(&model.RouteSet{Hosts: []string{"b.test"}, Gateways: []model.GatewayName{gatewayName("g")}, Seniority: seniority("v", 1)})
	w.want("table", w.table("http.80"), []string{"a.test: https", "b.test:"})

	// Only what comes in by the server that redirects: not what another has the host of.
	all := http(80, "*.test")
	all.RedirectHTTPS = true
	w.gateway("all", 2, all)
	w.routes(&model.RouteSet{Hosts: []string{"c.test"}, Gateways: []model.GatewayName{gatewayName("all")}, Seniority: seniority("c", 2)})
	w.want("table", w.table("http.80"), []string{"*.test: https", "a.test: https", "b.test:", "c.test: https"})
}

// A redirect that keeps the listener's port has it by number, unless the scheme means it anyway.
func TestRedirectToTheListenersPort(t *testing.T) {
	w := newEdgeWorld(t)
	w.gateway("g", 1, http(80, "a.test"), http(8080, "a.test"))
	w.routes(&model.RouteSet{Hosts: []string{"a.test"}, Gateways: []model.GatewayName{gatewayName("g")}, Seniority: seniority("v", 1), HTTP: []model.Route{
		{Redirect: &model.Redirect{Status: 301, Authority: "b.test", ListenerPort: true}, Matches: []model.Match{{Path: model.PathMatch{Kind: model.MatchPrefix, Value: "/a"}}}},
		{Redirect: &model.Redirect{Status: 301, Scheme: "https", ListenerPort: true}},
	}})
	for table, want := range map[string][]uint16{"http.80": {0, 80}, "http.8080": {8080, 8080}} {
		for i, r := range w.e.Tables.Read(TableKey{edgeFleet, table}).Hosts[0].Routes {
			if r.Redirect.Port != want[i] || r.Redirect.ListenerPort {
				t.Errorf("%s: %+v, want port %d", table, r.Redirect, want[i])
			}
		}
	}
}

func TestDestinations(t *testing.T) {
	web := "web.shop.svc.cluster.local"
	two := []corev1.ServicePort{{Name: "http", Port: 8081}, {Name: "admin", Port: 9090}}
	for _, c := range []struct {
		name    string
		ports   []corev1.ServicePort
		to      model.Destination
		want    uint16
		there   bool
		finding string
	}{
		{"its only port", nil, model.Destination{Host: web}, 80, true, ""},
		{"by number", two, model.Destination{Host: web, Port: 9090}, 9090, true, ""},
		{"by name", two, model.Destination{Host: web, PortName: "admin"}, 9090, true, ""},
		{"no such name", two, model.Destination{Host: web, PortName: "metrics"}, 0, false, "error VirtualService shop/v spec.http[0].route[0]: Service shop/web has no port called metrics"},
		{"no such number", two, model.Destination{Host: web, Port: 80}, 80, false, "error VirtualService shop/v spec.http[0].route[0]: Service shop/web has no port 80"},
		{"several", two, model.Destination{Host: web}, 0, false, "error VirtualService shop/v spec.http[0].route[0]: Service shop/web has 2 ports"},
		{"several, one of them the listener's", append(two, corev1.ServicePort{Name: "l", Port: 80}), model.Destination{Host: web}, 80, true, "warning VirtualService shop/v spec.http[0].route[0]: Service shop/web has 3 ports and none is named; 80 is used"},
		{"subset", nil, model.Destination{Host: web, Subset: "v1"}, 80, true, ""},
		{"no such subset", nil, model.Destination{Host: web, Subset: "v9"}, 80, false, "error VirtualService shop/v spec.http[0].route[0]: no DestinationRule for web.shop.svc.cluster.local has a subset v9"},
		{"nobody", nil, model.Destination{Host: "nobody.test"}, 0, false, "error VirtualService shop/v spec.http[0].route[0]: there is no Service or other host nobody.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newEdgeWorld(t)
			w.service("web", c.ports...)
			w.commit(func(tx *store.Tx) {
				w.policies.Put(tx, &model.DestinationPolicy{Host: web, Subsets: []model.Subset{{Name: "v1", Labels: "version=v1"}}})
			})
			w.gateway("g", 1, http(80, "*"))
			w.routes(&model.RouteSet{Hosts: []string{"a.test"}, Gateways: []model.GatewayName{gatewayName("g")}, Seniority: seniority("v", 1), HTTP: []model.Route{{To: []model.Weighted{{Destination: c.to}}}}})
			got := w.e.Tables.Read(TableKey{edgeFleet, "http.80"}).Hosts[0].Routes[0].To[0].Destination
			want := model.Destination{Host: c.to.Host, Port: c.want, Subset: c.to.Subset}
			if got != want {
				t.Errorf("leads to %+v, want %+v", got, want)
			}
			k := ClusterKey{From: edgeFleet.Namespace, Destination: want}
			if there := w.e.Clusters.Read(k) != nil; there != c.there {
				t.Errorf("cluster exists: %v", there)
			}
			if listed := slices.Contains(w.e.ClusterKeys.Read(edgeFleet), k); listed != c.there {
				t.Errorf("cluster is listed: %v", listed)
			}
			if c.finding == "" {
				w.wantFindings()
			} else {
				w.wantFindings(c.finding)
			}
		})
	}
}

func TestClusters(t *testing.T) {
	web := "web.shop.svc.cluster.local"
	h2c := "kubernetes.io/h2c"
	ws := "kubernetes.io/ws"
	random, ring := &model.LoadBalancer{Balance: model.Random}, &model.LoadBalancer{Balance: model.RingHash}
	few, many := &model.Connections{Max: 1}, &model.Connections{Max: 100}
	w := newEdgeWorld(t)
	w.service("web", corev1.ServicePort{Name: "http", Port: 80}, corev1.ServicePort{Name: "grpc-x", Port: 81}, corev1.ServicePort{Name: "x", Port: 82, AppProtocol: &h2c}, corev1.ServicePort{Name: "grpc", Port: 83, AppProtocol: &ws}, corev1.ServicePort{Name: "grpcish", Port: 84})
	w.commit(func(tx *store.Tx) {
		w.policies.Put(tx, &model.DestinationPolicy{Host: web, Origin: object("DestinationRule", "web"), Policy: model.TrafficPolicy{LoadBalancer: random, Connections: many},
			Ports: []model.PortPolicy{{Port: 81, Policy: model.TrafficPolicy{LoadBalancer: ring}}},
			Subsets: []model.Subset{{Name: "v1", Origin: object("DestinationRule", "web").At("spec.subsets[0]"), Policy: model.TrafficPolicy{Connections: few},
				Ports: []model.PortPolicy{{Port: 82, Policy: model.TrafficPolicy{LoadBalancer: ring}}}}}})
	})
	for _, c := range []struct {
		port   uint16
		subset string
		http2  bool
		want   model.TrafficPolicy
	}{
		{80, "", false, model.TrafficPolicy{LoadBalancer: random, Connections: many}},
		{81, "", true, model.TrafficPolicy{LoadBalancer: ring}},
		{82, "", true, model.TrafficPolicy{LoadBalancer: random, Connections: many}},
		{83, "", false, model.TrafficPolicy{LoadBalancer: random, Connections: many}},
		{84, "", false, model.TrafficPolicy{LoadBalancer: random, Connections: many}},
		{80, "v1", false, model.TrafficPolicy{LoadBalancer: random, Connections: few}},
		{81, "v1", true, model.TrafficPolicy{LoadBalancer: ring, Connections: few}},
		{82, "v1", true, model.TrafficPolicy{LoadBalancer: ring}},
	} {
		got := w.e.Clusters.Read(ClusterKey{From: "weft-system", Destination: model.Destination{Host: web, Port: c.port, Subset: c.subset}})
		if got == nil || got.HTTP2 != c.http2 || got.Rule.Name != "web" || got.Host != named("web") {
			t.Fatalf("%d %s: %+v", c.port, c.subset, got)
		}
		if d := cmp.Diff(c.want, got.Policy); d != "" {
			t.Errorf("%d %s (-want +got)\n%s", c.port, c.subset, d)
		}
	}
}

func TestAliasIsFoundByDNS(t *testing.T) {
	w := newEdgeWorld(t)
	w.commit(func(tx *store.Tx) {
		w.tables.Services.Put(tx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "out"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "www.example.com"}})
	})
	k := ClusterKey{From: "weft-system", Destination: model.Destination{Host: "out.shop.svc.cluster.local", Port: 443}}
	if c := w.e.Clusters.Read(k); c == nil || !c.ByDNS || !slices.Equal(c.Names, []model.NamedEndpoint{{Host: "www.example.com", Port: 443}}) {
		t.Errorf("%+v", c)
	}
	if eps := w.e.Endpoints.Read(k); eps != nil {
		t.Errorf("%+v", eps)
	}
}

func TestEndpoints(t *testing.T) {
	web := "web.shop.svc.cluster.local"
	w := newEdgeWorld(t)
	w.service("web")
	w.commit(func(tx *store.Tx) {
		w.policies.Put(tx, &model.DestinationPolicy{Host: web, Subsets: []model.Subset{{Name: "v1", Labels: "version=v1"}}})
		w.pods.Put(tx, &model.Workload{Name: named("p1"), Labels: "app=web,version=v1"})
		w.pods.Put(tx, &model.Workload{Name: named("p2"), Labels: "app=web,version=v2"})
	})
	for _, c := range []struct {
		name, subset string
		endpoints    []string
		want         string
	}{
		{"those that are ready", "", []string{"10.0.0.2/p2", "10.0.0.1/p1", "!10.0.0.3", "~10.0.0.4"}, "10.0.0.1:8080 10.0.0.2:8080"},
		{"those that end, if none is ready", "", []string{"!10.0.0.3", "~10.0.0.4"}, "10.0.0.4:8080"},
		{"a subset", "v1", []string{"10.0.0.1/p1", "10.0.0.2/p2", "10.0.0.3", "10.0.0.4/unknown"}, "10.0.0.1:8080"},
		{"an empty subset", "v1", []string{"10.0.0.2/p2"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.endpoints("web", c.endpoints...)
			var got []string
			for _, e := range w.e.Endpoints.Read(ClusterKey{From: "weft-system", Destination: model.Destination{Host: web, Port: 80, Subset: c.subset}}).Endpoints {
				got = append(got, e.AddrPort.String())
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
		})
	}
}

// A Secret is read by who may: the fleet of its own namespace, and for an Ingress, in the Ingress's.
func TestSecretsAreGranted(t *testing.T) {
	w := newEdgeWorld(t)
	w.gateway("g", 1, https("own", "here", "a.test"), model.Server{Name: "theirs", Port: 443, Hosts: hosts("b.test"), TLS: &model.ServerTLS{Credentials: []model.ObjectName{{Namespace: "shop", Name: "theirs"}}}})
	w.commit(func(tx *store.Tx) {
		n := model.GatewayName{Kind: "Ingress", Name: named("in")}
		w.gateways.Put(tx, &model.Gateway{Name: n, Selector: edgeFleet.Labels, Seniority: seniority("in", 3), Servers: []model.Server{{
			Name: "https-0", Port: 443, Hosts: hosts("c.test"), TLS: &model.ServerTLS{Credentials: []model.ObjectName{named("of-ingress")}}, Origin: object("Ingress", "in")}}})
	})
	w.e.Listeners.Read(edgeFleet)
	want := []model.ObjectName{named("of-ingress"), {Namespace: "weft-system", Name: "here"}}
	if d := cmp.Diff(want, w.e.SecretNames.Read(edgeFleet)); d != "" {
		t.Error(d)
	}
	w.wantFindings("error Gateway shop/g spec.servers[0]: Secret weft-system/here does not exist, or has no certificate",
		"error Gateway shop/g spec.servers[1]: Secret shop/theirs is not in namespace weft-system", "error Ingress shop/in: Secret shop/of-ingress does not exist")
}
