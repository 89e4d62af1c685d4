package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
)

// A plain request on a connection that is kept open makes no garbage, in the proxy, in the client and in the backend of this test, all of which run
// in this process.
func TestRequestsMakeNoGarbage(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates by itself; make test runs it without too")
	}
	listener := hcm("main", "use_remote_address: true, normalize_path: true, server_name: istio-envoy", all(toWeb("/", `, timeout: 0s, retry_policy: {retry_on: "5xx,reset", num_retries: 2}`)))
	r := start(t, []string{listener}, []string{cluster("web", "", terse(t))})
	countGarbage(t, r.addr("main"), 0.1)
}

// Nor does one that policies are asked about, that is counted by its peer and that somebody might have traced.
func TestPoliciesAndTelemetryMakeNoGarbage(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates by itself; make test runs it without too")
	}
	rules := func(action, path string) string {
		return `{name: envoy.filters.http.rbac, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {action: ` + action + `, policies: {p: {
			permissions: [{and_rules: {rules: [{header: {name: ":method", string_match: {exact: GET}}}, {url_path: {path: {prefix: ` + path + `}}}]}}], principals: [{any: true}]}}}}}, `
	}
	for _, direction := range []string{"INBOUND", "OUTBOUND"} {
		listener := `{name: main, traffic_direction: ` + direction + `, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [` +
			httpFilter("normalize_path: true, "+strings.Replace(tracing("s", `grpc_service: {envoy_grpc: {cluster_name: web}}`, ""), "value: 100", "value: 0", 1)+", ",
				tellsPeers+rules("LOG", "/")+rules("DENY", "/other")+rules("ALLOW", "/some"), all(toWeb("/", ""))) + `]}]}`
		r := start(t, []string{listener}, []string{cluster("web", "", terse(t))})
		countGarbage(t, r.addr("main"), 0.1)
	}
}

// Of one that two proxies carry, with the mesh's TLS between them, only crypto/tls makes some: a small object for each record that it reads, and two where
// a connection is looked at before it is used again, an error among them. What HTTP/2 adds are the strings of fields that were not in its table.
func TestPairMakesLittleGarbage(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates by itself; make test runs it without too")
	}
	ca := newAuthority(t)
	server := newIdentity(t, ca, shop).start(t, []string{meshServer(false)}, []string{cluster("web", "", terse(t)), cluster("bytes", "", bytesApp(t))})
	listeners, clusters := meshClient(server.addr("main"), shop)
	client := newIdentity(t, ca, cart).start(t, listeners, clusters)
	for name, allowed := range map[string]float64{"http1": 4.2, "http2": 6.2} {
		t.Run(name, func(t *testing.T) { countGarbage(t, client.addr(name), allowed) })
	}
}

// terse is a backend that makes no garbage of its own.
func terse(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello")
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				for br := bufio.NewReader(c); ; {
					l, err := br.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(l) == 2 {
						if _, err := c.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// countGarbage sends requests and counts what is allocated in this process, which may be so much for each.
func countGarbage(t *testing.T, to string, allowed float64) {
	t.Helper()
	c, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	request := []byte("GET /some/path?with=query HTTP/1.1\r\nhost: shop.example\r\naccept: */*\r\nuser-agent: test\r\ncookie: a=b\r\n\r\n")
	buf := make([]byte, 4096)
	one := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], []byte("hello")); {
			k, err := c.Read(buf[n:])
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			if n += k; k == 0 {
				t.Fatal("closed")
			}
		}
	}
	for range 200 {
		one()
	}
	const requests = 5000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range requests {
		one()
	}
	runtime.ReadMemStats(&after)
	// The rest is what happens now and then: the date once a second, pools that the collector emptied.
	if n := float64(after.Mallocs-before.Mallocs) / requests; n > allowed {
		t.Errorf("%.2f allocations a request (%d bytes)", n, (after.TotalAlloc-before.TotalAlloc)/requests)
	}
}
