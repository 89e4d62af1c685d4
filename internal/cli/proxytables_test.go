package cli

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Envoy writes fields with underscores, weft's proxy as protobuf's JSON does: both are read.
func TestProxyTables(t *testing.T) {
	dumps := map[string]string{
		"underscores": `{"configs":[{"dynamic_listeners":[{"name":"0.0.0.0_80","active_state":{"listener":{"@type":"x","name":"0.0.0.0_80","address":{"socket_address":{"address":"::","port_value":80}},
			"filter_chains":[{"filter_chain_match":{"server_names":["a.test"]},"metadata":{"filter_metadata":{"weft":{"origin":"Gateway a/b"}}},"filters":[{"name":"f","typed_config":{
			"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"s","cluster":"outbound|1||x"}}]}]}}},{"name":"bad","error_state":{"details":"no"}}]}]}`,
		"camels": `{"configs":[{"dynamic_listeners":[{"name":"0.0.0.0_80","active_state":{"listener":{"name":"0.0.0.0_80","address":{"socketAddress":{"address":"::","portValue":80}},
			"filterChains":[{"filterChainMatch":{"serverNames":["a.test"]},"metadata":{"filterMetadata":{"weft":{"origin":"Gateway a/b"}}},"filters":[{"name":"f","typedConfig":{
			"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","statPrefix":"s","cluster":"outbound|1||x"}}]}]}}},{"name":"bad","error_state":{"details":"no"}}]}]}`,
	}
	want := [][]string{
		{"LISTENER", "ADDRESS", "MATCH", "DESTINATION", "DECLARED IN"},
		{"0.0.0.0_80", "[::]:80", "SNI a.test", "cluster outbound|1||x", "Gateway a/b"},
		{"bad", "", "", "rejected: no", ""},
	}
	for name, raw := range dumps {
		rows, _, err := listenerRows([]byte(raw))
		if err != nil {
			t.Fatal(name, err)
		}
		if d := cmp.Diff(want, rows); d != "" {
			t.Error(name, d)
		}
	}
	rows, _, err := endpointRows([]byte(`{"cluster_statuses":[{"name":"c","host_statuses":[
		{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}},"health_status":{"failed_outlier_check":true,"eds_health_status":"HEALTHY"}},
		{"address":"10.0.0.2:80","health_flags":"healthy"}]}]}`))
	if d := cmp.Diff([][]string{{"ENDPOINT", "HEALTH", "CLUSTER"}, {"10.0.0.1:80", "failed outlier check", "c"}, {"10.0.0.2:80", "healthy", "c"}}, rows); d != "" || err != nil {
		t.Error(d, err)
	}
	rows, v, err := secretRows([]byte(`{"configs":[{"dynamic_active_secrets":[{"name":"s","secret":{"name":"s","tls_certificate":{"private_key":{"inline_string":"very secret"},"certificate_chain":{"inline_string":"none"}}}}],"dynamic_warming_secrets":[{"name":"w"}]}]}`))
	if err != nil || len(rows) != 3 {
		t.Errorf("%v %v", rows, err)
	}
	if raw, _ := json.Marshal(v); string(raw) != `[{"name":"s","kind":"certificate"},{"name":"w","kind":"","warming":true}]` {
		t.Errorf("%s", raw)
	}
	for _, read := range []func([]byte) ([][]string, any, error){listenerRows, routeRows, clusterRows, endpointRows, secretRows} {
		if _, _, err := read([]byte("no json")); err == nil {
			t.Error("nonsense is read")
		}
	}
}

func TestParsePorts(t *testing.T) {
	bind, err := parsePorts([]string{"80=8080", "443=8443"})
	if err != nil || bind(80) != 8080 || bind(443) != 8443 || bind(9000) != 9000 {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"80", "80=", "=80", "0=1", "1=0", "80=99999", "x=1"} {
		if _, err := parsePorts([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
