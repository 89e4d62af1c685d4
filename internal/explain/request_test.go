package explain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/ingress"
	"github.com/weftmesh/weft/internal/lower/service"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// routes is a source that says what a test wants of one gateway.
type routes struct{ list []model.Route }

var front = model.GatewayName{Kind: "Gateway", Name: model.ObjectName{Namespace: "shop", Name: "front"}}

func (s routes) GatewaysFor(*derive.Reader, model.Fleet) []*model.Gateway {
	tls := func(name, secret, host string) model.Server {
		return model.Server{Name: name, Port: 443, Hosts: []model.ServerHost{{Host: host, Namespace: "*"}}, TLS: &model.ServerTLS{Credentials: []model.ObjectName{{Name: secret}}}}
	}
	redirected := model.Server{Name: "r", Port: 8080, RedirectHTTPS: true, Hosts: []model.ServerHost{{Host: "*", Namespace: "*"}}}
	return []*model.Gateway{{Name: front, Servers: []model.Server{{Name: "http", Port: 80, Hosts: []model.ServerHost{{Host: "*", Namespace: "*"}}}, tls("missing", "missing", "missing.test"), redirected}}}
}

func (s routes) RouteSetsFor(*derive.Reader, model.GatewayName) []*model.RouteSet {
	for i := range s.list {
		s.list[i].Origin = model.Origin{Field: "spec.http[" + string(rune('0'+i)) + "]"}
		s.list[i].Origin.Kind, s.list[i].Origin.Namespace, s.list[i].Origin.Name = "VirtualService", "shop", "v"
	}
	return []*model.RouteSet{{Hosts: []string{"a.test", "*.wild.test"}, Gateways: []model.GatewayName{front}, Exported: []string{"*"}, HTTP: s.list}}
}

func edgeWorld(t *testing.T, list ...model.Route) *compose.Edge {
	s := store.New(nil)
	tables := kube.NewTables(s)
	o := service.Objects{Services: tables.Services, Slices: tables.EndpointSlices, SlicesByService: tables.SlicesByService, Nodes: tables.Nodes, Secrets: tables.Secrets}
	in := ingress.Define(s.DB(), ingress.Objects{Ingresses: tables.Ingresses, Classes: tables.IngressClasses}, ingress.Options{Domain: "cluster.local", Folder: true})
	e := compose.DefineEdge(s.DB(), compose.Define(s.DB(), o, service.Define(s.DB(), o)), compose.EdgeOptions{Sources: []compose.EdgeSource{routes{list}, in}})
	s.Source("test").Commit(func(tx *store.Tx) {
		for _, doc := range strings.Split(declared, "---") {
			tables.Services.Put(tx, read[corev1.Service](t, doc))
		}
		for _, doc := range strings.Split(endpointSlices, "---") {
			tables.EndpointSlices.Put(tx, read[discoveryv1.EndpointSlice](t, doc))
		}
		tables.Ingresses.Put(tx, read[networkingv1.Ingress](t, `
metadata: {namespace: shop, name: in}
spec: {rules: [{host: in.test, http: {paths: [{path: /x, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}}]}`))
	})
	return e
}

func path(kind model.MatchKind, value string) []model.Match {
	return []model.Match{{Path: model.PathMatch{Kind: kind, Value: value}}}
}

var toWeb = []model.Weighted{{Destination: model.Destination{Host: "web.shop.svc.cluster.local", Port: 80}}}

func ask(e *compose.Edge, method, url string, headers ...string) (Trail, Decision) {
	q := RequestQuestion{Method: method, URL: url, Fleet: model.Fleet{Namespace: "weft-system", Labels: "istio=ingressgateway"}, Headers: map[string][]string{}}
	for i := 0; i < len(headers); i += 2 {
		q.Headers[headers[i]] = append(q.Headers[headers[i]], headers[i+1])
	}
	return Request(e, q)
}

func TestRequestNamesWhatFails(t *testing.T) {
	e := edgeWorld(t,
		model.Route{Name: "exact", Matches: path(model.MatchExact, "/e"), To: toWeb},
		model.Route{Matches: []model.Match{{Path: model.PathMatch{Kind: model.MatchPrefix, Value: "/p"}, Method: model.StringMatch{Kind: model.MatchExact, Value: "POST"},
			Headers: []model.NamedMatch{{Name: "x-user", StringMatch: model.StringMatch{Kind: model.MatchRegex, Value: "j.*n"}}}, Query: []model.NamedMatch{{Name: "q", StringMatch: model.StringMatch{Kind: model.MatchPresent}}}}}, To: toWeb},
		model.Route{Matches: []model.Match{{Headers: []model.NamedMatch{{Name: "x-not", Invert: true, StringMatch: model.StringMatch{Kind: model.MatchPresent}}}}}, To: toWeb},
	)
	for _, c := range []struct {
		name, method, url string
		headers           []string
		rule              string
		rejects           []string
	}{
		{"path", "GET", "http://a.test/e", nil, "VirtualService shop/v spec.http[0]", []string{"not looked at", "not looked at"}},
		{"all conditions", "POST", "http://a.test/p/1?q", []string{"X-User", "jason"}, "VirtualService shop/v spec.http[1]", []string{`"exact" path /p/1 is not exact /e`, "not looked at"}},
		{"method", "GET", "http://a.test/p?q", []string{"x-user", "jason"}, "VirtualService shop/v spec.http[2]", []string{`"exact" path`, "method GET is not exact POST"}},
		{"header", "POST", "http://a.test/p?q", []string{"x-user", "jasons"}, "VirtualService shop/v spec.http[2]", []string{`"exact" path`, `header x-user is "jasons", not regex j.*n`}},
		{"query", "POST", "http://a.test/p", []string{"x-user", "jason"}, "VirtualService shop/v spec.http[2]", []string{`"exact" path`, "query parameter q is missing, not present"}},
		{"a header that must not be there", "GET", "http://a.test/", []string{"x-not", "1"}, "", []string{`"exact" path`, "path / is not prefix /p", `header x-not is "1", and must not be present`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			trail, d := ask(e, c.method, c.url, c.headers...)
			if d.Rule != c.rule {
				t.Errorf("rule %q, want %q", d.Rule, c.rule)
			}
			var rejects []string
			for _, s := range trail.Steps {
				if s.What == "rule" && s.Reject {
					rejects = append(rejects, s.Text)
				}
			}
			if len(rejects) != len(c.rejects) {
				t.Fatalf("rejected %q, want %q", rejects, c.rejects)
			}
			for i := range rejects {
				if !strings.HasPrefix(rejects[i], c.rejects[i]) {
					t.Errorf("rejected %q, want %q", rejects[i], c.rejects[i])
				}
			}
		})
	}
}

func TestDecisions(t *testing.T) {
	half := uint32(7)
	e := edgeWorld(t,
		model.Route{Matches: path(model.MatchPrefix, "/prefix/"), Rewrite: &model.Rewrite{HasPrefix: true, Prefix: "/"}, To: toWeb},
		model.Route{Matches: path(model.MatchPrefix, "/regex"), Rewrite: &model.Rewrite{Regex: "^/regex/([^/]+)/(.*)$", Substitution: `/\2/$/\1`}, To: toWeb},
		model.Route{Matches: path(model.MatchPrefix, "/whole"), Rewrite: &model.Rewrite{Path: "/w", Authority: "in.test"}, To: toWeb},
		model.Route{Matches: path(model.MatchExact, "/moved"), Redirect: &model.Redirect{Status: 302, Scheme: "https", Path: "/new"}},
		model.Route{Matches: path(model.MatchExact, "/port"), Redirect: &model.Redirect{Status: 301, Port: 8443}},
		model.Route{Matches: path(model.MatchExact, "/teapot"), Respond: &model.DirectResponse{Status: 418, Body: "short"}},
		model.Route{Matches: path(model.MatchExact, "/broken")},
		model.Route{Matches: path(model.MatchExact, "/nobody"), To: []model.Weighted{{Destination: model.Destination{Host: "nobody.test", Port: 80}}}},
		model.Route{Matches: path(model.MatchExact, "/split"), To: []model.Weighted{{Destination: toWeb[0].Destination, Weight: 1}, {Destination: model.Destination{Host: "alias.shop.svc.cluster.local", Port: 80}, Weight: 3}}},
		model.Route{Matches: path(model.MatchExact, "/fault"), Fault: &model.Fault{AbortGRPC: &half, AbortShare: 100}, To: toWeb, Request: model.HeaderOps{Set: []model.HeaderValue{{Name: "host", Value: "other.test"}}}},
	)
	for _, c := range []struct {
		url  string
		want Decision // Destinations, Mirrors, Rule and Fault are left out
	}{
		{"http://a.test/prefix/x?y", Decision{Kind: Forward, Path: "/x?y", Authority: "a.test"}},
		{"http://a.test/regex/1/2", Decision{Kind: Forward, Path: "/2/$/1", Authority: "a.test"}},
		{"http://a.test/whole/1?y", Decision{Kind: Forward, Path: "/w?y", Authority: "in.test"}},
		{"http://a.test/x/../moved?y", Decision{Kind: Redirect, Status: 302, Location: "https://a.test/new?y", Path: "/moved?y", Authority: "a.test"}},
		{"http://a.test/port", Decision{Kind: Redirect, Status: 301, Location: "http://a.test:8443/port", Path: "/port", Authority: "a.test"}},
		{"http://a.test/teapot", Decision{Kind: Respond, Status: 418, Body: "short", Path: "/teapot", Authority: "a.test"}},
		{"http://a.test/broken", Decision{Kind: Respond, Status: 500, Path: "/broken", Authority: "a.test"}},
		{"http://a.test/nobody", Decision{Kind: Forward, Status: 503, Path: "/nobody", Authority: "a.test"}},
		{"http://a.test/none", Decision{Kind: Respond, Status: 404, Path: "/none", Authority: "a.test"}},
		{"http://b.test/", Decision{Kind: Respond, Status: 404, Path: "/", Authority: "b.test"}},
		{"http://x.wild.test/teapot", Decision{Kind: Respond, Status: 418, Body: "short", Path: "/teapot", Authority: "x.wild.test"}},
		{"http://wild.test/teapot", Decision{Kind: Respond, Status: 404, Path: "/teapot", Authority: "wild.test"}},
		{"http://in.test/x/y", Decision{Kind: Forward, Path: "/x/y", Authority: "in.test"}},
		{"http://in.test/xy", Decision{Kind: Respond, Status: 404, Path: "/xy", Authority: "in.test"}},
		{"http://a.test:8080/teapot", Decision{Kind: Redirect, Status: 301, Location: "https://a.test/teapot", Path: "/teapot", Authority: "a.test:8080"}},
		{"http://a.test:81/", Decision{Kind: None, Path: "/", Authority: "a.test:81"}},
		{"https://missing.test/", Decision{Kind: None, Path: "/", Authority: "missing.test"}},
		{"https://a.test/", Decision{Kind: None, Path: "/", Authority: "a.test"}},
		{"http://missing.test:443/", Decision{Kind: None, Path: "/", Authority: "missing.test:443"}},
		{"http://a.test/fault", Decision{Kind: Forward, Path: "/fault", Authority: "other.test"}},
		{"ftp://a.test/", Decision{Kind: None}},
	} {
		trail, got := ask(e, "GET", c.url)
		if trail.Answer == "" {
			t.Errorf("%s: no answer", c.url)
		}
		got.Destinations, got.Mirrors, got.Rule, got.Fault, got.Method, got.Request = nil, nil, "", nil, "", model.HeaderOps{}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got)\n%s", c.url, d)
		}
	}
	_, split := ask(e, "GET", "http://a.test/split")
	want := []DecidedDestination{
		{Host: "web.shop.svc.cluster.local", Port: 80, Weight: 25, Exists: true, Endpoints: []string{"10.244.1.1:8080", "10.244.2.1:8080"}},
		{Host: "alias.shop.svc.cluster.local", Port: 80, Weight: 75, Exists: true, DNS: []string{"registry.example.org:80"}},
	}
	if d := cmp.Diff(want, split.Destinations); d != "" {
		t.Error(d)
	}
}
