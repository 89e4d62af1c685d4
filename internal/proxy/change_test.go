package proxy_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/proxy/server"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// dynamic is a server that gets resources as from an xDS server.
type dynamic struct {
	*server.Server
	t *testing.T
	asked
}

// asked is what the server asks for by name.
type asked struct {
	mu    sync.Mutex
	names map[string]int
}

// Reachable has nobody wait: what there is, a test has brought.
func (a *asked) Reachable() bool { return false }

func (a *asked) Subscribe(typeURL string, names ...string)   { a.want(typeURL, names, 1) }
func (a *asked) Unsubscribe(typeURL string, names ...string) { a.want(typeURL, names, -1) }

func (a *asked) want(typeURL string, names []string, by int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range names {
		key := typeURL[strings.LastIndexByte(typeURL, '.')+1:] + " " + n
		if a.names[key] += by; a.names[key] == 0 {
			delete(a.names, key)
		}
	}
}

func (a *asked) has(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.names[key] > 0
}

func newDynamic(t *testing.T, o server.Options) *dynamic {
	t.Helper()
	o.Stdout, o.Stderr = io.Discard, io.Discard
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &dynamic{Server: server.New(o), t: t, asked: asked{names: map[string]int{}}}
	t.Cleanup(d.Close)
	d.Follow(&d.asked)
	return d
}

var kinds = map[string]proto.Message{
	xdsclient.ListenerType: &listenerv3.Listener{}, xdsclient.RouteType: &routev3.RouteConfiguration{}, xdsclient.ClusterType: &clusterv3.Cluster{},
	xdsclient.EndpointType: &endpointv3.ClusterLoadAssignment{}, xdsclient.SecretType: &tlsv3.Secret{},
}

// parseYAML reads a resource.
func parseYAML(t *testing.T, typeURL, text string) proto.Message {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	asJSON, _ := json.Marshal(tree)
	m := proto.Clone(kinds[typeURL])
	if err := protojson.Unmarshal(asJSON, m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return m
}

// put brings a resource, in YAML.
func (d *dynamic) put(typeURL, text string) error {
	d.t.Helper()
	var tree any
	m := parseYAML(d.t, typeURL, text)
	_ = yaml.Unmarshal([]byte(text), &tree)
	a, err := anypb.New(m)
	if err != nil {
		d.t.Fatal(err)
	}
	name, _ := tree.(map[string]any)["name"].(string)
	if typeURL == xdsclient.EndpointType {
		name, _ = tree.(map[string]any)["cluster_name"].(string)
	}
	if host, ok := tree.(map[string]any)["host"].(string); ok { // of the index
		name = tree.(map[string]any)["namespace"].(string) + "/" + host
	}
	if w, ok := m.(*meshpb.Workload); ok {
		ip, _ := netip.AddrFromSlice(w.GetAddresses()[0])
		name = ip.String()
	}
	err = d.Update(typeURL, name, a)
	if err == nil {
		d.Applied(typeURL)
	}
	return err
}

func (d *dynamic) must(typeURL, text string) {
	d.t.Helper()
	if err := d.put(typeURL, text); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dynamic) at(name string) (string, bool) {
	for _, l := range d.Listeners() {
		if l.Name == name && len(l.Addresses) > 0 {
			return l.Addresses[0].String(), true
		}
	}
	return "", false
}

func rdsListener(name, port, options string) string {
	return `{name: ` + name + `, address: {socket_address: {address: 127.0.0.1, port_value: ` + port + `}}, filter_chains: [{filters: [{name: h, typed_config: {
	"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, ` + options + ` rds: {route_config_name: r, config_source: {ads: {}}},
	http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}`
}

func endpoints(name, address string) string {
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf("{cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %q, port_value: %s}}}}]}]}", name, host, port)
}

const edsCluster = "{name: web, type: EDS, connect_timeout: 1s, eds_cluster_config: {service_name: web-eds, eds_config: {ads: {}}}}"

func direct(body string) string {
	return `{name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "` + body + `"}}}]}]}`
}

// talker is one connection on which one request follows the other.
type talker struct {
	t  *testing.T
	c  net.Conn
	br *bufio.Reader
}

func talk(t *testing.T, addr string) *talker {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &talker{t, c, bufio.NewReader(c)}
}

func (k *talker) get(path string) (*http.Response, string) {
	k.t.Helper()
	_, _ = fmt.Fprintf(k.c, "GET %s HTTP/1.1\r\nhost: a\r\n\r\n", path)
	resp, err := http.ReadResponse(k.br, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	return resp, string(body)
}

func TestListenerWaitsForWhatItNeeds(t *testing.T) {
	b := backend(t, echo)
	d := newDynamic(t, server.Options{})
	d.must(xdsclient.ClusterType, edsCluster)
	d.must(xdsclient.ListenerType, rdsListener("main", "0", ""))
	if !d.has("RouteConfiguration r") || !d.has("ClusterLoadAssignment web-eds") {
		t.Errorf("asked for %v", d.names)
	}
	if _, open := d.at("main"); open {
		t.Error("open without routes")
	}
	d.must(xdsclient.RouteType, `{name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: web}}]}]}`)
	if _, open := d.at("main"); open {
		t.Error("open without endpoints")
	}
	d.must(xdsclient.EndpointType, endpoints("web-eds", b))
	eventually(t, "open", func() bool { _, open := d.at("main"); return open })
	at, _ := d.at("main")
	if resp, body := talk(t, at).get("/x"); resp.StatusCode != 200 || !strings.HasPrefix(body, "GET /x") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	d.Remove(xdsclient.ListenerType, "main")
	d.Applied(xdsclient.ListenerType)
	if d.has("RouteConfiguration r") {
		t.Error("still asks for routes that nobody uses")
	}
	eventually(t, "closed", func() bool { _, err := net.Dial("tcp", at); return err != nil })
}

func TestWaitingEnds(t *testing.T) {
	d := newDynamic(t, server.Options{WarmTimeout: 10 * time.Millisecond})
	d.must(xdsclient.ClusterType, edsCluster)
	d.must(xdsclient.ListenerType, rdsListener("main", "0", ""))
	eventually(t, "open", func() bool { _, open := d.at("main"); return open })
	at, _ := d.at("main")
	if resp, _ := talk(t, at).get("/"); resp.StatusCode != 404 {
		t.Errorf("without routes: %d", resp.StatusCode)
	}
}

func TestChangesWithoutClosing(t *testing.T) {
	d := newDynamic(t, server.Options{})
	d.Applied(xdsclient.ClusterType)
	port := closed(t)
	_, number, _ := net.SplitHostPort(port)
	d.must(xdsclient.RouteType, direct("one"))
	d.must(xdsclient.ListenerType, rdsListener("main", number, ""))
	eventually(t, "open", func() bool { _, open := d.at("main"); return open })
	k := talk(t, port)
	if _, body := k.get("/"); body != "one" {
		t.Errorf("got %q", body)
	}
	d.must(xdsclient.RouteType, direct("two"))
	if _, body := k.get("/"); body != "two" {
		t.Errorf("the next request on the same connection: %q", body)
	}
	// What is refused changes nothing, and says where.
	err := d.put(xdsclient.RouteType, strings.Replace(direct("bad"), "prefix: /", "safe_regex: {regex: '('}", 1))
	if err == nil || !strings.Contains(err.Error(), "virtual_hosts[0].routes[0].match.safe_regex") {
		t.Errorf("%v", err)
	}
	err = d.put(xdsclient.ListenerType, strings.Replace(rdsListener("main", number, ""), "router.v3.Router", "cors.v3.Cors", 1))
	if err == nil || !strings.Contains(err.Error(), "filter_chains[0].filters[0].typed_config.http_filters") {
		t.Errorf("%v", err)
	}
	if _, body := k.get("/"); body != "two" {
		t.Errorf("after what was refused: %q", body)
	}
	// Another chain on the same socket: who is there keeps the old one, and is told to go with the next answer.
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				failed <- nil
				return
			default:
			}
			c, err := net.Dial("tcp", port)
			if err != nil {
				failed <- err
				return
			}
			_ = c.Close()
		}
	}()
	d.must(xdsclient.ListenerType, rdsListener("main", number, "server_name: second,"))
	eventually(t, "the new chain", func() bool { resp, _ := talk(t, port).get("/"); return resp.Header.Get("server") == "second" })
	eventually(t, "the old connection is told to end", func() bool {
		resp, body := k.get("/")
		if body != "two" || resp.Header.Get("server") != "envoy" {
			t.Errorf("the old connection: %q %v", body, resp.Header)
		}
		return resp.Close
	})
	// The address goes to another listener in one response.
	d.Remove(xdsclient.ListenerType, "main")
	d.must(xdsclient.ListenerType, rdsListener("other", number, "server_name: third,"))
	eventually(t, "the other listener", func() bool { resp, _ := talk(t, port).get("/"); return resp.Header.Get("server") == "third" })
	close(stop)
	if err := within(t, "the end", failed); err != nil {
		t.Errorf("while listeners changed: %v", err)
	}
}

func TestSecretComesLater(t *testing.T) {
	d := newDynamic(t, server.Options{})
	d.Applied(xdsclient.ClusterType)
	d.must(xdsclient.RouteType, direct("secure"))
	d.must(xdsclient.ListenerType, strings.Replace(rdsListener("main", "0", ""), "filter_chains: [{", `filter_chains: [{transport_socket: {name: tls, typed_config: {
		"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext,
		common_tls_context: {tls_certificate_sds_secret_configs: [{name: kubernetes://cert, sds_config: {ads: {}}}]}}}, `, 1))
	eventually(t, "open", func() bool { _, open := d.at("main"); return open })
	if !d.has("Secret kubernetes://cert") {
		t.Errorf("asked for %v", d.names)
	}
	at, _ := d.at("main")
	get := func() error {
		tr := &http.Transport{TLSClientConfig: trusting(), DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: tr, Timeout: 20 * time.Second}).Get("https://" + at)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	if get() == nil {
		t.Error("a handshake without a certificate")
	}
	cert, key := pair(t, "a")
	d.must(xdsclient.SecretType, fmt.Sprintf("{name: 'kubernetes://cert', tls_certificate: {certificate_chain: {inline_string: %q}, private_key: {inline_string: %q}}}", cert, key))
	if err := get(); err != nil {
		t.Errorf("with its certificate: %v", err)
	}
}

func TestDrain(t *testing.T) {
	began, finish := make(chan struct{}, 1), make(chan struct{})
	b := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			began <- struct{}{}
			<-finish
		}
		_, _ = io.WriteString(w, "done")
	})
	c, log := config(t, []string{hcm("main", "", all(toWeb("/", "")))}, []string{cluster("web", "", b)})
	r := run(t, log, proxy.Options{Bootstrap: c, DrainTime: 20 * time.Second})
	_, _, health := r.Admin().Addresses()
	if resp, _ := ask(t, "GET", "http://"+health.String()+"/healthz/ready", nil); resp.StatusCode != 200 {
		t.Errorf("not ready: %d", resp.StatusCode)
	}
	idle, busy := talk(t, r.addr("main")), talk(t, r.addr("main"))
	idle.get("/")
	answered := make(chan string, 1)
	go func() {
		resp, body := busy.get("/slow")
		answered <- fmt.Sprint(resp.StatusCode, body, resp.Close)
	}()
	within(t, "the request upstream", began)
	r.stop()
	eventually(t, "not ready", func() bool {
		resp, _ := ask(t, "GET", "http://"+health.String()+"/healthz/ready", nil)
		return resp.StatusCode == 503
	})
	eventually(t, "a request while draining is told that the connection ends", func() bool {
		resp, body := idle.get("/")
		if body != "done" {
			t.Errorf("a request while draining: %q", body)
		}
		return resp.Close
	})
	close(finish)
	if got := within(t, "the answer", answered); got != "200donetrue" {
		t.Errorf("the request under way: %q", got)
	}
	within(t, "the end", r.done)
}

func TestAdmin(t *testing.T) {
	b := backend(t, echo)
	cert, key := pair(t, "one.example")
	r := start(t, []string{hcm("main", "", all(toWeb("/", ""))), listener("tls", "", `{filters: [`+tcpFilter("web")+`], `+tlsSocket(cert, key, "h2")+`}`)},
		[]string{cluster("outbound|80||web.shop.svc.cluster.local", "", b), cluster("web", "", b)})
	r.get("/x")
	const counted = `response_code="200",grpc_response_status="",response_flags="-"} 1`
	eventually(t, "the request is counted", func() bool { return strings.Contains(r.metrics(), counted) })
	admin, _, _ := r.Admin().Addresses()
	for path, want := range map[string][]string{
		"/config_dump":                   {`"dynamic_listeners"`, `"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump"`, "[redacted]"},
		"/clusters":                      {"web::" + b + "::rq_total::1", "web::default_priority::max_requests::1024"},
		"/clusters?format=json":          {`"cluster_statuses"`},
		"/listeners":                     {"main::127.0.0.1:"},
		"/listeners?format=json":         {`"listener_statuses"`},
		"/stats":                         {"cluster.web.upstream_rq_total: 1\n", "weft_proxy_downstream_connections_total: "},
		"/server_info":                   {`"state": "LIVE"`},
		"/ready":                         {"LIVE"},
		"/logging":                       {"fixed"},
		"/debug/pprof/goroutine?debug=1": {"goroutine profile"},
		"/config_dump?resource=nothing":  {`"configs": []`},
		"/stats/prometheus":              {"# TYPE istio_requests_total counter", counted, `envoy_cluster_upstream_rq_total{envoy_cluster_name="web"} 1`},
	} {
		_, body := ask(t, "GET", "http://"+admin.String()+path, nil)
		for _, w := range want {
			if w == `"dynamic_listeners"` {
				w = `"static_listeners"`
			}
			if !strings.Contains(body, w) {
				t.Errorf("%s: no %q in %.2000s", path, w, body)
			}
		}
		if strings.Contains(body, "PRIVATE KEY") {
			t.Errorf("%s shows a private key", path)
		}
	}
	if resp, _ := ask(t, "POST", "http://"+admin.String()+"/quitquitquit", nil); resp.StatusCode != 403 {
		t.Errorf("quit: %d", resp.StatusCode)
	}
}
