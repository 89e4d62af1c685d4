package authz

import (
	"net/netip"
	"strings"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/proxy/message"
)

func parse(t *testing.T, text string) (*Rules, error) {
	t.Helper()
	m := &rbacv3.RBAC{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return New(m)
}

func rules(t *testing.T, text string) *Rules {
	t.Helper()
	r, err := parse(t, text)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return r
}

// one is rules of one policy.
func one(action, permission, principal string) string {
	return `{"action":"` + action + `","policies":{"p":{"permissions":[` + permission + `],"principals":[` + principal + `]}}}`
}

const anybody = `{"any":true}`

// bookshop is a request from the Deployment "front" to "orders", over mutual TLS and with a token.
func bookshop() *message.Info {
	x := &message.Info{
		Request: &message.Request{Method: "POST", Authority: "orders.shop:8080", Path: "/v1/orders/7?full=1", Scheme: "http"},
		Client:  netip.MustParseAddrPort("203.0.113.9:0"), Source: netip.MustParseAddrPort("10.1.0.4:41000"), Peer: netip.MustParseAddrPort("10.1.0.5:41000"),
		Local: netip.MustParseAddrPort("10.2.0.7:8080"), ServerName: "outbound_.80_._.orders.shop.svc.cluster.local",
		Secure: true, PeerURISAN: "spiffe://cluster.local/ns/shop/sa/front", PeerNames: []string{"spiffe://cluster.local/ns/shop/sa/front", "front.shop"}, PeerSubject: "O=weft",
	}
	x.Request.Fields.Add("x-team", "red")
	x.Request.Fields.Add("x-team", "blue")
	x.SetMetadata("envoy.filters.http.jwt_authn", "payload", map[string]any{
		"iss": "https://id.example", "sub": "ann", "aud": []any{"shop", "web"}, "level": 3.0, "admin": true, "none": nil,
		"groups": map[string]any{"all": []any{"staff"}},
	})
	return x
}

// plain is a connection without TLS, and without a request.
func plain() *message.Info {
	return &message.Info{
		Client: netip.MustParseAddrPort("10.1.0.6:41000"), Source: netip.MustParseAddrPort("10.1.0.6:41000"), Peer: netip.MustParseAddrPort("10.1.0.6:41000"),
		Local: netip.MustParseAddrPort("[fd00::7]:5432"),
	}
}

func TestPermissions(t *testing.T) {
	claim := func(key, value string) string {
		return `{"metadata":{"filter":"envoy.filters.http.jwt_authn","path":[{"key":"payload"},` + key + `],"value":` + value + `}}`
	}
	for _, c := range []struct {
		permission      string
		request, stream bool // whether bookshop and plain match
	}{
		{anybody, true, true},
		{`{"header":{"name":":method","string_match":{"exact":"POST"}}}`, true, false},
		{`{"header":{"name":":method","string_match":{"exact":"GET"}}}`, false, false},
		{`{"header":{"name":":authority","string_match":{"prefix":"ORDERS","ignore_case":true}}}`, true, false},
		{`{"header":{"name":":authority","string_match":{"exact":"orders.shop"}}}`, false, false},
		{`{"header":{"name":":path","string_match":{"suffix":"full=1"}}}`, true, false},
		{`{"header":{"name":"x-team","string_match":{"exact":"red,blue"}}}`, false, false},
		{`{"header":{"name":"x-team","string_match":{"exact":"red"}}}`, true, false},
		{`{"header":{"name":"x-team","string_match":{"exact":"blue"}}}`, true, false},
		{`{"header":{"name":"x-team","string_match":{"exact":"blue"},"invert_match":true}}`, false, false},
		{`{"header":{"name":"x-none","present_match":true}}`, false, false},
		{`{"not_rule":{"header":{"name":"x-none","present_match":true}}}`, true, true},
		{`{"url_path":{"path":{"exact":"/v1/orders/7"}}}`, true, false},
		{`{"url_path":{"path":{"exact":"/v1/orders/7?full=1"}}}`, false, false},
		{`{"url_path":{"path":{"prefix":"/v1/"}}}`, true, false},
		{`{"url_path":{"path":{"suffix":"/7"}}}`, true, false},
		{`{"url_path":{"path":{"safe_regex":{"regex":".+"}}}}`, true, false},
		{`{"not_rule":{"url_path":{"path":{"prefix":"/"}}}}`, false, true},
		{formed("/v1/*/*"), true, false},
		{formed("/v1/{kind}/7"), true, false},
		{formed("/v1/**"), true, false},
		{formed("/v1/*"), false, false},
		{formed("/v2/**"), false, false},
		{formed("/**/7"), true, false},
		{`{"destination_port":8080}`, true, false},
		{`{"destination_port":5432}`, false, true},
		{`{"destination_port_range":{"start":5000,"end":6000}}`, false, true},
		{`{"destination_port_range":{"start":8081,"end":9000}}`, false, false},
		{`{"destination_ip":{"address_prefix":"10.2.0.0","prefix_len":16}}`, true, false},
		{`{"destination_ip":{"address_prefix":"fd00::","prefix_len":64}}`, false, true},
		{`{"destination_ip":{"address_prefix":"10.2.0.8","prefix_len":32}}`, false, false},
		{`{"requested_server_name":{"suffix":".orders.shop.svc.cluster.local"}}`, true, false},
		{`{"requested_server_name":{"exact":""}}`, false, true},
		{`{"and_rules":{"rules":[{"destination_port":8080},{"url_path":{"path":{"prefix":"/v1"}}}]}}`, true, false},
		{`{"and_rules":{"rules":[{"destination_port":8080},{"url_path":{"path":{"prefix":"/v2"}}}]}}`, false, false},
		{`{"or_rules":{"rules":[{"destination_port":5432},{"url_path":{"path":{"prefix":"/v1"}}}]}}`, true, true},
		{claim(`{"key":"sub"}`, `{"string_match":{"exact":"ann"}}`), true, false},
		{claim(`{"key":"sub"}`, `{"string_match":{"exact":"bob"}}`), false, false},
		{claim(`{"key":"sub"}`, `{"list_match":{"one_of":{"string_match":{"exact":"ann"}}}}`), false, false},
		{claim(`{"key":"aud"}`, `{"list_match":{"one_of":{"string_match":{"exact":"web"}}}}`), true, false},
		{claim(`{"key":"aud"}`, `{"string_match":{"exact":"web"}}`), false, false},
		{claim(`{"key":"aud"}`, `{"or_match":{"value_matchers":[{"list_match":{"one_of":{"string_match":{"exact":"web"}}}},{"string_match":{"exact":"web"}}]}}`), true, false},
		{claim(`{"key":"groups"},{"key":"all"}`, `{"list_match":{"one_of":{"string_match":{"exact":"staff"}}}}`), true, false},
		{claim(`{"key":"groups"},{"key":"none"}`, `{"present_match":true}`), false, false},
		{claim(`{"key":"level"}`, `{"double_match":{"exact":3}}`), true, false},
		{claim(`{"key":"level"}`, `{"double_match":{"range":{"start":1,"end":3}}}`), false, false},
		{claim(`{"key":"admin"}`, `{"bool_match":true}`), true, false},
		{claim(`{"key":"none"}`, `{"null_match":{}}`), true, false},
		{claim(`{"key":"missing"}`, `{"null_match":{}}`), false, false},
		{`{"metadata":{"filter":"other","path":[{"key":"x"}],"value":{"present_match":true},"invert":true}}`, true, true},
		{`{"sourced_metadata":{"metadata_matcher":{"filter":"other","path":[{"key":"x"}],"value":{"present_match":true}}}}`, false, false},
	} {
		r := rules(t, one("ALLOW", c.permission, anybody))
		if got := r.Decide(bookshop()).Allowed; got != c.request {
			t.Errorf("%s: %t for the request", c.permission, got)
		}
		if got := r.Decide(plain()).Allowed; got != c.stream {
			t.Errorf("%s: %t for the connection", c.permission, got)
		}
	}
}

func formed(text string) string {
	return `{"uri_template":{"name":"uri-template","typed_config":{"@type":"type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","path_template":"` + text + `"}}}`
}

func TestPrincipals(t *testing.T) {
	for _, c := range []struct {
		principal       string
		request, stream bool
	}{
		{anybody, true, true},
		{`{"authenticated":{}}`, true, false},
		{`{"authenticated":{"principal_name":{"exact":"spiffe://cluster.local/ns/shop/sa/front"}}}`, true, false},
		{`{"authenticated":{"principal_name":{"exact":"spiffe://cluster.local/ns/shop/sa/fron"}}}`, false, false},
		{`{"authenticated":{"principal_name":{"suffix":"/sa/front"}}}`, true, false},
		{`{"authenticated":{"principal_name":{"safe_regex":{"regex":".*/ns/shop/.*"}}}}`, true, false},
		{`{"authenticated":{"principal_name":{"safe_regex":{"regex":".*/ns/sho/.*"}}}}`, false, false},
		{`{"authenticated":{"principal_name":{"exact":"front.shop"}}}`, true, false},
		{`{"authenticated":{"principal_name":{"exact":"O=weft"}}}`, true, false},
		{`{"not_id":{"authenticated":{"principal_name":{"prefix":"spiffe://cluster.local/"}}}}`, false, true},
		{`{"filter_state":{"key":"io.istio.peer_principal","string_match":{"exact":"spiffe://cluster.local/ns/shop/sa/front"}}}`, true, false},
		{`{"filter_state":{"key":"io.istio.peer_principal","string_match":{"safe_regex":{"regex":".*"}}}}`, true, false},
		{`{"filter_state":{"key":"other","string_match":{"safe_regex":{"regex":".*"}}}}`, false, false},
		{`{"source_ip":{"address_prefix":"10.1.0.4","prefix_len":32}}`, true, false},
		{`{"direct_remote_ip":{"address_prefix":"10.1.0.5","prefix_len":32}}`, true, false},
		{`{"direct_remote_ip":{"address_prefix":"10.1.0.0","prefix_len":16}}`, true, true},
		{`{"remote_ip":{"address_prefix":"203.0.113.0","prefix_len":24}}`, true, false},
		{`{"remote_ip":{"address_prefix":"::","prefix_len":0}}`, false, false},
		{`{"header":{"name":"x-team","present_match":true}}`, true, false},
		{`{"url_path":{"path":{"prefix":"/v1"}}}`, true, false},
		{`{"or_ids":{"ids":[{"remote_ip":{"address_prefix":"10.1.0.6","prefix_len":32}},{"header":{"name":"x-team","present_match":true}}]}}`, true, true},
		{`{"and_ids":{"ids":[{"authenticated":{}},{"header":{"name":"x-team","present_match":true}}]}}`, true, false},
	} {
		r := rules(t, one("ALLOW", anybody, c.principal))
		if got := r.Decide(bookshop()).Allowed; got != c.request {
			t.Errorf("%s: %t for the request", c.principal, got)
		}
		if got := r.Decide(plain()).Allowed; got != c.stream {
			t.Errorf("%s: %t for the connection", c.principal, got)
		}
	}
}

// Several policies: the first that matches, by name, is the one that is named.
func TestDecide(t *testing.T) {
	three := func(action string) string {
		return `{"action":"` + action + `","policies":{"c":{"permissions":[{"any":true}],"principals":[{"any":true}]},
		"b d":{"permissions":[{"destination_port":8080}],"principals":[{"any":true}]},
		"a":{"permissions":[{"destination_port":1}],"principals":[{"any":true}]}}}`
	}
	for _, c := range []struct {
		rules        string
		allowed, log bool
		details      string
	}{
		{`{}`, false, false, "rbac_access_denied_matched_policy[none]"},
		{`{"action":"DENY"}`, true, false, "rbac_access_denied_matched_policy[none]"},
		{`{"action":"LOG"}`, true, false, "rbac_access_denied_matched_policy[none]"},
		{three("ALLOW"), true, false, "rbac_access_denied_matched_policy[b_d]"},
		{three("DENY"), false, false, "rbac_access_denied_matched_policy[b_d]"},
		{three("LOG"), true, true, "rbac_access_denied_matched_policy[b_d]"},
	} {
		d := rules(t, c.rules).Decide(bookshop())
		if d.Allowed != c.allowed || d.Log != c.log || d.By.Details != c.details {
			t.Errorf("%s: %+v, by %s", c.rules, d, d.By.Details)
		}
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"action":7}`:                                                         "action: 7 is unknown",
		`{"audit_logging_options":{}}`:                                         "audit_logging_options: this proxy does not know it",
		one("ALLOW", ``, anybody):                                              "policies[p].permissions: empty",
		one("ALLOW", anybody, ``):                                              "policies[p].principals: empty",
		one("ALLOW", `{}`, anybody):                                            "policies[p].permissions[0]: no rule",
		one("ALLOW", anybody, `{"any":false}`):                                 "policies[p].principals[0].any: false means nothing",
		one("ALLOW", `{"matcher":{"name":"x"}}`, anybody):                      "policies[p].permissions[0]: no rule, or one that",
		one("ALLOW", `{"destination_port":70000}`, anybody):                    "policies[p].permissions[0].destination_port: 70000",
		one("ALLOW", anybody, `{"remote_ip":{"address_prefix":"10.0.0.300"}}`): "policies[p].principals[0].remote_ip.address_prefix: ",
		one("ALLOW", anybody, `{"remote_ip":{"address_prefix":"10.0.0.3","prefix_len":33}}`):                                            "policies[p].principals[0].remote_ip.prefix_len: ",
		one("ALLOW", `{"not_rule":{"and_rules":{"rules":[{"url_path":{}}]}}}`, anybody):                                                 "policies[p].permissions[0].not_rule.and_rules.rules[0].url_path.path: no pattern",
		one("ALLOW", formed("/{x"), anybody):                                                                                            "policies[p].permissions[0].uri_template.typed_config.path_template: a {",
		one("ALLOW", formed("/**/*"), anybody):                                                                                          "policies[p].permissions[0].uri_template.typed_config.path_template: nothing but text",
		`{"policies":{"p":{"permissions":[{"any":true}],"principals":[{"any":true}],"condition":{"const_expr":{"bool_value":false}}}}}`: "policies[p].condition: this proxy does not know it",
	} {
		if _, err := parse(t, text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestDecidingMakesNoGarbage(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates by itself; make test runs it without too")
	}
	r := rules(t, `{"action":"ALLOW","policies":{"p":{"permissions":[{"and_rules":{"rules":[
		{"or_rules":{"rules":[{"header":{"name":":method","string_match":{"exact":"GET"}}},{"header":{"name":":method","string_match":{"exact":"POST"}}}]}},
		{"url_path":{"path":{"prefix":"/v1/"}}},{"destination_port":8080},`+formed("/v1/**")+`]}}],
		"principals":[{"and_ids":{"ids":[{"authenticated":{"principal_name":{"safe_regex":{"regex":".*/ns/shop/.*"}}}},
		{"metadata":{"filter":"envoy.filters.http.jwt_authn","path":[{"key":"payload"},{"key":"sub"}],"value":{"string_match":{"exact":"ann"}}}},
		{"direct_remote_ip":{"address_prefix":"10.1.0.0","prefix_len":16}}]}}]}}}`)
	x := bookshop()
	if !r.Decide(x).Allowed {
		t.Fatal("refused")
	}
	if n := testing.AllocsPerRun(100, func() { r.Decide(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
