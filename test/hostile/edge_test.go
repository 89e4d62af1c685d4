package hostile

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
)

// patience is how long something may take that is about to happen.
const patience = 20 * time.Second

// edge is a proxy under test: a gateway, so whoever connects is a stranger.
type edge struct {
	*proxy.Proxy
	t    *testing.T
	log  string // the access log's file
	end  func()
	pool *x509.CertPool
}

// listener is how one is configured.
type listener struct {
	name    string
	tls     bool
	options string // further fields of its HttpConnectionManager, in YAML's flow style
	chain   string // of its filter chain
	more    string // of the listener
	routes  string // "" sends everything to the cluster web
}

// retrying is a route's way to say that requests may be tried again.
const retrying = `retry_policy: {retry_on: "5xx,reset", num_retries: 2, retry_back_off: {base_interval: 0.001s}}`

func (l *listener) yaml(secrets string) string {
	options := "use_remote_address: true, upgrade_configs: [{upgrade_type: websocket}], "
	if l.options != "" {
		options += l.options + ", "
	}
	routes := l.routes
	if routes == "" {
		routes = `{match: {prefix: "/retried"}, route: {cluster: web, ` + retrying + `}}, {match: {prefix: "/"}, route: {cluster: web}}`
	}
	chain := ""
	if l.tls {
		chain = secrets + ", "
	}
	if l.chain != "" {
		chain += l.chain + ", "
	}
	more := ""
	if l.more != "" {
		more = ", " + l.more
	}
	return `{name: ` + l.name + `, address: {socket_address: {address: 127.0.0.1, port_value: 0}}` + more + `, filter_chains: [{` + chain + `filters: [
	{name: envoy.filters.network.http_connection_manager, typed_config: {
	"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, ` + options + `
	http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}],
	access_log: [{name: a, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: ACCESS_LOG,
	  log_format: {json_format: {listener: ` + l.name + `, code: "%RESPONSE_CODE%", flags: "%RESPONSE_FLAGS%", details: "%RESPONSE_CODE_DETAILS%", path: "%REQ(:PATH)%",
	  method: "%REQ(:METHOD)%", host: "%REQ(:AUTHORITY)%", agent: "%REQ(USER-AGENT)%"}}}}],
	route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [` + routes + `]}]}}}]}]}`
}

// cluster is a STATIC cluster; options are further fields of it.
func cluster(name, options string, addresses ...string) string {
	var endpoints []string
	for _, a := range addresses {
		host, port, _ := net.SplitHostPort(a)
		endpoints = append(endpoints, fmt.Sprintf("{endpoint: {address: {socket_address: {address: %q, port_value: %s}}}}", host, port))
	}
	if options != "" {
		options += ", "
	}
	return fmt.Sprintf("{name: %s, type: STATIC, connect_timeout: 20s, %sload_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [%s]}]}}",
		name, options, name, strings.Join(endpoints, ", "))
}

const overHTTP2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
	"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`

const overTLS = `transport_socket: {name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}`

// start runs a proxy until the test ends, or end is called.
func start(t *testing.T, listeners []listener, clusters ...string) *edge {
	t.Helper()
	pair, pool, secrets := certificate(t)
	_ = pair
	var all []string
	for _, l := range listeners {
		all = append(all, l.yaml(secrets))
	}
	e := &edge{t: t, log: filepath.Join(t.TempDir(), "access.log"), pool: pool}
	text := "node: {id: hostile, cluster: hostile}\nstatic_resources: {listeners: [" + strings.Join(all, ",\n") + "],\nclusters: [" + strings.Join(clusters, ",\n") + "]}\n"
	c, err := bootstrap.Parse([]byte(strings.ReplaceAll(text, "ACCESS_LOG", e.log)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var lines lockedBuffer
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	e.Proxy, err = proxy.New(proxy.Options{
		Bootstrap: c, Admin: loopback, Metrics: loopback, Health: loopback, DrainTime: -1, Log: slog.New(slog.NewTextHandler(&lines, nil)), Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.Run(ctx)
	}()
	e.end = func() {
		stop()
		<-done
	}
	t.Cleanup(func() {
		e.end()
		if text := lines.String(); strings.Contains(text, "panic") {
			t.Errorf("the proxy panicked: %s", text)
		} else if t.Failed() && text != "" {
			t.Logf("the proxy said: %s", text)
		}
	})
	select {
	case <-e.Warm():
	case <-time.After(patience):
		t.Fatal("the proxy does not become ready")
	}
	return e
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// at is where a listener listens.
func (e *edge) at(name string) string {
	e.t.Helper()
	for _, l := range e.Server().Listeners() {
		if l.Name == name && len(l.Addresses) > 0 {
			return l.Addresses[0].String()
		}
	}
	e.t.Fatalf("listener %s is not open: %+v", name, e.Server().Listeners())
	return ""
}

// dial opens a connection to a listener; it is closed when the test ends, and nothing on it takes longer than patience.
func (e *edge) dial(t *testing.T, name string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", e.at(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// dialTLS is dial and a handshake that offers the protocols.
func (e *edge) dialTLS(t *testing.T, name string, protocols ...string) net.Conn {
	t.Helper()
	c := tls.Client(e.dial(t, name), &tls.Config{RootCAs: e.pool, ServerName: "edge.test", NextProtos: protocols})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

// works asks as an honest client does, and wants 200.
func (e *edge) works(t *testing.T, name, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+e.at(name)+path, nil)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatalf("another client: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		t.Fatalf("another client: %d %v", resp.StatusCode, err)
	}
}

var statLine = regexp.MustCompile(`(?m)^(\S+): (\d+)$`)

// stat adds up the series of the admin's /stats whose names contain a text.
func (e *edge) stat(t *testing.T, part string) (sum int) {
	t.Helper()
	_, text := e.admin(t, "GET", "/stats")
	for _, m := range statLine.FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], part) {
			n, _ := strconv.Atoi(m[2])
			sum += n
		}
	}
	return sum
}

// admin asks the admin endpoint.
func (e *edge) admin(t *testing.T, method, path string) (int, string) {
	t.Helper()
	at, _, _ := e.Admin().Addresses()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+at.String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// lines is the access log, each line of which must be JSON.
func (e *edge) lines(t *testing.T) (all []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(e.log)
	if err != nil {
		t.Fatal(err)
	}
	for l := range bytes.Lines(text) {
		m := map[string]any{}
		if err := json.Unmarshal(l, &m); err != nil {
			t.Errorf("a line of the access log is no JSON: %v: %q", err, l)
		}
		all = append(all, m)
	}
	return all
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	if !within(patience, f) {
		t.Fatalf("%s: did not happen", what)
	}
}

// within waits for something, and tells whether it happened in that time.
func within(d time.Duration, f func() bool) bool {
	for deadline := time.Now().Add(d); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// certificate makes one for edge.test, who trusts it, and the transport socket of a filter chain that has it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"edge.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool, fmt.Sprintf(`transport_socket: {name: envoy.transport_sockets.tls, typed_config: {
	"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {alpn_protocols: [h2, http/1.1],
	tls_certificates: [{certificate_chain: {inline_string: %q}, private_key: {inline_string: %q}}]}}}`, certPEM, keyPEM)
}
