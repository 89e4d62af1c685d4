package proxy_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const (
	originalDst   = `{name: original_dst, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}}`
	httpInspector = `{name: http, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector}}`
	// passthrough are the fields of a cluster that goes on to where a connection went, from addresses that are not redirected again.
	passthrough = `type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s, upstream_bind_config: {source_address: {address: 127.0.0.6, port_value: 0},
		extra_source_addresses: [{address: {address: "::6", port_value: 0}}]}`
)

// inbound is the listener that a Pod's incoming connections are redirected to.
func inbound(defaultChain string, chains ...string) string {
	return `{name: virtualInbound, address: {socket_address: {address: 0.0.0.0, port_value: 15006}},
		additional_addresses: [{address: {socket_address: {address: "::", port_value: 15006}}}],
		listener_filters: [` + originalDst + `, ` + inspector + `, ` + httpInspector + `],
		filter_chains: [` + strings.Join(chains, ", ") + `], default_filter_chain: {name: virtualInbound-catchall, filters: [` + defaultChain + `]}}`
}

// client dials as one whose connections are redirected.
func client(to string) (net.Conn, error) {
	from := netip.MustParseAddr("10.0.0.2")
	if netip.MustParseAddrPort(to).Addr().Is6() {
		from = netip.MustParseAddr("fd00::2")
	}
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	c, err := d.Dial("tcp", to)
	if err == nil {
		err = c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	return c, err
}

// app listens in the Pod and serves with f.
func app(t *testing.T, at string, f func(net.Conn)) {
	t.Helper()
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				f(c)
			}()
		}
	}()
}

// greets says who has connected, then echoes.
func greets(c net.Conn) {
	_, _ = io.WriteString(c, "hello "+c.RemoteAddr().(*net.TCPAddr).IP.String()+"\n")
	_, _ = io.Copy(c, c)
}

// What comes in goes on to the address and port that the client asked for, of either family, from 127.0.0.6 or ::6; what listens on 127.0.0.1 only is
// out of reach, as it is without a proxy.
func TestInboundGoesOnToItsDestination(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	redirect(t, "15006")
	app(t, "10.0.0.1:7000", greets)
	app(t, "[fd00::1]:7000", greets)
	app(t, "127.0.0.1:7001", greets)
	start(t, []string{inbound(tcpFilter("InboundPassthroughCluster"))}, []string{"{name: InboundPassthroughCluster, " + passthrough + "}"})
	for to, want := range map[string]string{
		"10.0.0.1:7000": "hello 127.0.0.6\n", "[fd00::1]:7000": "hello ::6\n", "10.0.0.1:7001": "", "[fd00::1]:7001": "",
	} {
		c, err := client(to)
		if err != nil {
			t.Fatal(to, err)
		}
		got, err := bufio.NewReader(c).ReadString('\n')
		if got != want || want == "" && err == nil {
			t.Errorf("%s: %q, %v, want %q", to, got, err, want)
		}
		_ = c.Close()
	}
}

// A port's chain is found by where the client went; on a port of undeclared protocol HTTP of both versions goes to one chain, the rest to another.
func TestInboundChains(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	redirect(t, "15006")
	app(t, "10.0.0.1:7000", greets)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	for _, at := range []string{"10.0.0.1:8000", "10.0.0.1:8001", "[fd00::1]:8001"} {
		ln, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(echo), Protocols: protocols}
		go func() { _ = s.Serve(ln) }()
		t.Cleanup(func() { _ = s.Close() })
	}
	inline := func(name, port string) string {
		return httpFilter("codec_type: AUTO,", "", `{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: "inbound|`+port+`||"},
			response_headers_to_add: [{header: {key: x-chain, value: "`+name+`"}}]}]}`)
	}
	start(t, []string{inbound(tcpFilter("InboundPassthroughCluster"),
		`{name: declared, filter_chain_match: {destination_port: 8000}, filters: [`+inline("declared", "8000")+`]}`,
		`{name: sniffed, filter_chain_match: {destination_port: 8001, application_protocols: [http/1.1, http/1.0, h2c]}, filters: [`+inline("sniffed", "8001")+`]}`,
		`{name: six, filter_chain_match: {destination_port: 8001, prefix_ranges: [{address_prefix: "fd00::", prefix_len: 16}], application_protocols: [http/1.1]},
			filters: [`+inline("six", "8001")+`]}`,
		`{name: bytes, filter_chain_match: {destination_port: 8001}, filters: [`+tcpFilter("other")+`]}`)},
		[]string{
			"{name: InboundPassthroughCluster, " + passthrough + "}", `{name: "inbound|8000||", ` + passthrough + "}",
			`{name: "inbound|8001||", ` + speakSame + `, ` + passthrough + "}", cluster("other", "", "10.0.0.1:7000"),
		})
	for _, c := range []struct{ to, want, protocol string }{
		{"10.0.0.1:8000", "declared", "HTTP/1.1"}, {"10.0.0.1:8001", "sniffed", "HTTP/1.1"}, {"10.0.0.1:8001", "sniffed", "HTTP/2.0"}, {"[fd00::1]:8001", "six", "HTTP/1.1"},
	} {
		var tr http.RoundTripper = &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return client(c.to) }}
		if c.protocol == "HTTP/2.0" {
			p := new(http.Protocols)
			p.SetUnencryptedHTTP2(true)
			tr.(*http.Transport).Protocols = p
		}
		resp, err := (&http.Client{Transport: tr}).Get("http://any.example/path")
		if err != nil {
			t.Fatal(c, err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("x-chain"); got != c.want || resp.StatusCode != 200 || resp.Proto != c.protocol {
			t.Errorf("%v: %q %s %s", c, got, resp.Proto, resp.Status)
		}
	}
	c, err := client("10.0.0.1:8001")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "PING\r\n")
	if got, err := bufio.NewReader(c).ReadString('\n'); !strings.HasPrefix(got, "hello 10.0.0") || err != nil {
		t.Errorf("no HTTP: %q, %v", got, err)
	}
	_ = c.Close()
}
