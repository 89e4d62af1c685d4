package istio

import (
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/model"
)

var public = model.GatewayName{Kind: "Gateway", Name: model.ObjectName{Namespace: "shop", Name: "public"}}

func ptr[T any](v T) *T { return &v }

// vs is the origin of a field of VirtualService shop/web.
func vs(field string) model.Origin { return at("VirtualService", "web", field) }

// Every field of a rule that sends requests on, in one object.
func TestRuleLowersWhole(t *testing.T) {
	w := newWorld(t)
	w.apply(virtualService(`
  - name: all
    match:
    - name: first
      uri: {prefix: /API}
      ignoreUriCase: true
      scheme: {exact: https}
      method: {regex: "GET|HEAD"}
      authority: {prefix: web.}
      headers: {X-User: {exact: me}, cookie: {regex: "^(.*;)?a=b.*"}, x-there: {}}
      withoutHeaders: {x-Not: {prefix: a}, x-never: {regex: "*"}}
      queryParams: {Debug: {exact: "1"}}
      port: 80
      gateways: [public, mesh]
    - {sourceLabels: {app: a, z: b}, sourceNamespace: shop}
    route:
    - destination: {host: web, port: {number: 8080}, subset: v1}
      weight: 90
      headers: {request: {set: {X-To: a}}, response: {add: {x-from: "%UPSTREAM_REMOTE_ADDRESS%"}, remove: [Server]}}
    - {destination: {host: web.other.svc.cluster.local}, weight: 10}
    rewrite: {uri: /, authority: inner.example.org}
    timeout: 5s
    retries: {attempts: 3, perTryTimeout: 500ms, retryOn: "gateway-error, 429", retryRemoteLocalities: false, retryIgnorePreviousHosts: false, backoff: 10ms}
    fault:
      delay: {percentage: {value: 0.5}, fixedDelay: 7s}
      abort: {percentage: {value: 100}, grpcStatus: UNAVAILABLE}
    mirrors: [{destination: {host: copy}, percentage: {value: 12.5}}, {destination: {host: more, port: {number: 81}}}]
    corsPolicy:
      allowOrigins: [{exact: "https://a.example"}, {regex: ".*"}]
      allowMethods: [GET, POST]
      allowHeaders: [x-a]
      exposeHeaders: [x-b]
      maxAge: 24h
      allowCredentials: false
      unmatchedPreflights: IGNORE
    headers: {request: {set: {b: "2", A: "1"}, add: {C: "3"}, remove: [D]}, response: {set: {e: "%START_TIME(%s)%"}}}`))
	w.wantNoMoreThan(`warning VirtualService shop/web spec.http[0].match[0].gateways[1]: spec.gateways does not name "mesh", so that the match never holds there (no-effect)`)
	want := model.Route{
		Name: "all", Origin: vs("spec.http[0]"),
		Matches: []model.Match{{
			Name: "first", Path: model.StringMatch{Kind: model.MatchPrefix, Value: "/API", IgnoreCase: true},
			Scheme: model.StringMatch{Kind: model.MatchExact, Value: "https"}, Method: model.StringMatch{Kind: model.MatchRegex, Value: "GET|HEAD"},
			Authority: model.StringMatch{Kind: model.MatchPrefix, Value: "web."},
			Headers: []model.NamedMatch{
				{Name: "cookie", StringMatch: model.StringMatch{Kind: model.MatchRegex, Value: "^(.*;)?a=b.*"}},
				{Name: "x-there", StringMatch: model.StringMatch{Kind: model.MatchPresent}},
				{Name: "x-user", StringMatch: model.StringMatch{Kind: model.MatchExact, Value: "me"}},
				{Name: "x-never", StringMatch: model.StringMatch{Kind: model.MatchPresent}, Invert: true},
				{Name: "x-not", StringMatch: model.StringMatch{Kind: model.MatchPrefix, Value: "a"}, Invert: true},
			},
			Query: []model.NamedMatch{{Name: "Debug", StringMatch: model.StringMatch{Kind: model.MatchExact, Value: "1"}}},
			Port:  80, Gateways: []model.GatewayName{public, {Kind: model.Mesh}}, Origin: vs("spec.http[0].match[0]"),
		}, {SourceLabels: "app=a,z=b", SourceNamespace: "shop", Origin: vs("spec.http[0].match[1]")}},
		To: []model.Weighted{{
			Destination: model.Destination{Host: "web.shop.svc.cluster.local", Port: 8080, Subset: "v1"}, Weight: 90, Origin: vs("spec.http[0].route[0]"),
			Request:  model.HeaderOps{Set: []model.HeaderValue{{Name: "x-to", Value: "a"}}},
			Response: model.HeaderOps{Add: []model.HeaderValue{{Name: "x-from", Value: "%UPSTREAM_REMOTE_ADDRESS%"}}, Remove: []string{"server"}},
		}, {Destination: model.Destination{Host: "web.other.svc.cluster.local"}, Weight: 10, Origin: vs("spec.http[0].route[1]")}},
		Rewrite: &model.Rewrite{Prefix: "/", HasPrefix: true, Authority: "inner.example.org"},
		Timeout: 5 * time.Second,
		Retry:   &model.Retry{Attempts: 3, PerTry: 500 * time.Millisecond, On: "gateway-error,429", IgnorePrior: true, Backoff: 10 * time.Millisecond},
		Fault:   &model.Fault{Delay: 7 * time.Second, DelayShare: 0.5, AbortGRPC: ptr(uint32(14)), AbortShare: 100},
		Mirrors: []model.Mirror{
			{Destination: model.Destination{Host: "copy.shop.svc.cluster.local"}, Share: 12.5, Origin: vs("spec.http[0].mirrors[0]")},
			{Destination: model.Destination{Host: "more.shop.svc.cluster.local", Port: 81}, Share: 100, Origin: vs("spec.http[0].mirrors[1]")},
		},
		CORS: &model.CORS{
			Origins: []model.StringMatch{{Kind: model.MatchExact, Value: "https://a.example"}, {Kind: model.MatchRegex, Value: ".*"}},
			Methods: []string{"GET", "POST"}, Headers: []string{"x-a"}, Expose: []string{"x-b"}, MaxAge: 24 * time.Hour, Credentials: ptr(false),
		},
		Request: model.HeaderOps{
			Set: []model.HeaderValue{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}}, Add: []model.HeaderValue{{Name: "c", Value: "3"}}, Remove: []string{"d"},
		},
		Response: model.HeaderOps{Set: []model.HeaderValue{{Name: "e", Value: "%START_TIME(%s)%"}}},
	}
	wantEqual(t, &model.RouteSet{
		Hosts: []string{"web.example.org"}, Gateways: []model.GatewayName{public}, Exported: []string{"*"}, HTTP: []model.Route{want},
		Seniority: model.Seniority{Kind: "VirtualService", Name: model.ObjectName(shop("web"))}, Origin: vs(""),
	}, w.routes("web"))
}

// What else a rule can do. Each is the only rule of a VirtualService, and nothing is found.
func TestRules(t *testing.T) {
	web := []model.Weighted{{Destination: model.Destination{Host: "web.shop.svc.cluster.local"}, Origin: vs("spec.http[0].route[0]")}}
	const toWeb = "route: [{destination: {host: web}}]"
	for _, c := range []struct {
		name, rule string
		want       model.Route
	}{
		{"redirect of everything", "redirect: {uri: /new, authority: b.example, redirectCode: 308}",
			model.Route{Redirect: &model.Redirect{Status: 308, Path: "/new", Authority: "b.example"}}},
		{"redirect of a prefix", "redirect: {prefixRewrite: /new}", model.Route{Redirect: &model.Redirect{Status: 301, Prefix: "/new", HasPrefix: true}}},
		{"redirect to https and its port", "redirect: {scheme: https, port: 443}", model.Route{Redirect: &model.Redirect{Status: 301, Scheme: "https"}}},
		{"redirect to https and another port", "redirect: {scheme: https, port: 8443}", model.Route{Redirect: &model.Redirect{Status: 301, Scheme: "https", Port: 8443}}},
		{"redirect that keeps the port", "redirect: {authority: b, derivePort: FROM_REQUEST_PORT}",
			model.Route{Redirect: &model.Redirect{Status: 301, Authority: "b", ListenerPort: true}}},
		{"redirect to the port of the protocol", "redirect: {derivePort: FROM_PROTOCOL_DEFAULT}", model.Route{Redirect: &model.Redirect{Status: 301}}},
		{"answer", `directResponse: {status: 503, body: {string: "later"}}`, model.Route{Respond: &model.DirectResponse{Status: 503, Body: "later"}}},
		{"answer with bytes", `directResponse: {status: 200, body: {bytes: aGk=}}`, model.Route{Respond: &model.DirectResponse{Status: 200, Body: "hi"}}},
		{"rewrite by regular expression", toWeb + "\n    rewrite: {uriRegexRewrite: {match: ^/a/(.*), rewrite: '/b/\\1'}}",
			model.Route{To: web, Rewrite: &model.Rewrite{Regex: "^/a/(.*)", Substitution: `/b/\1`}}},
		{"authority by header", toWeb + "\n    headers: {request: {set: {Host: a.example}}}", model.Route{To: web, Rewrite: &model.Rewrite{Authority: "a.example"}}},
		{"authority by a destination's header", "route: [{destination: {host: web}, headers: {request: {set: {':authority': a.example}}}}]",
			model.Route{To: web, Rewrite: &model.Rewrite{Authority: "a.example"}}},
		{"no retries", toWeb + "\n    retries: {attempts: 0}", model.Route{To: web, Retry: &model.Retry{}}},
		{"retries by default conditions", toWeb + "\n    retries: {attempts: 1}",
			model.Route{To: web, Retry: &model.Retry{Attempts: 1}}},
		{"mirror", toWeb + "\n    mirror: {host: copy}", model.Route{To: web,
			Mirrors: []model.Mirror{{Destination: model.Destination{Host: "copy.shop.svc.cluster.local"}, Share: 100, Origin: vs("spec.http[0].mirror")}}}},
		{"mirror of some", toWeb + "\n    mirror: {host: copy}\n    mirror_percent: 5", model.Route{To: web,
			Mirrors: []model.Mirror{{Destination: model.Destination{Host: "copy.shop.svc.cluster.local"}, Share: 5, Origin: vs("spec.http[0].mirror")}}}},
		{"mirror of none", toWeb + "\n    mirror: {host: copy}\n    mirrorPercentage: {value: 0}", model.Route{To: web}},
		{"fault by status", toWeb + "\n    fault: {abort: {httpStatus: 418, percentage: {value: 1}}}", model.Route{To: web, Fault: &model.Fault{AbortStatus: 418, AbortShare: 1}}},
		{"origins of old", toWeb + "\n    corsPolicy: {allowOrigin: ['*']}", model.Route{To: web,
			CORS: &model.CORS{Origins: []model.StringMatch{{Kind: model.MatchExact, Value: "*"}}, ForwardOthers: true}}},
		{"a destination at an address", "route: [{destination: {host: 192.0.2.1, port: {number: 80}}}]",
			model.Route{To: []model.Weighted{{Destination: model.Destination{Host: "192.0.2.1", Port: 80}, Origin: vs("spec.http[0].route[0]")}}}},
		{"a percent sign", toWeb + "\n    headers: {response: {set: {a: 100%%}}}", model.Route{To: web, Response: model.HeaderOps{Set: []model.HeaderValue{{Name: "a", Value: "100%%"}}}}},
		{"a match of everything", "match: [{}]\n    " + toWeb, model.Route{Matches: []model.Match{{Origin: vs("spec.http[0].match[0]")}}, To: web}},
		{"an empty prefix", "match: [{uri: {prefix: ''}}]\n    " + toWeb,
			model.Route{Matches: []model.Match{{Path: model.StringMatch{Kind: model.MatchPrefix}, Origin: vs("spec.http[0].match[0]")}}, To: web}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(virtualService("\n  - " + c.rule))
			w.wantNoFindings()
			c.want.Origin = vs("spec.http[0]")
			wantEqual(t, []model.Route{c.want}, w.routes("web").HTTP)
		})
	}
}

func TestHostsAndGateways(t *testing.T) {
	const head = "kind: VirtualService\nmetadata: {namespace: shop, name: web}\nspec:\n  http: [{route: [{destination: {host: web}}]}]\n"
	gateway := func(ns, name string) model.GatewayName {
		return model.GatewayName{Kind: "Gateway", Name: model.ObjectName{Namespace: ns, Name: name}}
	}
	mesh := model.GatewayName{Kind: model.Mesh}
	for _, c := range []struct {
		name, spec      string
		hosts           []string
		gateways        []model.GatewayName
		exported, found []string
	}{
		{"sidecars by default, short names", "  hosts: [web, Other.Example., 192.0.2.1]", []string{"web.shop.svc.cluster.local", "other.example", "192.0.2.1"}, []model.GatewayName{mesh}, []string{"*"}, nil},
		{"all forms of gateways", "  hosts: ['*']\n  gateways: [mesh, b, ./c, other/a, old.there.svc.cluster.local, b]\n  exportTo: [., b, a]", []string{"*"},
			[]model.GatewayName{gateway("other", "a"), gateway("shop", "b"), gateway("shop", "c"), gateway("there", "old"), mesh}, []string{"a", "b", "shop"},
			[]string{
				"warning VirtualService shop/web spec.gateways[1]: Gateway shop/b does not exist (missing-gateway)",
				"warning VirtualService shop/web spec.gateways[2]: Gateway shop/c does not exist (missing-gateway)",
				"warning VirtualService shop/web spec.gateways[3]: Gateway other/a does not exist (missing-gateway)",
				"warning VirtualService shop/web spec.gateways[4]: Gateway there/old does not exist (missing-gateway)",
				"warning VirtualService shop/web spec.gateways[5]: Gateway shop/b does not exist (missing-gateway)",
			}},
		{"bad hosts cost only themselves", "  hosts: [a..b, '*', '*.a.example', x.a.example, '*-b.example', ok.example]\n  exportTo: ['*', a, 'a b', '*']",
			[]string{"*.a.example", "ok.example"}, []model.GatewayName{mesh}, []string{"*"}, []string{
				`error VirtualService shop/web spec.exportTo[2]: "a b" is neither a namespace nor "." nor "*"; it is left out (invalid-export)`,
				`error VirtualService shop/web spec.hosts[0]: "a..b" is no DNS name: label ""; it is left out (invalid-host)`,
				`error VirtualService shop/web spec.hosts[1]: "*" is for gateways only, and no gateway is named (invalid-host)`,
				`error VirtualService shop/web spec.hosts[3]: "x.a.example" is said already; it is left out (doubled)`,
				`error VirtualService shop/web spec.hosts[4]: "*-b.example" has a wildcard that is not a whole label; it is left out (invalid-host)`,
				`warning VirtualService shop/web spec.exportTo[3]: "*" is named before (doubled)`,
			}},
		{"an export that cannot be read opens nothing", "  hosts: [web]\n  exportTo: ['~']", []string{"web.shop.svc.cluster.local"}, []model.GatewayName{mesh}, nil, []string{
			`error VirtualService shop/web spec.exportTo[0]: "~" is neither a namespace nor "." nor "*"; it is left out (invalid-export)`,
		}},
		{"a gateway that is none", "  hosts: [web]\n  gateways: [a/b/c]", []string{"web.shop.svc.cluster.local"}, []model.GatewayName{}, []string{"*"}, []string{
			`error VirtualService shop/web spec.gateways[0]: "a/b/c" is not NAME, NAMESPACE/NAME or mesh; it is left out (invalid-gateway)`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(head + c.spec)
			set := w.routes("web")
			wantEqual(t, c.hosts, set.Hosts)
			wantEqual(t, c.gateways, set.Gateways)
			wantEqual(t, c.exported, set.Exported)
			wantEqual(t, c.found, w.findings())
		})
	}
}

func TestConnectionsLowerWhole(t *testing.T) {
	w := newWorld(t)
	w.apply(`
kind: Gateway
metadata: {namespace: shop, name: public}
spec: {servers: [{port: {number: 443, name: tls, protocol: TLS}, tls: {mode: PASSTHROUGH}, hosts: ["*.example.org"]}]}
---
kind: VirtualService
metadata: {namespace: shop, name: web}
spec:
  hosts: ["*.example.org"]
  gateways: [public]
  tls:
  - match: [{port: 443, sniHosts: [a.example.org, "*.b.example.org"], gateways: [public]}, {sniHosts: [c.example.org], sourceLabels: {app: a}, sourceNamespace: shop}]
    route: [{destination: {host: a, port: {number: 8443}}, weight: 3}, {destination: {host: b}, weight: 1}]
  tcp:
  - match: [{port: 27017, sourceLabels: {app: a}, sourceNamespace: shop, gateways: [public]}]
    route: [{destination: {host: mongo, subset: v1}}]
  - route: [{destination: {host: rest}}]`)
	w.wantNoFindings()
	set := w.routes("web")
	wantEqual(t, []model.L4Route{{
		Matches: []model.L4Match{
			{SNI: []string{"a.example.org", "*.b.example.org"}, Port: 443, Gateways: []model.GatewayName{public}, Origin: vs("spec.tls[0].match[0]")},
			{SNI: []string{"c.example.org"}, SourceLabels: "app=a", SourceNamespace: "shop", Origin: vs("spec.tls[0].match[1]")},
		},
		To: []model.Weighted{
			{Destination: model.Destination{Host: "a.shop.svc.cluster.local", Port: 8443}, Weight: 3, Origin: vs("spec.tls[0].route[0]")},
			{Destination: model.Destination{Host: "b.shop.svc.cluster.local"}, Weight: 1, Origin: vs("spec.tls[0].route[1]")},
		},
		Origin: vs("spec.tls[0]"),
	}}, set.TLS)
	wantEqual(t, []model.L4Route{
		{
			Matches: []model.L4Match{{Port: 27017, SourceLabels: "app=a", SourceNamespace: "shop", Gateways: []model.GatewayName{public}, Origin: vs("spec.tcp[0].match[0]")}},
			To:      []model.Weighted{{Destination: model.Destination{Host: "mongo.shop.svc.cluster.local", Subset: "v1"}, Origin: vs("spec.tcp[0].route[0]")}},
			Origin:  vs("spec.tcp[0]"),
		},
		{To: []model.Weighted{{Destination: model.Destination{Host: "rest.shop.svc.cluster.local"}, Origin: vs("spec.tcp[1].route[0]")}}, Origin: vs("spec.tcp[1]")},
	}, set.TCP)
}
