package policies

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// tcpPolicy is a listener that carries bytes behind a filter.
func tcpPolicy(name, port, log, config string) string {
	return `{name: ` + name + `, address: {socket_address: {address: 127.0.0.1, port_value: ` + port + `}}, filter_chains: [{filters: [
		{name: envoy.filters.network.rbac, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: tcp., ` + config + `}},
		{name: envoy.filters.network.tcp_proxy, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: web,
		access_log: [{name: a, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: ` + log + `,
		log_format: {text_format_source: {inline_string: "` + name + `|%RESPONSE_FLAGS%|%CONNECTION_TERMINATION_DETAILS%\n"}}}}]}}]}]}`
}

// Connections are let through or closed, and the access log says why.
func TestConnections(t *testing.T) {
	cases := []struct{ name, config, answer, line string }{
		{"open", `rules: ` + rules("ALLOW", `{destination_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}`, `{direct_remote_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}`), "HTTP/1.1 200", "-|-"},
		{"closed", `rules: ` + rules("DENY", `{requested_server_name: {exact: ""}}`, anybody), "", "-|rbac_access_denied_matched_policy[ns[shop]-policy[orders]-rule[0]]"},
		{"none", `rules: ` + rules("ALLOW", `{destination_port: 1}`, anybody), "", "-|rbac_access_denied_matched_policy[none]"},
		{"shadow", `shadow_rules: ` + rules("DENY", anybody, anybody), "HTTP/1.1 200", "-|-"},
		{"nobody", `rules: ` + rules("ALLOW", anybody, `{authenticated: {principal_name: {prefix: ""}}}`), "", "-|rbac_access_denied_matched_policy[none]"},
	}
	cases[4].config = strings.Replace(cases[4].config, `{prefix: ""}`, `{safe_regex: {regex: ".*"}}`, 1)
	backend := endpoint(t, "")
	try := func(t *testing.T, c *carrier) {
		for _, one := range cases {
			conn, err := net.Dial("tcp", c.at[one.name])
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
			got, _ := io.ReadAll(conn)
			_ = conn.Close()
			if answer := string(got[:min(12, len(got))]); answer != one.answer {
				t.Errorf("%s: %q, want %q", one.name, answer, one.answer)
			}
		}
		for _, one := range cases {
			want := one.name + "|" + one.line + "\n"
			eventually(t, want, func() bool {
				text, _ := os.ReadFile(c.log)
				return strings.Contains(string(text), want)
			})
		}
	}
	build := func(ports []string, log string) string {
		var all []string
		for i, one := range cases {
			all = append(all, tcpPolicy(one.name, ports[i], log, one.config))
		}
		return strings.Join(all, ",\n")
	}
	names := make([]string, 0, len(cases))
	for _, one := range cases {
		names = append(names, one.name)
	}
	t.Run("weft", func(t *testing.T) { try(t, startWeft(t, names, build, backend)) })
	t.Run("envoy", func(t *testing.T) { try(t, startEnvoy(t, names, build, backend)) })
}
