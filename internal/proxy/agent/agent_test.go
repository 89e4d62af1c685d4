package agent_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy/agent"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/test/freeport"
)

const patience = 30 * time.Second

// pod is an agent that runs.
type pod struct {
	t                      *testing.T
	o                      agent.Options
	metrics, health, admin string
	end                    func()
	ended                  chan error
}

// options are an agent's in a Pod whose files are in dir.
func options(t *testing.T, c *control, dir string) agent.Options {
	t.Helper()
	server := bootstrap.XDS{Address: c.address, CAFile: filepath.Join(dir, "root-cert.pem"), TokenFile: filepath.Join(dir, "token")}
	id := bootstrap.Identity{Kind: "sidecar", Name: "web-1", Namespace: "shop", Address: "127.0.0.1", Cluster: "web", ServiceAccount: "web"}
	return agent.Options{
		Node: id.Node(), Control: server, CA: server, Namespace: "shop", ServiceAccount: "web", Address: netip.MustParseAddr("127.0.0.1"), RootFile: server.CAFile,
		Directory: filepath.Join(dir, "state"), SDSSocket: filepath.Join(dir, "sds"), XDSSocket: filepath.Join(dir, "xds"),
		Admin: freeport.Hold(t), Metrics: freeport.Hold(t), Health: freeport.Hold(t), Drain: time.Second, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Stdout: t.Output(), Stderr: t.Output(),
	}
}

// start runs an agent until the test ends, or end is called.
func start(t *testing.T, o agent.Options) *pod {
	t.Helper()
	if err := os.MkdirAll(o.Directory, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p := &pod{t: t, o: o, ended: make(chan error, 1), metrics: "http://" + o.Metrics.String(), health: "http://" + o.Health.String(), admin: "http://" + o.Admin.String()}
	done := make(chan struct{})
	go func() { defer close(done); p.ended <- agent.Run(ctx, o) }()
	p.end = func() { cancel(); <-done }
	t.Cleanup(p.end)
	return p
}

// wait waits for something to become true.
func (p *pod) wait(what string, done func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain for %s", what)
		}
		select {
		case err := <-p.ended:
			p.t.Fatalf("the agent ended while %s was waited for: %v", what, err)
		default:
		}
	}
}

func get(url string) (int, string) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

func (p *pod) ready() {
	p.t.Helper()
	p.wait("readiness", func() bool { code, _ := get(p.health + "/healthz/ready"); return code == http.StatusOK })
}

// call asks the Pod over mutual TLS, as another Pod does, and gives the Pod's certificate.
func (p *pod) call(c *control, port uint16, as tls.Certificate) (*x509.Certificate, error) {
	roots := x509.NewCertPool()
	roots.AddCert(c.root)
	var shown *x509.Certificate
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		Certificates: []tls.Certificate{as}, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, // there is no name in it: VerifyConnection looks instead
		VerifyConnection: func(s tls.ConnectionState) error {
			shown = s.PeerCertificates[0]
			_, err := shown.Verify(x509.VerifyOptions{Roots: roots})
			return err
		},
	}}}
	resp, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/", port))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello" {
		return nil, fmt.Errorf("%q %w", b, err)
	}
	return shown, nil
}

// carriers runs a test with weft's own proxy, and with stock Envoy where there is one.
func carriers(t *testing.T, test func(t *testing.T, envoy string)) {
	t.Run("weft", func(t *testing.T) { test(t, "") })
	t.Run("envoy", func(t *testing.T) {
		path := os.Getenv("WEFT_ENVOY")
		if path == "" {
			t.Skip("needs stock Envoy: set WEFT_ENVOY to what scripts/envoy.sh prints")
		}
		test(t, path)
	})
}

// A Pod shows its identity to others of the mesh, its certificate is renewed while a connection stays open, and strangers are refused.
func TestIdentity(t *testing.T) {
	carriers(t, func(t *testing.T, envoy string) {
		port := freeport.Hold(t).Port()
		c := newControl(t, port, 4*time.Second)
		o := options(t, c, c.files())
		o.Envoy, o.Sidecar = envoy, envoy != "" // weft's own would want the index of a mesh
		p := start(t, o)
		p.ready()
		friend := c.workload("spiffe://cluster.local/ns/shop/sa/bank")
		first, err := p.call(c, port, friend)
		if err != nil {
			t.Fatal(err)
		}
		if len(first.URIs) != 1 || first.URIs[0].String() != identity {
			t.Errorf("the Pod shows %v", first.URIs)
		}

		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{Certificates: []tls.Certificate{friend}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		p.wait("another certificate", func() bool {
			now, err := p.call(c, port, friend)
			return err == nil && now.SerialNumber.Cmp(first.SerialNumber) != 0
		})
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(conn); err != nil || !strings.Contains(string(b), "hello") {
			t.Errorf("the connection of before: %q %v", b, err)
		}

		foreign := newControl(t, freeport.Hold(t).Port(), time.Minute)
		for name, stranger := range map[string]tls.Certificate{
			"of another authority": foreign.workload("spiffe://cluster.local/ns/shop/sa/bank"), "of another trust domain": c.workload("spiffe://elsewhere/ns/shop/sa/bank"), "with no certificate": {},
		} {
			if _, err := p.call(c, port, stranger); err == nil {
				t.Errorf("a client %s was let in", name)
			}
		}
		if code, text := get(p.metrics + "/stats/prometheus"); code != http.StatusOK || !strings.Contains(text, "weft_agent_certificates_total") {
			t.Errorf("%d %.300s", code, text)
		}
		c.mu.Lock()
		nodes := c.nodes
		c.mu.Unlock()
		if len(nodes) == 0 || nodes[0] != "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local" {
			t.Errorf("nodes %v", nodes)
		}
		_, dump := get(p.admin + "/config_dump?include_eds")
		if strings.Contains(dump, "PRIVATE KEY") || !strings.Contains(dump, "virtualInbound") {
			t.Errorf("config_dump of %d bytes shows a key, or nothing", len(dump))
		}
	})
}

// A container that starts again while control is away serves on with what the one before left.
func TestRestartWithoutControl(t *testing.T) {
	port := freeport.Hold(t).Port()
	c := newControl(t, port, time.Hour)
	o := options(t, c, c.files())
	p := start(t, o)
	p.ready()
	friend := c.workload("spiffe://cluster.local/ns/shop/sa/bank")
	first, err := p.call(c, port, friend)
	if err != nil {
		t.Fatal(err)
	}
	p.end()
	c.stop()
	p = start(t, o)
	p.ready()
	second, err := p.call(c, port, friend)
	if err != nil || !second.Equal(first) {
		t.Errorf("%v", err)
	}
	files, err := os.ReadDir(o.Directory)
	if err != nil || len(files) < 3 {
		t.Fatalf("%v %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f.Name(), info.Mode(), err)
		}
	}
}

// A Pod without a certificate is not ready, and becomes so when its token is believed.
func TestTokenThatIsNotBelieved(t *testing.T) {
	c := newControl(t, freeport.Hold(t).Port(), time.Hour)
	dir := c.files()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, options(t, c, dir))
	p.wait("a refusal", func() bool {
		_, text := get(p.metrics + "/stats/prometheus")
		return regexp.MustCompile(`weft_agent_certificate_failures_total [1-9]`).MatchString(text)
	})
	if code, _ := get(p.health + "/healthz/ready"); code != http.StatusServiceUnavailable {
		t.Errorf("ready: %d", code)
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(theToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.ready()
}

// The kubelet's questions reach the application, and the application can end the proxy; nobody else can.
func TestStatusPort(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer app.Close()
	carriers(t, func(t *testing.T, envoy string) {
		c := newControl(t, freeport.Hold(t).Port(), time.Hour)
		o := options(t, c, c.files())
		o.Envoy, o.Sidecar = envoy, envoy != "" // weft's own would want the index of a mesh
		o.MinimumDrain = time.Hour              // nobody waits for it who is told to quit
		o.Drain = time.Minute
		o.Probers = fmt.Sprintf(`{"/app-health/app/readyz": {"httpGet": {"path": "/healthz", "port": %d}}}`, app.Listener.Addr().(*net.TCPAddr).Port)
		p := start(t, o)
		p.ready()
		if code, text := get(p.metrics + "/app-health/app/readyz"); code != http.StatusOK {
			t.Errorf("%d %s", code, text)
		}
		if code, _ := get(p.metrics + "/healthz/ready"); code != http.StatusOK {
			t.Errorf("ready on the status port: %d", code)
		}
		if code, _ := get(p.metrics + "/quitquitquit"); code == http.StatusOK {
			t.Error("quits for a GET")
		}
		resp, err := http.Post(p.metrics+"/quitquitquit", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		select {
		case err := <-p.ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("it did not quit")
		}
	})
}

// A Pod whose Envoy has died ends, so that the kubelet starts another.
func TestEnvoyDies(t *testing.T) {
	program := os.Getenv("WEFT_ENVOY")
	if program == "" {
		t.Skip("needs stock Envoy: set WEFT_ENVOY to what scripts/envoy.sh prints")
	}
	c := newControl(t, freeport.Hold(t).Port(), time.Hour)
	o := options(t, c, c.files())
	o.Envoy, o.EnvoyMetrics = program, freeport.Hold(t)
	p := start(t, o)
	p.ready()
	if code, text := get("http://" + o.EnvoyMetrics.String() + "/stats/prometheus"); code != http.StatusOK || !strings.Contains(text, "envoy_server_live") {
		t.Errorf("Envoy's own metrics: %d %.200s", code, text)
	}
	if code, text := get(p.metrics + "/stats/prometheus"); code != http.StatusOK || !strings.Contains(text, "envoy_server_live") {
		t.Errorf("%d %.200s", code, text)
	}
	resp, err := http.Post(p.admin+"/quitquitquit", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	select {
	case err := <-p.ended:
		if err == nil || !strings.Contains(err.Error(), "it has ended") {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the agent goes on without Envoy")
	}
}
