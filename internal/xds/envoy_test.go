package xds

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds/resource"
	"github.com/weftmesh/weft/test/freeport"
)

// envoy is stock Envoy as a client of a world's server.
type envoy struct {
	t     *testing.T
	admin string
	log   string
}

// bootstrap says where the server is. The runtime allows regular expressions as large as Istio's own bootstrap does.
const bootstrap = `
node: {id: test, cluster: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
layered_runtime: {layers: [{name: static, static_layer: {re2.max_program_size.error_level: 32768}}]}
dynamic_resources:
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
  ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
static_resources:
  clusters:
  - name: xds
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}
`

func needEnvoy(t *testing.T) string {
	path := os.Getenv("WEFT_ENVOY")
	if path == "" {
		t.Skip("needs stock Envoy: set WEFT_ENVOY to what scripts/envoy.sh prints")
	}
	return path
}

// startEnvoy runs Envoy against a server until the test ends.
func startEnvoy(t *testing.T, w *world) *envoy {
	t.Helper()
	binary := needEnvoy(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.srv.Serve(ctx, l) }()
	dir := t.TempDir()
	e := &envoy{t: t, log: filepath.Join(dir, "log")}
	config, address := filepath.Join(dir, "bootstrap.yaml"), filepath.Join(dir, "admin")
	if err := os.WriteFile(config, fmt.Appendf(nil, bootstrap, l.Addr().(*net.TCPAddr).Port), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, binary, "-c", config, "--admin-address-path", address, "--disable-hot-restart", "--concurrency", "2", "--log-path", e.log)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			if b, err := os.ReadFile(e.log); err == nil {
				t.Logf("Envoy's log ends:\n%s", b[max(0, len(b)-4000):])
			}
		}
	})
	e.wait("Envoy's admin address", func() bool {
		b, err := os.ReadFile(address)
		e.admin = strings.TrimSpace(string(b))
		return err == nil && e.admin != ""
	})
	return e
}

func (e *envoy) wait(what string, done func() bool) {
	e.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// get asks the admin interface.
func (e *envoy) get(path string) []byte {
	e.t.Helper()
	resp, err := http.Get("http://" + e.admin + path)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return b
}

// stat sums the counters whose name ends so.
func (e *envoy) stat(suffix string) (n int) {
	for line := range strings.Lines(string(e.get("/stats"))) {
		if name, value, ok := strings.Cut(line, ": "); ok && strings.HasSuffix(name, suffix) {
			v, _ := strconv.Atoi(strings.TrimSpace(value))
			n += v
		}
	}
	return n
}

// inStep waits until the proxy has everything, and fails if it rejects any of it.
func (w *world) inStep(e *envoy, types ...string) {
	w.t.Helper()
	e.wait("a proxy that has everything", func() bool {
		w.t.Helper()
		proxies := w.srv.Status()
		if len(proxies) == 0 {
			return false
		}
		synced := map[string]bool{}
		for _, x := range proxies[0].Types {
			for _, r := range x.Rejected {
				w.t.Fatalf("rejected %s %s: %s", x.Type, r.Name, r.Text)
			}
			synced[x.Type] = x.Synced() && x.Wanted > 0
		}
		for _, want := range types {
			if !synced[want] {
				return false
			}
		}
		return true
	})
}

// authority is a CA with one certificate.
type authority struct{ ca, cert, key []byte }

func newAuthority(t *testing.T, host string) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	sign := func(c *x509.Certificate) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return authority{sign(ca), sign(leaf), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

func (a authority) secret(n model.ObjectName) *model.Secret {
	return &model.Secret{Name: n, Certificate: a.cert, Key: a.key, CA: a.ca}
}

// permissive answers HTTP in plaintext and over TLS on one port, as endpoints do while their clients change over.
func permissive(t *testing.T, a authority) netip.AddrPort {
	cert, err := tls.X509KeyPair(a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })}
	var running sync.WaitGroup
	running.Go(func() {
		_ = srv.Serve(&sniffing{Listener: l, config: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}})
	})
	t.Cleanup(func() {
		srv.Close()
		running.Wait()
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

type sniffing struct {
	net.Listener
	config *tls.Config
}

func (l *sniffing) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sniffed{Conn: c, config: l.config}, nil
}

// sniffed finds out at the first read what it is.
type sniffed struct {
	net.Conn
	config *tls.Config
	once   sync.Once
	r      io.Reader
	w      io.Writer
}

func (c *sniffed) find() {
	c.once.Do(func() {
		b := bufio.NewReader(c.Conn)
		c.r, c.w = b, c.Conn
		if first, err := b.Peek(1); err == nil && first[0] == 0x16 {
			s := tls.Server(peeked{c.Conn, b}, c.config)
			c.r, c.w = s, s
		}
	})
}

func (c *sniffed) Read(p []byte) (int, error)  { c.find(); return c.r.Read(p) }
func (c *sniffed) Write(p []byte) (int, error) { c.find(); return c.w.Write(p) }

type peeked struct {
	net.Conn
	r io.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// The TLS mode of a host and the names of its subsets change while requests go on.
func TestEnvoyChangesUnderLoad(t *testing.T) {
	port := freeport.Hold(t).Port()
	w := newWorldOf(t, resource.Options{Address: "127.0.0.1", Bind: func(uint16) uint16 { return port }})
	a := newAuthority(t, "web.shop.svc.cluster.local")
	backend := permissive(t, a)
	credential := model.ObjectName{Namespace: gateway.Namespace, Name: "web"}

	put := func(subset string, secure bool) {
		w.change(func(tx *store.Tx) {
			w.subsets(tx, subset)
			c := &model.Cluster{Destination: destination(subset)}
			if secure {
				c.Policy.TLS = &model.ClientTLS{Mode: model.TLSSimple, Credential: &credential, SNI: destination("").Host}
			}
			w.put(tx, "clusters", clusterID(key(subset)), c)
			w.put(tx, "endpoints", clusterID(key(subset)), &model.ClusterEndpoints{Destination: destination(subset), Endpoints: []model.ClusterEndpoint{{Endpoint: model.Endpoint{AddrPort: backend, Ready: true}}}})
			w.put(tx, "names", gateway.String(), []model.ObjectName{credential})
			w.put(tx, "secrets", credential.String(), a.secret(credential))
			w.listen(tx, subset)
		})
	}
	put("v0", false)
	e := startEnvoy(t, w)
	w.inStep(e, "CDS", "EDS", "LDS", "RDS")

	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	var requests, bad atomic.Int64
	var first atomic.Pointer[string]
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 4 {
		client := &http.Client{Transport: &http.Transport{}}
		load.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				req, _ := http.NewRequest(http.MethodGet, url, http.NoBody)
				req.Host = "web"
				resp, err := client.Do(req)
				requests.Add(1)
				text := ""
				if err != nil {
					text = err.Error()
				} else {
					b, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					if resp.StatusCode == http.StatusOK {
						continue
					}
					text = fmt.Sprint(resp.Status, " ", string(b))
				}
				bad.Add(1)
				first.CompareAndSwap(nil, &text)
			}
		})
	}
	e.wait("the first answers", func() bool { return requests.Load() > 10 })
	for i := range 30 {
		put(fmt.Sprintf("v%d", (i+1)/2), i%4 > 1) // the name changes every second time, the mode in between
		w.inStep(e, "CDS", "EDS", "LDS", "RDS")
		n := requests.Load()
		e.wait("requests in between", func() bool { return requests.Load() > n+20 })
	}
	stop()
	load.Wait()
	if n := bad.Load(); n > 0 {
		t.Errorf("%d of %d requests went wrong, first: %s", n, requests.Load(), *first.Load())
	}
	if n := e.stat("no_cluster"); n > 0 {
		t.Errorf("%d requests found no cluster", n)
	}
	for _, counter := range []string{"update_rejected", "upstream_cx_none_healthy"} {
		if n := e.stat(counter); n > 0 {
			t.Errorf("%s is %d", counter, n)
		}
	}
	e.wait("old clusters to go", func() bool { return e.stat("cluster_manager.active_clusters") == 2 })
	t.Logf("%d requests", requests.Load())
}

// Stock Envoy takes all that the model can say, and warns of nothing.
func TestEnvoyTakesEverything(t *testing.T) {
	ports := map[uint16]uint16{}
	for declared := range uint16(8) {
		ports[80+declared] = freeport.Hold(t).Port()
	}
	w := newWorldOf(t, resource.Options{Address: "127.0.0.1", AccessLog: true, SystemCAs: systemCAs(t), Bind: func(declared uint16) uint16 { return ports[declared] }})
	a := newAuthority(t, "web.test")
	w.change(func(tx *store.Tx) { w.everything(tx, a) })
	e := startEnvoy(t, w)
	w.inStep(e, "CDS", "EDS", "SDS", "LDS", "RDS")
	e.wait("listeners that are warm", func() bool { return e.stat("listener_manager.total_listeners_warming") == 0 })
	if n := e.stat("update_rejected"); n > 0 {
		t.Errorf("%d updates are rejected", n)
	}
	var dump struct{ Configs []map[string]any }
	if err := json.Unmarshal(e.get("/config_dump"), &dump); err != nil || len(dump.Configs) == 0 {
		t.Errorf("%v, %d configs", err, len(dump.Configs))
	}
	if b, err := os.ReadFile(e.log); err != nil || bytes.Contains(b, []byte("[warning][config]")) {
		t.Errorf("%v; Envoy warns: %s", err, b)
	}
}

func systemCAs(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "cas.pem")
	if err := os.WriteFile(path, newAuthority(t, "x").ca, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
