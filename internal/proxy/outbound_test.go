package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/proxy/server"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

func init() {
	kinds[xdsclient.ServiceType] = &meshpb.Service{}
	kinds[xdsclient.WorkloadType] = &meshpb.Workload{}
}

// outboundListener is what control says of the outgoing connections of a Pod.
const outboundListener = `{name: weftOutbound, address: {socket_address: {address: "::", port_value: 15001, ipv4_compat: true}}, listener_filters: [` + originalDst + `],
		default_filter_chain: {filters: [{name: o, typed_config: {"@type": type.googleapis.com/weft.mesh.v1.Outbound, namespace: shop, cluster_domain: cluster.local,
		http: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, http_filters: [
			{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]},
		tcp: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy},
		passthrough: PassthroughCluster, workloads: weft-workloads}}]}}`

// pod is the outgoing half of a Pod's proxy in a network namespace, told by a test what a control plane would say.
type pod struct {
	*dynamic
	ca *authority
}

func newPod(t *testing.T) *pod {
	t.Helper()
	redirect(t, "15001")
	must(t, nil, "ip", "route", "add", "10.96.0.0/16", "dev", "lo")
	must(t, nil, "ip", "route", "add", "192.0.2.0/24", "dev", "lo")
	s := &pod{newDynamic(t, server.Options{WarmTimeout: 30 * time.Second}), newAuthority(t)}
	if err := s.SetSecret(certificate(s.ca.issue(cart, time.Hour))); err != nil {
		t.Fatal(err)
	}
	if err := s.SetSecret(trust(s.ca.pem)); err != nil {
		t.Fatal(err)
	}
	if err := s.Static(&bootstrap.Config{XDS: &bootstrap.XDS{Index: true, Names: []string{"weftOutbound"}}}); err != nil {
		t.Fatal(err)
	}
	s.must(xdsclient.ListenerType, outboundListener)
	original := `type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s`
	s.must(xdsclient.ClusterType, `{name: PassthroughCluster, `+original+`}`)
	s.must(xdsclient.ClusterType, `{name: weft-workloads, `+original+`, transport_socket: {name: tls, typed_config: {
		"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {alpn_protocols: [istio],
		tls_certificate_sds_secret_configs: [{name: default, `+sdsConfig+`}], combined_validation_context: {default_validation_context: {},
		validation_context_sds_secret_config: {name: ROOTCA, `+sdsConfig+`}}}}}}`)
	s.Applied(xdsclient.ServiceType)
	eventually(t, "the listener is open", func() bool { l := s.Listeners(); return len(l) == 1 && len(l[0].Addresses) == 1 })
	return s
}

// service brings a Service and what there is of it by name: routes and a cluster with endpoints.
func (s *pod) service(host, more string, port int, endpoints ...string) {
	s.t.Helper()
	s.must(xdsclient.ServiceType, fmt.Sprintf(`{host: %s.shop.svc.cluster.local, namespace: shop, %s}`, host, more))
	if len(endpoints) == 0 {
		return
	}
	full := fmt.Sprintf("%d||%s.shop.svc.cluster.local", port, host)
	s.must(xdsclient.ClusterType, cluster(`"outbound|`+full+`"`, "", endpoints...))
	s.must(xdsclient.RouteType, `{name: "`+strings.Replace(full, "||", "|", 1)+`", virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: "outbound|`+full+`"},
		response_headers_to_add: [{header: {key: x-service, value: `+host+`}}]}]}]}`)
}

func bytesOf(text string) string {
	b := netip.MustParseAddr(text).AsSlice()
	return `"` + base64Of(b) + `"`
}

// request asks from the Pod, and gives the Service that answered and the body.
func request(t *testing.T, to, host string) (service, body string, status int) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return client(to) }}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+to+"/path", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return "", err.Error(), 0
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return resp.Header.Get("x-service"), string(text), resp.StatusCode
}

func greeting(t *testing.T, to string) string {
	t.Helper()
	c, err := client(to)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	got, _ := bufio.NewReader(c).ReadString('\n')
	return got
}

// web serves HTTP in the Pod's namespace.
func web(t *testing.T, at, name string) {
	t.Helper()
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, name+" "+r.Host) })}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Close() })
}

// Where a Pod's connections lead: by address, by Host, by endpoint, or on as they are.
func TestOutboundByIndex(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	s := newPod(t)
	web(t, "10.0.0.1:8080", "web")
	web(t, "10.0.0.1:80", "elsewhere")
	web(t, "[fd00::1]:8081", "six")
	app(t, "10.0.0.1:7000", greets)
	app(t, "10.0.0.1:9042", func(c net.Conn) { _, _ = io.WriteString(c, "one\n") })
	app(t, "10.0.0.3:9042", func(c net.Conn) { _, _ = io.WriteString(c, "two\n") })
	s.service("web", `addresses: [`+bytesOf("10.96.0.1")+`], ports: [{number: 80, protocol: HTTP}]`, 80, "10.0.0.1:8080")
	s.service("six", `addresses: [`+bytesOf("10.96.0.6")+`], ports: [{number: 80}]`, 80, "[fd00::1]:8081")
	s.service("bytes", `addresses: [`+bytesOf("10.96.0.2")+`], ports: [{number: 5432, protocol: TCP}, {number: 80}]`, 5432, "10.0.0.1:7000")
	s.service("db", `headless: true, ports: [{number: 9042, protocol: TCP}]`, 9042, "10.0.0.1:9042", "10.0.0.3:9042")
	for _, c := range []struct{ to, host, service, body string }{
		{"10.96.0.1:80", "web", "web", "web web"},
		{"10.96.0.1:80", "web.shop.svc.cluster.local", "web", "web web.shop.svc.cluster.local"},
		{"10.96.0.1:80", "10.96.0.1", "web", "web 10.96.0.1"},
		{"10.96.0.1:80", "nobody.example", "web", "web nobody.example"},   // it was sent there
		{"10.96.0.1:80", "six.shop", "six", "six six.shop"},               // the Host counts more than the address
		{"192.0.2.1:80", "web", "web", "web web"},                         // also where nobody knows the address
		{"10.96.0.6:80", "six", "six", "six six"},                         // nothing says that it is HTTP but what the client sends
		{"10.0.0.1:80", "nobody.example", "", "elsewhere nobody.example"}, // on as it is
		{"10.0.0.1:8080", "web", "", "web web"},                           // at a port that is nobody's
	} {
		if service, body, status := request(t, c.to, c.host); service != c.service || body != c.body || status != 200 {
			t.Errorf("%s for %s: %d %q %q, want %q %q", c.to, c.host, status, service, body, c.service, c.body)
		}
	}
	for to, want := range map[string]string{"10.96.0.2:5432": "hello", "10.0.0.1:9042": "one", "10.0.0.3:9042": "two", "10.0.0.1:7000": "hello"} {
		for range 4 {
			if got := greeting(t, to); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %q, want %s", to, got, want)
			}
		}
	}
}

// A workload that takes mutual TLS is never spoken to in the clear, and must be who the index says it is; so must the servers of a Service of which
// nothing but the index has come.
func TestOutboundToWorkloads(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	s := newPod(t)
	web(t, "10.0.0.1:8080", "web")
	app(t, "10.0.0.1:7000", greets)
	at := func(port string) string {
		return strings.Replace(meshServer(false), "address: 127.0.0.1, port_value: 0", "address: 10.0.0.1, port_value: "+port, 1)
	}
	newIdentity(t, s.ca, shop).start(t, []string{at("8443")}, []string{cluster("web", "", "10.0.0.1:8080"), cluster("bytes", "", "10.0.0.1:7000")})
	newIdentity(t, s.ca, shop).start(t, []string{at("8444")}, []string{cluster("web", "", "10.0.0.1:8080"), cluster("bytes", "", "10.0.0.1:8080")})
	workload := func(identity string) {
		s.must(xdsclient.WorkloadType, `{addresses: [`+bytesOf("10.0.0.1")+`], namespace: shop, name: web-1, mesh_tls: true, plaintext_ports: [7000], identity: "`+identity+`"}`)
	}
	workload(shop)
	if got := greeting(t, "10.0.0.1:8443"); !strings.HasPrefix(got, "hello") {
		t.Errorf("a workload: %q", got)
	}
	if got := greeting(t, "10.0.0.1:7000"); !strings.HasPrefix(got, "hello") {
		t.Errorf("a port that takes plaintext: %q", got)
	}
	workload(cart)
	if got := greeting(t, "10.0.0.1:8443"); got != "" {
		t.Errorf("a workload that is somebody else: %q", got)
	}
	if _, _, status := request(t, "10.0.0.1:8080", "web"); status != 0 {
		t.Errorf("plaintext to a workload that takes none: %d", status)
	}
	// A Service whose routes never come.
	for identity, want := range map[string]int{shop: 200, cart: 503} {
		s.service("late", `addresses: [`+bytesOf("10.0.0.1")+`], ports: [{number: 8444, protocol: HTTP, mesh_tls: true}], subject_alt_names: ["`+identity+`"]`, 8444)
		s.Remove(xdsclient.RouteType, "8444|late.shop.svc.cluster.local")
		if _, body, status := request(t, "10.0.0.1:8444", "late"); status != want {
			t.Errorf("servers that must be %s: %d %s, want %d", identity, status, body, want)
		}
	}
}
