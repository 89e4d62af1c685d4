package policies

import "testing"

func rbac(config string) string {
	return `{name: envoy.filters.http.rbac, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, ` + config + `}}`
}

// rules are of one policy.
func rules(action, permissions, principals string) string {
	return `{action: ` + action + `, policies: {"ns[shop]-policy[orders]-rule[0]": {permissions: [` + permissions + `], principals: [` + principals + `]}}}`
}

const (
	passed   = "200 |- via_upstream"
	noPolicy = "403 RBAC: access denied|- rbac_access_denied_matched_policy[none]"
	byPolicy = "403 RBAC: access denied|- rbac_access_denied_matched_policy[ns[shop]-policy[orders]-rule[0]]"
	anybody  = "{any: true}"
)

func TestRBAC(t *testing.T) {
	both(t, "", []policy{
		{name: "allow", filters: rbac(`rules: ` + rules("ALLOW", `{and_rules: {rules: [{header: {name: ":method", string_match: {exact: GET}}}, {url_path: {path: {prefix: /v1/}}}]}}`, anybody)),
			route: `, typed_per_filter_config: {envoy.filters.http.rbac: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}}`,
			requests: []request{
				{ask: "GET /v1/orders?x=1", want: passed},
				{ask: "POST /v1/orders", want: noPolicy},
				{ask: "GET /v2/orders", want: noPolicy},
				{ask: "GET /v2/../v1/orders", want: passed},
				{ask: "GET /v1/../v2/orders", want: noPolicy},
				{ask: "GET /v2?/v1/", want: noPolicy},
				{ask: "POST /off", want: passed},
				{ask: "POST /v1/x content-type=application/grpc", want: "200 |- rbac_access_denied_matched_policy[none]", shows: []string{"grpc-status=7", "grpc-message=RBAC: access denied"}},
			}},
		{name: "deny", filters: rbac(`rules: ` + rules("DENY", `{url_path: {path: {exact: /admin}}}, {header: {name: x-evil, present_match: true}}, {header: {name: ":authority", string_match: {suffix: ".INTERNAL", ignore_case: true}}}`, anybody)),
			route: `, typed_per_filter_config: {envoy.filters.http.rbac: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute, rbac: {rules: {action: ALLOW}}}}`,
			requests: []request{
				{ask: "GET /", want: passed},
				{ask: "GET /admin", want: byPolicy},
				{ask: "GET /admin?x", want: byPolicy},
				{ask: "GET /administer", want: passed},
				{ask: "GET / x-evil=1", want: byPolicy},
				{ask: "GET / host=db.internal", want: byPolicy},
				{ask: "GET /off", want: noPolicy},
			}},
		{name: "not", filters: rbac(`rules: ` + rules("DENY", `{not_rule: {header: {name: x-key, string_match: {exact: good}}}}`, anybody)),
			requests: []request{
				{ask: "GET /", want: byPolicy},
				{ask: "GET / x-key=bad", want: byPolicy},
				{ask: "GET / x-key=good", want: passed},
				{ask: "GET / x-key=good x-key=bad", want: passed},
			}},
		{name: "values", filters: rbac(`rules: ` + rules("DENY", `{header: {name: x-role, string_match: {exact: admin}}}, {header: {name: x-not, string_match: {exact: good}, invert_match: true}},
			{header: {name: x-range, range_match: {start: 1, end: 5}}}, {header: {name: x-must, string_match: {exact: ""}, treat_missing_header_as_empty: true, invert_match: true}}`, anybody)),
			requests: []request{
				{ask: "GET /", want: passed},
				{ask: "GET / x-role=user", want: passed},
				{ask: "GET / x-role=user x-role=admin", want: byPolicy},
				{ask: "GET / x-role=admin x-role=user", want: byPolicy},
				{ask: "GET / x-role=user,admin", want: passed},
				{ask: "GET / x-not=good", want: passed},
				{ask: "GET / x-not=bad", want: byPolicy},
				{ask: "GET / x-not=bad x-not=good", want: passed},
				{ask: "GET / x-range=7 x-range=3", want: byPolicy},
				{ask: "GET / x-range=x", want: passed},
				{ask: "GET / x-must=1", want: byPolicy},
			}},
		{name: "template", filters: rbac(`rules: ` + rules("ALLOW", `{uri_template: {name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/shops/*/orders/**"}}}`, anybody)),
			requests: []request{
				{ask: "GET /shops/7/orders/1/2?x", want: passed},
				{ask: "GET /shops/7/orders/", want: passed},
				{ask: "GET /shops/7/8/orders/1", want: noPolicy},
				{ask: "GET /shops//orders/1", want: noPolicy},
			}},
		{name: "principals", filters: rbac(`rules: ` + rules("ALLOW", anybody, `{and_ids: {ids: [{direct_remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}, {remote_ip: {address_prefix: 203.0.113.0, prefix_len: 24}}, {source_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}]}},
			{authenticated: {}}, {authenticated: {principal_name: {safe_regex: {regex: ".*"}}}}, {metadata: {filter: other, path: [{key: said}], value: {present_match: true}}}`)),
			requests: []request{
				{ask: "GET /", want: noPolicy},
				{ask: "GET / x-forwarded-for=203.0.113.7", want: passed},
				{ask: "GET / x-forwarded-for=203.0.114.7", want: noPolicy},
			}},
		{name: "shadow", filters: rbac(`rules: ` + rules("DENY", `{url_path: {path: {prefix: /deny}}}`, anybody) + `, shadow_rules_stat_prefix: dry_, shadow_rules: ` +
			rules("ALLOW", `{url_path: {path: {prefix: /ok}}}`, anybody)),
			requests: []request{
				{ask: "GET /ok", want: passed + "|allowed"},
				{ask: "GET /other", want: passed + "|denied"},
				{ask: "GET /deny", want: byPolicy + "|denied"},
			}},
		{name: "three", filters: rbac(`rules: `+rules("LOG", anybody, anybody)) + `, ` + rbac(`rules: `+rules("DENY", `{url_path: {path: {prefix: /admin}}}`, anybody)) + `, ` +
			rbac(`rules: {action: ALLOW, policies: {"a b": {permissions: [{url_path: {path: {prefix: /a}}}], principals: [{any: true}]}}}`),
			requests: []request{
				{ask: "GET /a", want: passed},
				{ask: "GET /admin", want: byPolicy},
				{ask: "GET /b", want: noPolicy},
			}},
	})
}
