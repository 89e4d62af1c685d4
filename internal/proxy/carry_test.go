package proxy_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	cryptotls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// pair makes a certificate for names and gives it, and its key, in PEM.
func pair(t *testing.T, names ...string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}))
}

func tlsSocket(cert, key, alpn string) string {
	return fmt.Sprintf(`transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext,
		common_tls_context: {alpn_protocols: [%s], tls_certificates: [{certificate_chain: {inline_string: %q}, private_key: {inline_string: %q}}]}}}`, alpn, cert, key)
}

const inspector = `{name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}`

func tcpFilter(cluster string) string {
	return `{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: ` + cluster + `}}`
}

func listener(name, more string, chains ...string) string {
	return `{name: ` + name + `, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, ` + more + `filter_chains: [` + strings.Join(chains, ", ") + `]}`
}

func TestTLSAndNames(t *testing.T) {
	b := backend(t, echo)
	oneCert, oneKey := pair(t, "one.example")
	twoCert, twoKey := pair(t, "*.two.example")
	behind, behindKey := pair(t, "through.example")
	own, err := cryptotls.X509KeyPair([]byte(behind), []byte(behindKey))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := cryptotls.Listen("tcp", "127.0.0.1:0", &cryptotls.Config{Certificates: []cryptotls.Certificate{own}})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = http.Serve(secret, http.HandlerFunc(echo)) }()
	t.Cleanup(func() { _ = secret.Close() })

	main := httpFilter("use_remote_address: true,", "", all(toWeb("/", "")))
	r := start(t, []string{listener("main", "listener_filters: ["+inspector+"], ",
		`{filter_chain_match: {server_names: [one.example]}, filters: [`+main+`], `+tlsSocket(oneCert, oneKey, "h2, http/1.1")+`}`,
		`{filter_chain_match: {server_names: ["*.two.example"]}, filters: [`+main+`], `+tlsSocket(twoCert, twoKey, "http/1.1")+`}`,
		`{filter_chain_match: {server_names: [through.example]}, filters: [`+tcpFilter("secret")+`]}`)},
		[]string{cluster("web", "", b), cluster("secret", "", secret.Addr().String())})
	get := func(name, trusted string) (string, error) {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(trusted))
		tr := &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: &cryptotls.Config{RootCAs: pool},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", r.addr("main"))
			},
		}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr, Timeout: 20 * time.Second}).Get("https://" + name + "/")
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return resp.Proto + " " + string(body), err
	}
	for _, c := range []struct{ name, trusted, want string }{
		{"one.example", oneCert, "HTTP/2.0 GET / one.example"},
		{"a.two.example", twoCert, "HTTP/1.1 GET / a.two.example"},
		{"through.example", behind, "HTTP/1.1 GET / through.example"},
	} {
		got, err := get(c.name, c.trusted)
		if err != nil || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if c.name == "one.example" && !strings.Contains(got, "x-forwarded-proto: https") {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	if got, err := get("unknown.example", oneCert); err == nil {
		t.Errorf("a name that no chain has: %q", got)
	}
}

func TestTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
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
			go func() { // answers when the client has said all: both halves end on their own
				defer func() { _ = c.Close() }()
				text, _ := io.ReadAll(c)
				_, _ = fmt.Fprintf(c, "%d bytes", len(text))
			}()
		}
	}()
	r := start(t, []string{listener("main", "", `{filters: [`+tcpFilter("web")+`]}`), listener("dead", "", `{filters: [`+tcpFilter("dead")+`]}`)},
		[]string{cluster("web", "", ln.Addr().String()), cluster("dead", "", closed(t))})
	talk := func(listener string, say []byte) string {
		c, err := net.Dial("tcp", r.addr(listener))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = c.Write(say)
		_ = c.(*net.TCPConn).CloseWrite()
		text, _ := io.ReadAll(c)
		return string(text)
	}
	for _, n := range []int{0, 1, 3 << 20} {
		if got, want := talk("main", make([]byte, n)), fmt.Sprintf("%d bytes", n); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := talk("dead", nil); got != "" {
		t.Errorf("an endpoint that is not there said %q", got)
	}
	eventually(t, "the series of TCP", func() bool {
		text := r.metrics()
		return strings.Contains(text, `istio_tcp_connections_opened_total{reporter="source",source_workload="edge"`) && strings.Contains(text, "} 3145729\n")
	})
}

// metrics gives what Prometheus reads.
func (r *running) metrics() string {
	_, at, _ := r.Admin().Addresses()
	_, text := ask(r.t, "GET", "http://"+at.String()+"/stats/prometheus", nil)
	return text
}

func TestGRPC(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := health.NewServer()
	h.SetServingStatus("web", healthpb.HealthCheckResponse_SERVING)
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, h)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	r := start(t, []string{hcm("main", "", `{name: v, domains: [web], routes: [`+toWeb("/", ", timeout: 0s")+`]}, {name: d, domains: [dead], routes: [{match: {prefix: "/"}, route: {cluster: dead}}]}`)},
		[]string{cluster("web", speakHTTP2, ln.Addr().String()), cluster("dead", speakHTTP2, closed(t))})
	client := func(authority string) healthpb.HealthClient {
		c, err := grpc.NewClient(r.addr("main"), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(authority))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return healthpb.NewHealthClient(c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	web := client("web")
	if resp, err := web.Check(ctx, &healthpb.HealthCheckRequest{Service: "web"}); err != nil || resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", resp, err)
	}
	if _, err := web.Check(ctx, &healthpb.HealthCheckRequest{Service: "no"}); status.Code(err) != codes.NotFound {
		t.Errorf("the service's own error: %v", err)
	}
	stream, err := web.Watch(ctx, &healthpb.HealthCheckRequest{Service: "web"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		m, err := stream.Recv()
		if err != nil || m.GetStatus() != want {
			t.Fatalf("%v, %v", m, err)
		}
		h.SetServingStatus("web", healthpb.HealthCheckResponse_NOT_SERVING)
	}
	if _, err := client("dead").Check(ctx, &healthpb.HealthCheckRequest{}); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "connection failure") {
		t.Errorf("an endpoint that is not there: %v", err)
	}
	if _, err := client("none").Check(ctx, &healthpb.HealthCheckRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("no route: %v", err)
	}
	eventually(t, "gRPC's series", func() bool {
		text := r.metrics()
		return strings.Contains(text, `request_protocol="grpc",response_code="200",grpc_response_status="5",response_flags="-"} 1`) &&
			strings.Contains(text, `grpc_response_status="14",response_flags="UF"} 1`)
	})
}

// A client that goes away takes its request with it, where the connection can tell.
func TestClientGoes(t *testing.T) {
	began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	b := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	r := start(t, []string{hcm("main", "", all(toWeb("/", "")))}, []string{cluster("web", "", b)})
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr("main")+"/wait", nil)
	go func() {
		<-began
		cancel()
	}()
	if resp, err := tr.RoundTrip(req); err == nil {
		t.Errorf("an answer: %v", resp.Status)
	}
	within(t, "the end of the request upstream", ended)
	if l := r.line("/wait"); l["flags"] != "DC" {
		t.Errorf("%v", l)
	}
}

func TestProxyProtocol(t *testing.T) {
	b := backend(t, echo)
	r := start(t, []string{listener("main", `listener_filters: [{name: p, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol}}], `,
		`{filters: [`+httpFilter("use_remote_address: true,", "", all(toWeb("/", "")))+`]}`)}, []string{cluster("web", "", b)})
	c, err := net.Dial("tcp", r.addr("main"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, "PROXY TCP4 192.0.2.7 192.0.2.8 4000 80\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
	text, _ := io.ReadAll(c)
	if !bytes.Contains(text, []byte("x-forwarded-for: 192.0.2.7\n")) || !bytes.Contains(text, []byte("x-envoy-external-address: 192.0.2.7\n")) {
		t.Errorf("%s", text)
	}
}

// trusting is a client that looks at no certificate.
func trusting() *cryptotls.Config { return &cryptotls.Config{InsecureSkipVerify: true} }
