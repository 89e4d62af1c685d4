package route

import (
	"fmt"
	"strings"
	"testing"
)

// A resource that is refused says where it is wrong; the text reaches whoever wrote the rule.
func TestErrors(t *testing.T) {
	route := func(match, action string) string {
		return oneHost(`{"match":{"prefix":"/"},"route":{"cluster":"c"}},{"match":{` + match + `},` + action + `}`)
	}
	const forward = `"route":{"cluster":"c"}`
	long := strings.Repeat("a", 17<<10)
	for _, c := range []struct{ config, want string }{
		{route(`"safe_regex":{"regex":"a("}`, forward), "virtual_hosts[0].routes[1].match.safe_regex.regex: error parsing regexp: missing closing ): `a(`"},
		{route(`"safe_regex":{"regex":"a)(b"}`, forward), "virtual_hosts[0].routes[1].match.safe_regex.regex: error parsing regexp: unexpected ): `a)(b`"},
		{route(`"safe_regex":{"regex":"`+long+`"}`, forward), "virtual_hosts[0].routes[1].match.safe_regex.regex: it has 17408 bytes, and may have 16384"},
		{route(`"safe_regex":{"regex":"(abcdefghijklmnopqrstuvwxyz){1000}"}`, forward),
			"virtual_hosts[0].routes[1].match.safe_regex.regex: it is too costly: "},
		{route(`"safe_regex":{}`, forward), "virtual_hosts[0].routes[1].match.safe_regex.regex: empty"},
		{route(``, forward), "virtual_hosts[0].routes[1].match: it says nothing about the path"},
		{route(`"path_separated_prefix":"/a/"`, forward), "virtual_hosts[0].routes[1].match.path_separated_prefix: "},
		{route(`"prefix":"/","headers":[{"name":"a"},{"name":"b","string_match":{"safe_regex":{"regex":"("}}}]`, forward),
			"virtual_hosts[0].routes[1].match.headers[1].string_match.safe_regex.regex: "},
		{route(`"prefix":"/","tls_context":{}`, forward), "virtual_hosts[0].routes[1].match.tls_context: this proxy does not know it"},
		{route(`"prefix":"/"`, `"filter_action":{}`), "virtual_hosts[0].routes[1].filter_action: this proxy does not know it"},
		{route(`"prefix":"/"`, `"name":"x"`), "virtual_hosts[0].routes[1]: it has no action"},
		{route(`"prefix":"/"`, `"route":{}`), "virtual_hosts[0].routes[1].route: it names no cluster"},
		{route(`"prefix":"/"`, `"route":{"cluster":"c","timeout":"-1s"}`), "virtual_hosts[0].routes[1].route.timeout: -1s is negative"},
		{route(`"prefix":"/"`, `"route":{"cluster":"c","prefix_rewrite":"/a b"}`), "virtual_hosts[0].routes[1].route.prefix_rewrite: "},
		{route(`"prefix":"/"`, `"route":{"cluster":"c","regex_rewrite":{"pattern":{"regex":"a"},"substitution":"\\1"}}`),
			`virtual_hosts[0].routes[1].route.regex_rewrite.substitution: \1 refers to a group, and the pattern has 0`},
		{route(`"prefix":"/"`, `"route":{"cluster":"c","rate_limits":[{}]}`), "virtual_hosts[0].routes[1].route.rate_limits: this proxy does not know it"},
		{route(`"prefix":"/"`, `"route":{"weighted_clusters":{"clusters":[{"name":"a","weight":0}]}}`),
			"virtual_hosts[0].routes[1].route.weighted_clusters.clusters: the sum of their weights is 0"},
		{route(`"prefix":"/"`, `"route":{"weighted_clusters":{"clusters":[{"name":"a","weight":4294967295},{"name":"a","weight":1}]}}`),
			"virtual_hosts[0].routes[1].route.weighted_clusters.clusters: the sum of their weights is 4294967296"},
		{route(`"prefix":"/"`, `"route":{"weighted_clusters":{"clusters":[{"weight":1}]}}`), "virtual_hosts[0].routes[1].route.weighted_clusters.clusters[0].name: "},
		{route(`"prefix":"/"`, `"route":{"cluster":"c","hash_policy":[{}]}`), "virtual_hosts[0].routes[1].route.hash_policy[0].policy_specifier: "},
		{route(`"prefix":"/"`, `"route":{"cluster":"c","retry_policy":{"retry_host_predicate":[{"name":"envoy.retry_host_predicates.omit_canary_hosts"}]}}`),
			"virtual_hosts[0].routes[1].route.retry_policy.retry_host_predicate[0].name: "},
		{route(`"prefix":"/"`, `"route":{"cluster":"c","retry_policy":{"per_try_idle_timeout":"1s"}}`),
			"virtual_hosts[0].routes[1].route.retry_policy.per_try_idle_timeout: this proxy does not know it"},
		{route(`"prefix":"/"`, `"direct_response":{"status":99}`), "virtual_hosts[0].routes[1].direct_response.status: 99 is no final status"},
		{route(`"prefix":"/"`, `"direct_response":{"status":200,"body":{"filename":"/etc/shadow"}}`), "virtual_hosts[0].routes[1].direct_response.body: "},
		{route(`"prefix":"/"`, `"direct_response":{"status":200,"body":{"inline_string":"`+long+`"}}`), "virtual_hosts[0].routes[1].direct_response.body: it has 17408 bytes"},
		{route(`"prefix":"/"`, `"redirect":{"path_redirect":"/a\r\nb"}`), "virtual_hosts[0].routes[1].redirect.path_redirect: "},
		{route(`"prefix":"/"`, forward+`,"request_headers_to_add":[{"header":{"key":"a","value":"%NOPE%"}}]`),
			"virtual_hosts[0].routes[1].request_headers_to_add[0].header.value: %NOPE%: unknown command"},
		{route(`"prefix":"/"`, forward+`,"request_headers_to_add":[{"header":{"key":":path","value":"x"}}]`), "virtual_hosts[0].routes[1].request_headers_to_add[0].header.key"},
		{route(`"prefix":"/"`, forward+`,"response_headers_to_add":[{"header":{"key":"a","value":"x\r\ny"}}]`), "virtual_hosts[0].routes[1].response_headers_to_add[0].header.value: "},
		{route(`"prefix":"/"`, forward+`,"request_headers_to_remove":["x","Host"]`), "virtual_hosts[0].routes[1].request_headers_to_remove[1]"},
		{route(`"prefix":"/"`, forward+`,"typed_per_filter_config":{"envoy.filters.http.fault":{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault","abort":{"http_status":600}}}`),
			`virtual_hosts[0].routes[1].typed_per_filter_config["envoy.filters.http.fault"].abort.http_status: 600 is no final status`},
		{route(`"prefix":"/"`, forward+`,"typed_per_filter_config":{"lua":{"@type":"type.googleapis.com/google.protobuf.Empty"}}`),
			`virtual_hosts[0].routes[1].typed_per_filter_config["lua"]: filter "lua" (google.protobuf.Empty) is not known to this proxy`},
		{`{"virtual_hosts":[{"name":"a","domains":["x"]},{"name":"b","domains":["y","X"]}]}`, `virtual_hosts[1].domains[1]: "X" is a domain of virtual host "a" already`},
		{`{"virtual_hosts":[{"name":"a","domains":["*.x"]},{"name":"b","domains":["*.x"]}]}`, `virtual_hosts[1].domains[0]: `},
		{`{"virtual_hosts":[{"name":"a","domains":["*"]},{"name":"b","domains":["*"]}]}`, `virtual_hosts[1].domains[0]: `},
		{`{"virtual_hosts":[{"name":"a","domains":["x"]},{"name":"a","domains":["y"]}]}`, `virtual_hosts[1].name: "a" is the name of virtual_hosts[0] already`},
		{`{"virtual_hosts":[{"name":"a"}]}`, `virtual_hosts[0].domains: none`},
		{`{"vhds":{}}`, `vhds: this proxy does not know it`},
		{`{"virtual_hosts":[{"name":"a","domains":["x"],"rate_limits":[{}]}]}`, `virtual_hosts[0].rate_limits: this proxy does not know it`},
	} {
		table, err := Compile(parse(t, c.config), Options{})
		if table != nil || err == nil || !strings.HasPrefix(fmt.Sprint(err), c.want) {
			t.Errorf("%.200s: %v, want %s", c.config, err, c.want)
		}
	}
}
