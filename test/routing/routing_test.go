package routing

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/test/freeport"
)

// The namespace that the gateways of the tests are in, and their Secrets.
const fleetNamespace = "edge"

// declared are the ports that Gateways of the cases declare.
var declared = []uint16{80, 443, 8443, 9000, 9001}

// way is one way to have the cases decided.
type way struct {
	name  string
	ask   Asker
	check func(context.Context, Case) error
}

// load reads the cases, and the objects that all share.
func load(t *testing.T) (world string, files []File) {
	files, err := Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/world.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text), files
}

// Every case of a request, on the model: what weft explain says.
func TestModel(t *testing.T) {
	world, files := load(t)
	h := newHarness(t, world, files)
	m := &Model{Weft: h.weft, Folder: h.dir, Args: []string{"--gateway", fleetNamespace}, Names: h.name}
	for _, f := range files {
		h.write(t, world+"\n---\n"+f.Objects)
		t.Run(f.Name, func(t *testing.T) {
			for _, c := range f.Cases {
				if c.Method == "TCP" || c.Method == "TLS" {
					continue // these are connections
				}
				if reason := accepted("model", f.Name, c); reason != "" {
					t.Logf("%v: %s", c, reason)
					continue
				}
				if err := m.Check(t.Context(), c); err != nil {
					t.Errorf("%s.txt:%v: %v", f.Name, c, err)
				}
			}
		})
	}
}

// Every case, through weft's proxy and through Envoy. WEFT_ENVOY names Envoy (scripts/envoy.sh); without it that way is skipped.
func TestProxies(t *testing.T) {
	if testing.Short() {
		t.Skip("starts proxies")
	}
	world, files := load(t)
	h := newHarness(t, world, files)
	h.startProxies(t)
	for i, f := range files {
		h.load(t, world, f, i)
		t.Run(f.Name, func(t *testing.T) {
			for _, w := range h.ways {
				t.Run(w.name, func(t *testing.T) {
					for _, c := range f.Cases {
						if reason := accepted(w.name, f.Name, c); reason != "" {
							t.Logf("%v: %s", c, reason)
							continue
						}
						if err := soon(t.Context(), func() error { return w.check(t.Context(), c) }); err != nil {
							t.Errorf("%s.txt:%v: %v", f.Name, c, err)
						}
					}
				})
			}
		})
	}
}

// soon gives a change the time to arrive everywhere: a case that does not hold is tried again for some seconds.
func soon(ctx context.Context, try func() error) (err error) {
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if err = try(); err == nil || time.Now().After(end) || ctx.Err() != nil {
			return err
		}
	}
}

// harness is the processes that all cases share.
type harness struct {
	weft      string
	dir       string
	roots     *x509.CertPool
	endpoints []Endpoint
	secrets   string
	processes []*Process
	ways      []way
}

func newHarness(t *testing.T, world string, files []File) *harness {
	alone(t)
	h := &harness{dir: t.TempDir(), weft: filepath.Join(t.TempDir(), "weft")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", h.weft, "../../cmd/weft")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath") // as scripts build it: what they have compiled is there
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var certificate tls.Certificate
	certificate, h.roots, h.secrets = makeCertificate(t)
	all := world
	for _, f := range files {
		all += "\n---\n" + f.Objects
	}
	endpoints, err := Endpoints(all)
	if err != nil {
		t.Fatal(err)
	}
	h.endpoints = slices.CompactFunc(endpoints, func(a, b Endpoint) bool { return a.Addr == b.Addr })
	backends, err := StartBackends(t.Context(), h.endpoints, certificate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backends.Close)
	h.write(t, world)
	return h
}

// alone waits until no other process of this machine runs these tests: their endpoints have fixed addresses of loopback.
func alone(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "weft-test-routing.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}

// name gives the endpoint at an address.
func (h *harness) name(addr string) string {
	for _, e := range h.endpoints {
		if e.Addr.String() == addr {
			return e.Name
		}
	}
	return addr
}

// startProxies starts weft's proxy, and Envoy with weft's xDS.
func (h *harness) startProxies(t *testing.T) {
	gateway := []string{"gateway", "-f", h.dir, "--namespace", fleetNamespace, "--admin-address", ""}
	ports, args := bindings(t)
	h.start(t, h.weft, slices.Concat(gateway, args)...)
	h.proxy("weft", ports)

	envoy := os.Getenv("WEFT_ENVOY")
	if envoy == "" {
		t.Run("envoy", func(t *testing.T) { t.Skip("WEFT_ENVOY does not say where Envoy is (scripts/envoy.sh)") })
		return
	}
	ports, args = bindings(t)
	xds, admin := freeport.Hold(t), freeport.Hold(t)
	h.start(t, h.weft, slices.Concat(gateway, []string{"--xds", xds.String()}, args)...)
	config := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, bootstrap, admin.Port(), xds.Port()), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start(t, envoy, "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning")
	h.proxy("envoy", ports)
}

// bindings gives each declared port a free one, and the flags that say so.
func bindings(t *testing.T) (map[uint16]uint16, []string) {
	ports, args := map[uint16]uint16{}, []string{}
	for _, d := range declared {
		ports[d] = freeport.Hold(t).Port()
		args = append(args, "--port", fmt.Sprintf("%d=%d", d, ports[d]))
	}
	return ports, args
}

func (h *harness) start(t *testing.T, name string, args ...string) {
	ctx, cancel := context.WithCancel(context.Background())
	p, err := Run(ctx, name, args...)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	h.processes = append(h.processes, p)
	t.Cleanup(func() {
		if p.Ended() {
			t.Errorf("%s ended by itself: %s", filepath.Base(name), p.Log())
		}
		cancel()
		p.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", filepath.Base(name), p.Log())
		}
	})
}

func (h *harness) proxy(name string, ports map[uint16]uint16) {
	client := &Client{Dial: DialAt(ports), Roots: h.roots}
	h.ways = append(h.ways, way{name: name, ask: client, check: func(ctx context.Context, c Case) error { return Check(ctx, client, c) }})
}

// write makes these the objects of the folder, at once.
func (h *harness) write(t *testing.T, objects string) {
	part := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(part, []byte(objects+"\n---\n"+h.secrets), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(part, filepath.Join(h.dir, "objects.yaml")); err != nil {
		t.Fatal(err)
	}
}

// load puts a file's objects in the place of those before, and waits until every proxy answers by them.
func (h *harness) load(t *testing.T, world string, f File, n int) {
	mark := fmt.Sprintf("marker-%d.test", n)
	h.write(t, world+"\n---\n"+f.Objects+fmt.Sprintf(`
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: marker, namespace: default}
spec:
  hosts: [%s]
  gateways: [public]
  http: [{directResponse: {status: 299}}]
`, mark))
	q := Case{Method: "GET", URL: &url.URL{Scheme: "http", Host: mark, Path: "/"}, Port: 80}
	for _, w := range h.ways {
		var last string
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			a, err := w.ask.Ask(t.Context(), q)
			if err == nil && a.Status == 299 {
				break
			}
			last = fmt.Sprintf("%v, %v", a.Status, err)
			if time.Now().After(end) {
				t.Fatalf("%s does not come to know of %s.txt: %s", w.name, f.Name, last)
			}
		}
	}
}

// makeCertificate makes a certificate for the names of the cases, signed by itself, and the Secret that holds it.
func makeCertificate(t *testing.T) (tls.Certificate, *x509.CertPool, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "secure.test"}, DNSNames: []string{"secure.test", "*.secure.test", "through.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	b64 := base64.StdEncoding.EncodeToString
	return pair, roots, strings.Join([]string{
		"apiVersion: v1", "kind: Secret", "type: kubernetes.io/tls", "metadata: {name: tls-test, namespace: " + fleetNamespace + "}",
		"data:", "  tls.crt: " + b64(certPEM), "  tls.key: " + b64(keyPEM), "",
	}, "\n")
}

// bootstrap is Envoy's: everything from the server at the second port.
const bootstrap = `
node: {id: routing, cluster: routing}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: xds}}]
  cds_config: {resource_api_version: V3, ads: {}}
  lds_config: {resource_api_version: V3, ads: {}}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]
`
