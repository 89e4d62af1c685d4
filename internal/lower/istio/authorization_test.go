package istio

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

func (w *world) authorizations(namespace string, labels model.Labels) []*model.AuthorizationPolicy {
	w.t.Helper()
	return ask(w, func(r *derive.Reader) []*model.AuthorizationPolicy {
		return w.lowered.AuthorizationsFor(r, namespace, labels)
	})
}

func authorizationPolicy(spec string) string {
	return "kind: AuthorizationPolicy\nmetadata: {namespace: shop, name: x}\nspec: " + spec
}

func TestAuthorizationPolicy(t *testing.T) {
	w := newWorld(t)
	w.apply(`
kind: AuthorizationPolicy
metadata: {namespace: shop, name: x, annotations: {istio.io/dry-run: "true"}}
spec:
  selector: {matchLabels: {app: web}}
  action: DENY
  rules:
  - from:
    - source: {principals: ["cluster.local/ns/shop/sa/api", "*/sa/b", "a/*", "*"], notPrincipals: [x], namespaces: [shop, "te*st"], serviceAccounts: [api, other/api], ipBlocks: [10.1.2.3/16, "2001:db8::1"], remoteIpBlocks: [192.0.2.1], requestPrincipals: [iss/sub]}
    - source: {notNamespaces: [dev]}
    to:
    - operation: {hosts: ["*.shop.test"], methods: [GET], paths: [/a*, "/b/{*}/c/{**}"], ports: ["8080"], notPaths: [/a/b]}
    when:
    - {key: "request.headers[X-User]", values: [me], notValues: ["you*"]}
    - {key: "request.auth.claims[a][b-c]", values: [d]}
    - {key: "request.auth.claims[a[b]", values: [d]}
    - {key: destination.ip, notValues: [10.0.0.0/8]}
  - {}`)
	w.wantNoFindings()
	o := func(field string) model.Origin { return at("AuthorizationPolicy", "x", field) }
	exact := func(text string) model.Pattern { return model.Pattern{Text: text} }
	blocks := func(text ...string) (out []model.Pattern) {
		for i := 0; i < len(text); i += 2 {
			out = append(out, model.Pattern{Kind: model.PatternBlock, Text: text[i], Block: netip.MustParsePrefix(text[i+1])})
		}
		return out
	}
	const from, op = "spec.rules[0].from[0].source", "spec.rules[0].to[0].operation"
	wantEqual(t, []*model.AuthorizationPolicy{{
		Name: model.ObjectName(shop("x")), Action: model.AuthorizationDeny, DryRun: true, Origin: o(""),
		Rules: []model.AuthorizationRule{{
			Origin: o("spec.rules[0]"),
			From: []model.Clause{{Origin: o(from), All: []model.Condition{
				{Attribute: model.AttributePrincipal, Origin: o(from + ".principals"), Values: []model.Pattern{
					exact("cluster.local/ns/shop/sa/api"), {Kind: model.PatternSuffix, Text: "/sa/b"}, {Kind: model.PatternPrefix, Text: "a/"}, {Kind: model.PatternPresent},
				}, NotValues: []model.Pattern{exact("x")}},
				{Attribute: model.AttributeRequestPrincipal, Origin: o(from + ".requestPrincipals"), Values: []model.Pattern{{Kind: model.PatternToken, Text: "iss/sub"}}},
				{Attribute: model.AttributeAccount, Origin: o(from + ".serviceAccounts"), Values: []model.Pattern{exact("shop/api"), exact("other/api")}},
				{Attribute: model.AttributeNamespace, Origin: o(from + ".namespaces"), Values: []model.Pattern{exact("shop"), {Kind: model.PatternGlob, Text: "te*st"}}},
				{Attribute: model.AttributeRemoteIP, Origin: o(from + ".remoteIpBlocks"), Values: blocks("192.0.2.1", "192.0.2.1/32")},
				{Attribute: model.AttributeSourceIP, Origin: o(from + ".ipBlocks"), Values: blocks("10.1.2.3/16", "10.1.0.0/16", "2001:db8::1", "2001:db8::1/128")},
			}}, {Origin: o("spec.rules[0].from[1].source"), All: []model.Condition{
				{Attribute: model.AttributeNamespace, Origin: o("spec.rules[0].from[1].source.notNamespaces"), NotValues: []model.Pattern{exact("dev")}},
			}}},
			To: []model.Clause{{Origin: o(op), All: []model.Condition{
				{Attribute: model.AttributeHost, Origin: o(op + ".hosts"), Values: []model.Pattern{{Kind: model.PatternSuffix, Text: ".shop.test"}}},
				{Attribute: model.AttributeMethod, Origin: o(op + ".methods"), Values: []model.Pattern{exact("GET")}},
				{Attribute: model.AttributePath, Origin: o(op + ".paths"), Values: []model.Pattern{{Kind: model.PatternPrefix, Text: "/a"}, {Kind: model.PatternTemplate, Text: "/b/{*}/c/{**}"}},
					NotValues: []model.Pattern{exact("/a/b")}},
				{Attribute: model.AttributePort, Origin: o(op + ".ports"), Values: []model.Pattern{{Kind: model.PatternPort, Text: "8080", Port: 8080}}},
			}}},
			When: []model.Condition{
				{Attribute: model.AttributeHeader, Path: []string{"x-user"}, Origin: o("spec.rules[0].when[0]"), Values: []model.Pattern{exact("me")}, NotValues: []model.Pattern{{Kind: model.PatternPrefix, Text: "you"}}},
				{Attribute: model.AttributeClaim, Path: []string{"a", "b-c"}, Origin: o("spec.rules[0].when[1]"), Values: []model.Pattern{exact("d")}},
				{Attribute: model.AttributeClaim, Path: []string{"a[b"}, Origin: o("spec.rules[0].when[2]"), Values: []model.Pattern{exact("d")}},
				{Attribute: model.AttributeDestinationIP, Origin: o("spec.rules[0].when[3]"), NotValues: blocks("10.0.0.0/8", "10.0.0.0/8")},
			},
		}, {Index: 1, Origin: o("spec.rules[1]")}},
	}}, w.authorizations("shop", "app=web,v=1"))
	for k, labels := range map[string]model.Labels{"shop": "app=api", "other": "app=web"} {
		if got := w.authorizations(k, labels); got != nil {
			t.Errorf("%s %s has %v", k, labels, got[0])
		}
	}
}

// Whose policies are for a workload.
func TestWhichAuthorizationPoliciesHold(t *testing.T) {
	w := newWorld(t)
	for _, o := range []string{
		"{namespace: shop, name: young, creationTimestamp: '2020-01-02T00:00:00Z'}\nspec: {}", "{namespace: shop, name: old, creationTimestamp: '2020-01-01T00:00:00Z'}\nspec: {}",
		"{namespace: istio-system, name: mesh, creationTimestamp: '2020-01-03T00:00:00Z'}\nspec: {}", "{namespace: istio-system, name: mesh-web}\nspec: {selector: {matchLabels: {app: web}}}",
		"{namespace: other, name: other}\nspec: {}", "{namespace: shop, name: api}\nspec: {selector: {matchLabels: {app: api}}}",
		"{namespace: shop, name: gw}\nspec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]}",
		"{namespace: shop, name: gw-old}\nspec: {targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: gw}}",
	} {
		w.apply("kind: AuthorizationPolicy\nmetadata: " + o)
	}
	w.wantNoFindings()
	const gateway = "app=api," + gatewayLabel + "=gw"
	for labels, want := range map[model.Labels]string{"app=web": "mesh-web mesh old young", "": "mesh old young", "app=api": "mesh api old young", gateway: "mesh api gw gw-old old young"} {
		var names []string
		for _, p := range w.authorizations("shop", labels) {
			names = append(names, p.Name.Name)
		}
		wantEqual(t, want, strings.Join(names, " "))
	}
	if got := w.authorizations("istio-system", "app=web"); len(got) != 2 {
		t.Errorf("the root namespace's own workloads have %d", len(got))
	}
}

// What cannot be read lets in less, denies more, and costs no other rule.
func TestAuthorizationThatCannotBeRead(t *testing.T) {
	allow := func(rule string) string { return "{rules: [" + rule + ", {}]}" }
	deny := func(rule string) string { return "{action: DENY, rules: [" + rule + ", {}]}" }
	const rule = "spec.rules[0]."
	for _, c := range []struct {
		name, spec string
		rules      int // of which are left; -1: the policy is for nothing
		conditions int // in the first
		found      []string
	}{
		{"a block that is none, allowed", allow("{from: [{source: {ipBlocks: [10.0.0.0/8, 10.0.0.0/33]}}]}"), 1, 0, []string{"error " + rule + "from[0].source.ipBlocks[1] (invalid-match)"}},
		{"a block that is none, denied", deny("{from: [{source: {ipBlocks: [10.0.0.0/8, x], notIpBlocks: ['fe80::1%a']}}]}"), 2, 1, []string{
			"error " + rule + "from[0].source.ipBlocks[1] (invalid-match)", "error " + rule + "from[0].source.notIpBlocks[0] (invalid-match)"}},
		{"nothing but blocks that are none, denied", deny("{from: [{source: {ipBlocks: [x]}}]}"), 2, 0, []string{"error " + rule + "from[0].source.ipBlocks[0] (invalid-match)"}},
		{"an unknown key, allowed", allow("{when: [{key: source.colour, values: [red]}]}"), 1, 0, []string{"error " + rule + "when[0].key (invalid-match)"}},
		{"an unknown key, denied", deny("{when: [{key: source.colour, values: [red]}, {key: source.ip, values: [10.0.0.1]}]}"), 2, 1, []string{"error " + rule + "when[0].key (invalid-match)"}},
		{"keys that are none", allow("{when: [{values: [a]}, {key: 'request.headers[]', values: [a]}, {key: 'request.headers[a b]', values: [a]}, {key: request.auth.claims, values: [a]}, {key: source.ip}]}"), 1, 0, []string{
			"error " + rule + "when[0].key (missing-field)", "error " + rule + "when[1].key (invalid-match)", "error " + rule + "when[2].key (invalid-header)",
			"error " + rule + "when[3].key (invalid-match)", "error " + rule + "when[4] (missing-field)"}},
		{"a source of nobody in particular, allowed", allow("{from: [{source: {}}, {}]}"), 1, 0, []string{"error " + rule + "from[0].source (missing-field)", "error " + rule + "from[1].source (missing-field)"}},
		{"a source of nobody in particular, denied", deny("{from: [{source: {}}]}"), 2, 0, []string{"error " + rule + "from[0].source (missing-field)"}},
		{"an operation of nothing in particular", allow("{to: [{operation: {}}]}"), 1, 0, []string{"error " + rule + "to[0].operation (missing-field)"}},
		{"values that are none", allow("{to: [{operation: {ports: ['70000', x], methods: [''], paths: ['/{x}', '{*}', '/{**}/{*}', '/a b/{*}', '//{*}']}}], from: [{source: {serviceAccounts: ['*', a/b/c, '']}}]}"), 1, 0, []string{
			"error " + rule + "from[0].source.serviceAccounts[0] (invalid-match)", "error " + rule + "from[0].source.serviceAccounts[1] (invalid-match)", "error " + rule + "from[0].source.serviceAccounts[2] (invalid-match)",
			"error " + rule + "to[0].operation.methods[0] (invalid-match)",
			"error " + rule + "to[0].operation.paths[0] (invalid-match)", "error " + rule + "to[0].operation.paths[1] (invalid-match)", "error " + rule + "to[0].operation.paths[2] (invalid-match)",
			"error " + rule + "to[0].operation.paths[3] (invalid-match)", "error " + rule + "to[0].operation.paths[4] (invalid-match)",
			"error " + rule + "to[0].operation.ports[0] (invalid-match)", "error " + rule + "to[0].operation.ports[1] (invalid-match)"}},
		{"stars that are none", allow("{from: [{source: {principals: ['a*b', '*/ns/*'], requestPrincipals: ['*/*', 'i/s*x', '*', 'i/*']}}]}"), 2, 2, []string{
			"warning " + rule + "from[0].source.principals[0] (invalid-match)", "warning " + rule + "from[0].source.principals[1] (invalid-match)",
			"warning " + rule + "from[0].source.requestPrincipals[0] (invalid-match)", "warning " + rule + "from[0].source.requestPrincipals[1] (invalid-match)"}},
		{"a principal in the form of certificates", allow("{from: [{source: {principals: ['spiffe://cluster.local/ns/a/sa/b']}}]}"), 2, 1, []string{"warning " + rule + "from[0].source.principals[0] (no-effect)"}},
		{"rules that allow nothing are fine", "{}", 0, 0, nil},
		{"rules that deny nothing are not", "{action: DENY}", 0, 0, []string{"warning spec.rules (no-effect)"}},
		{"somebody else to ask", "{action: CUSTOM, provider: {name: opa}, rules: [{}]}", 1, 0, []string{"error spec.action (unsupported)"}},
		{"somebody to ask for nothing", "{provider: {name: opa}, rules: [{}]}", 1, 0, []string{"warning spec.provider (no-effect)"}},
		{"an action of tomorrow", "{action: 9, rules: [{}]}", 1, 0, []string{"error spec.action (invalid-value)"}},
		{"targets", "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}, {group: gateway.networking.k8s.io, kind: Gateway, name: a, namespace: b}, {group: gateway.networking.k8s.io, kind: Gateway}]}", -1, 0, []string{
			"error spec.selector (conflicting-fields)", "error spec.targetRefs[0].kind (unsupported)", "error spec.targetRefs[1].namespace (unsupported)", "error spec.targetRefs[2].name (missing-field)"}},
		{"a selector that can pick nothing", "{selector: {matchLabels: {'a b': c}}}", -1, 0, []string{"error spec.selector.matchLabels[a b] (invalid-selector)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(authorizationPolicy(c.spec))
			wantEqual(t, c.found, w.brief("AuthorizationPolicy shop/x "))
			got := w.authorizations("shop", "app=web")
			if c.rules < 0 {
				if len(got) != 0 {
					t.Errorf("it is for somebody: %+v", got[0])
				}
				return
			}
			if len(got) != 1 || len(got[0].Rules) != c.rules {
				t.Fatalf("%+v", got)
			}
			n := 0
			if len(got[0].Rules) > 0 {
				for _, clause := range append(got[0].Rules[0].From, got[0].Rules[0].To...) {
					n += len(clause.All)
				}
				n += len(got[0].Rules[0].When)
			}
			if n != c.conditions {
				t.Errorf("%d conditions are left, want %d", n, c.conditions)
			}
		})
	}
}

// A cluster that calls itself otherwise is meant by cluster.local too.
func TestPrincipalsOfTheLocalTrustDomain(t *testing.T) {
	for in, want := range map[string]string{
		"cluster.local/ns/a/sa/b": "td/ns/a/sa/b", "other/ns/a/sa/b": "other/ns/a/sa/b", "*/ns/a/sa/b": "*/ns/a/sa/b", "cluster.local/*": "cluster.local/*",
	} {
		if got := (Options{TrustDomain: "td"}).localTrustDomain(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
