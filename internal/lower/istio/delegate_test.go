package istio

import (
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/model"
)

// root delegates from VirtualService shop/web to team/inner.
const root = `
kind: Gateway
metadata: {namespace: shop, name: public}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
kind: VirtualService
metadata: {namespace: shop, name: web}
spec:
  hosts: [web.example.org]
  gateways: [public]
  http:
  - name: team
    match: [{uri: {prefix: /team}, headers: {x-a: {exact: a}}}]
    timeout: 3s
    headers: {request: {set: {x-root: "1"}}}
    delegate: {name: inner, namespace: team}
  - {name: rest, directResponse: {status: 404}}`

func TestDelegates(t *testing.T) {
	w := newWorld(t)
	w.apply(root)
	w.wantNoMoreThan("error VirtualService shop/web spec.http[0].delegate: VirtualService team/inner does not exist; the rule is left out (missing-delegate)")
	if r := w.routes("web").HTTP; len(r) != 1 || r[0].Name != "rest" {
		t.Errorf("%+v", r)
	}
	w.apply(`
kind: VirtualService
metadata: {namespace: team, name: inner}
spec:
  http:
  - {name: one, match: [{uri: {exact: /team/one}, queryParams: {q: {exact: "1"}}}], timeout: 1s, route: [{destination: {host: one}}]}
  - {name: elsewhere, match: [{uri: {prefix: /other}}], route: [{destination: {host: lost}}]}
  - {headers: {}, redirect: {uri: /new}}`)
	w.wantNoMoreThan("error VirtualService shop/web spec.http[0].delegate: VirtualService team/inner spec.http[1] matches what this rule does not; it is left out here (delegate-conflict)")
	inner := func(field string) model.Origin {
		o := at("VirtualService", "inner", field)
		o.Namespace = "team"
		return o
	}
	xa := []model.NamedMatch{{Name: "x-a", StringMatch: model.StringMatch{Kind: model.MatchExact, Value: "a"}}}
	wantEqual(t, []model.Route{
		{
			Name: "team-one", Origin: inner("spec.http[0]"), Timeout: time.Second,
			Matches: []model.Match{{
				Path: model.StringMatch{Kind: model.MatchExact, Value: "/team/one"}, Headers: xa,
				Query: []model.NamedMatch{{Name: "q", StringMatch: model.StringMatch{Kind: model.MatchExact, Value: "1"}}}, Origin: inner("spec.http[0].match[0]"),
			}},
			To:      []model.Weighted{{Destination: model.Destination{Host: "one.team.svc.cluster.local"}, Origin: inner("spec.http[0].route[0]")}},
			Request: model.HeaderOps{Set: []model.HeaderValue{{Name: "x-root", Value: "1"}}},
		},
		{
			Name: "team", Origin: inner("spec.http[2]"), Timeout: 3 * time.Second, Redirect: &model.Redirect{Status: 301, Path: "/new"},
			Matches: []model.Match{{Path: model.StringMatch{Kind: model.MatchPrefix, Value: "/team"}, Headers: xa, Origin: vs("spec.http[0].match[0]")}},
		},
		{Name: "rest", Origin: vs("spec.http[1]"), Respond: &model.DirectResponse{Status: 404}},
	}, w.routes("web").HTTP)
}

// What a delegate cannot do is told where it is said, and the rules around it live.
func TestDelegatesThatAreNone(t *testing.T) {
	const meta = "kind: VirtualService\nmetadata: {namespace: team, name: inner}\nspec: "
	for _, c := range []struct {
		name    string
		objects []string
		names   []string // of the rules that are left
		found   []string
	}{
		{"hosts of its own", []string{meta + "{hosts: [a], http: [{directResponse: {status: 200}}]}"}, []string{"rest"},
			[]string{"error VirtualService shop/web spec.http[0].delegate: VirtualService team/inner has hosts of its own and can be no delegate; the rule is left out (missing-delegate)"}},
		{"not exported", []string{meta + "{exportTo: [.], http: [{directResponse: {status: 200}}]}"}, []string{"rest"},
			[]string{"error VirtualService shop/web spec.http[0].delegate: VirtualService team/inner is not exported to namespace shop; the rule is left out (missing-delegate)"}},
		{"what only a root can have", []string{meta + "{gateways: [a], tls: [{}], tcp: [{}]}"}, []string{"rest"}, []string{
			"error VirtualService team/inner spec.gateways: has no effect in a VirtualService without hosts, which is a delegate (no-effect)",
			"error VirtualService team/inner spec.http: a delegate without rules has no effect (missing-field)",
			"error VirtualService team/inner spec.tcp: has no effect in a VirtualService without hosts, which is a delegate (no-effect)",
			"error VirtualService team/inner spec.tls: has no effect in a VirtualService without hosts, which is a delegate (no-effect)",
		}},
		{"a delegate of a delegate", []string{meta + "{http: [{name: deep, delegate: {name: deeper}}]}"}, []string{"team-deep", "rest"},
			[]string{"error VirtualService team/inner spec.http[0].delegate: a delegate cannot have delegates; requests are answered 500 (delegate-nested)"}},
		{"a loop of two delegates", []string{meta + "{http: [{name: a, delegate: {name: other}}]}",
			"kind: VirtualService\nmetadata: {namespace: team, name: other}\nspec: {http: [{name: b, delegate: {name: inner}}]}"}, []string{"team-a", "rest"}, []string{
			"error VirtualService team/inner spec.http[0].delegate: VirtualService team/other leads back here; requests are answered 500 (delegate-loop)",
			"error VirtualService team/other spec.http[0].delegate: VirtualService team/inner leads back here; requests are answered 500 (delegate-loop)",
		}},
		{"a loop of roots", []string{meta + "{hosts: [b], http: [{delegate: {namespace: shop, name: web}}]}"}, []string{"rest"}, []string{
			"error VirtualService shop/web spec.http[0].delegate: VirtualService team/inner leads back here; the rule is left out (delegate-loop)",
			"error VirtualService team/inner spec.http[0].delegate: VirtualService shop/web leads back here; the rule is left out (delegate-loop)",
		}},
		{"a delegate of itself", []string{meta + "{http: [{name: me, delegate: {name: inner}}]}"}, []string{"team-me", "rest"},
			[]string{"error VirtualService team/inner spec.http[0].delegate: VirtualService team/inner leads back here; requests are answered 500 (delegate-loop)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(root)
			for _, o := range c.objects {
				w.apply(o)
			}
			w.wantNoMoreThan(c.found...)
			var names []string
			for _, r := range w.routes("web").HTTP {
				names = append(names, r.Name)
			}
			if !slices.Equal(names, c.names) {
				t.Errorf("rules %q, want %q", names, c.names)
			}
		})
	}
}

func TestRootsDoNothingThemselves(t *testing.T) {
	w := newWorld(t)
	w.apply(virtualService("\n  - {delegate: {}, route: [{destination: {host: a}}], redirect: {uri: /}, directResponse: {status: 200}}"))
	wantEqual(t, []string{
		"error spec.http[0].delegate.name (missing-field)", "error spec.http[0].directResponse (conflicting-fields)",
		"error spec.http[0].redirect (conflicting-fields)", "error spec.http[0].route (conflicting-fields)",
	}, w.brief("VirtualService shop/web "))
}

func TestMatchesWithinMatches(t *testing.T) {
	text := func(kind model.MatchKind, value string) model.StringMatch {
		return model.StringMatch{Kind: kind, Value: value}
	}
	any, present := model.StringMatch{}, text(model.MatchPresent, "")
	exact := func(v string) model.StringMatch { return text(model.MatchExact, v) }
	prefix := func(v string) model.StringMatch { return text(model.MatchPrefix, v) }
	regex := func(v string) model.StringMatch { return text(model.MatchRegex, v) }
	for _, c := range []struct {
		root, sub model.StringMatch
		within    bool
	}{
		{any, any, true}, {any, exact("a"), true}, {prefix("/a"), any, true},
		{prefix("/a"), prefix("/a/b"), true}, {prefix("/a/b"), prefix("/a"), false}, {prefix("/a"), exact("/a"), true}, {prefix("/a"), exact("/b"), false},
		{exact("/a"), exact("/a"), true}, {exact("/a"), exact("/b"), false}, {exact("/a"), prefix("/a"), false},
		{regex("a"), regex("a"), false}, {regex("a"), exact("a"), false}, {prefix("a"), regex("a"), false}, {exact("a"), regex("a"), false},
		{present, present, true}, {present, exact("a"), true}, {exact("a"), present, false}, {prefix("a"), present, false}, {present, regex("a"), false},
	} {
		if got := !notWithin(c.root, c.sub); got != c.within {
			t.Errorf("%v in %v: %v", c.sub, c.root, got)
		}
	}
	gateways := func(names ...string) (out []model.GatewayName) {
		for _, n := range names {
			out = append(out, model.GatewayName{Kind: "Gateway", Name: model.ObjectName{Name: n}})
		}
		return out
	}
	for _, c := range []struct {
		name      string
		root, sub model.Match
		want      *model.Match // nil: they exclude each other
	}{
		{"all that there is", model.Match{Port: 80, SourceLabels: "a=b", Gateways: gateways("a", "b"), Method: exact("GET"), Headers: []model.NamedMatch{{Name: "b"}}},
			model.Match{SourceLabels: "c=d", Gateways: gateways("b"), Headers: []model.NamedMatch{{Name: "a"}, {Name: "b", Invert: true}}},
			&model.Match{Port: 80, SourceLabels: "a=b,c=d", Gateways: gateways("b"), Method: exact("GET"), Headers: []model.NamedMatch{{Name: "a"}, {Name: "b", Invert: true}, {Name: "b"}}}},
		{"namespaces", model.Match{SourceNamespace: "a"}, model.Match{SourceNamespace: "a"}, &model.Match{SourceNamespace: "a"}},
		{"other namespaces", model.Match{SourceNamespace: "a"}, model.Match{SourceNamespace: "b"}, nil},
		{"other ports", model.Match{Port: 1}, model.Match{Port: 2}, nil},
		{"other labels", model.Match{SourceLabels: "a=b"}, model.Match{SourceLabels: "a=c"}, nil},
		{"other gateways", model.Match{Gateways: gateways("a")}, model.Match{Gateways: gateways("a", "b")}, nil},
		{"other case", model.Match{Path: model.StringMatch{IgnoreCase: true}}, model.Match{}, nil},
		{"other headers", model.Match{Headers: []model.NamedMatch{{Name: "a", StringMatch: exact("x")}}}, model.Match{Headers: []model.NamedMatch{{Name: "a", StringMatch: exact("y")}}}, nil},
		{"other queries", model.Match{Query: []model.NamedMatch{{Name: "a", StringMatch: exact("x")}}}, model.Match{Query: []model.NamedMatch{{Name: "a", StringMatch: exact("y")}}}, nil},
	} {
		got, ok := bothMatch([]model.Match{c.root}, []model.Match{c.sub})
		if ok != (c.want != nil) {
			t.Errorf("%s: %+v", c.name, got)
		} else if ok {
			wantEqual(t, *c.want, got[0])
		}
	}
}
