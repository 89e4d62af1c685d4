package proxy_test

import (
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
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
)

// mesh is a certificate authority of a mesh.
type mesh struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{t: t, key: newKey(t)}
	m.cert = m.sign(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mesh"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, m.key)
	return m
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (m *mesh) sign(c, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	m.t.Helper()
	if parent == nil {
		parent = c
	}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, m.key)
	if err != nil {
		m.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		m.t.Fatal(err)
	}
	return cert
}

// issue gives a certificate and key of a service account, in PEM.
func (m *mesh) issue(account string) (cert, key string) {
	m.t.Helper()
	k := newKey(m.t)
	u, err := url.Parse("spiffe://cluster.local/ns/shop/sa/" + account)
	if err != nil {
		m.t.Fatal(err)
	}
	c := m.sign(&x509.Certificate{SerialNumber: big.NewInt(2), URIs: []*url.URL{u}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}, m.cert, k)
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		m.t.Fatal(err)
	}
	return encodePEM("CERTIFICATE", c.Raw), encodePEM("EC PRIVATE KEY", der)
}

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// secrets are the two Secrets of a workload, as static_resources have them.
func (m *mesh) secrets(account string) string {
	cert, key := m.issue(account)
	return fmt.Sprintf(`[{name: default, tls_certificate: {certificate_chain: {inline_string: %q}, private_key: {inline_string: %q}}},
		{name: ROOTCA, validation_context: {trusted_ca: {inline_string: %q}}}]`, cert, key, encodePEM("CERTIFICATE", m.cert.Raw))
}

const (
	common     = `common_tls_context: {alpn_protocols: ALPN, tls_certificate_sds_secret_configs: [{name: default}], validation_context_sds_secret_config: {name: ROOTCA}}`
	serverTLS  = `transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true, ` + common + `}}`
	clientTLS  = `transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, ` + common + `}}`
	tellsPeers = `{name: weft.peer_metadata, typed_config: {"@type": type.googleapis.com/weft.mesh.v1.PeerMetadata}}, `
)

// sidecar runs a proxy of a workload.
func sidecar(t *testing.T, m *mesh, account, listener string, clusters ...string) *running {
	t.Helper()
	text := fmt.Sprintf(`{node: {id: "sidecar~127.0.0.1~%[1]s-7.shop~shop.svc.cluster.local", metadata: {WORKLOAD_NAME: %[1]s-v1, NAMESPACE: shop, CLUSTER_ID: Kubernetes,
		LABELS: {app: %[1]s, version: v1, service.istio.io/canonical-name: %[1]s, service.istio.io/canonical-revision: v1}}},
		static_resources: {secrets: %[2]s, listeners: [%[3]s], clusters: [%[4]s]}}`, account, m.secrets(account), listener, strings.Join(clusters, ", "))
	log := t.TempDir() + "/access.log"
	c, err := bootstrap.Parse([]byte(strings.ReplaceAll(text, "ACCESS_LOG", log)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return run(t, log, proxy.Options{Bootstrap: c, DrainTime: 100 * time.Millisecond})
}

// ordersInbound is the listener of the workload orders, with filters in front.
func ordersInbound(alpn, filters string) string {
	return `{name: inbound, traffic_direction: INBOUND, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{` + strings.ReplaceAll(serverTLS, "ALPN", alpn) +
		`, filters: [` + httpFilter("", filters, all(toWeb("/", ""))) + `]}]}`
}

func frontOutbound() string {
	return `{name: outbound, traffic_direction: OUTBOUND, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: [` +
		httpFilter("", tellsPeers, all(`{match: {prefix: "/"}, route: {cluster: "outbound|80||orders.shop.svc.cluster.local"}}`)) + `]}]}`
}

func ordersCluster(alpn, more, addr string) string {
	return strings.Replace(cluster(`"outbound|80||orders.shop.svc.cluster.local"`, strings.ReplaceAll(clientTLS, "ALPN", alpn)+more, addr), "endpoints: [{lb_endpoints: [{",
		`endpoints: [{lb_endpoints: [{metadata: {filter_metadata: {istio: {workload: "orders-v1;shop;orders;v1;Kubernetes"}}}, `, 1)
}

const orders = `metadata: {filter_metadata: {istio: {services: [{host: orders.shop.svc.cluster.local, name: orders, namespace: shop}]}}}`

// Both sides of a request know each other, the application sees nothing of it, and what it says in its proxy's place is not believed.
func TestPeers(t *testing.T) {
	for _, c := range []struct{ name, alpn, more string }{{"HTTP/1", `["http/1.1"]`, ""}, {"HTTP/2", `["h2"]`, ", " + speakHTTP2}} {
		t.Run(c.name, func(t *testing.T) {
			m := newMesh(t)
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("x-envoy-peer-metadata", "a lie")
				_ = json.NewEncoder(w).Encode(r.Header)
			}))
			t.Cleanup(web.Close)
			server := sidecar(t, m, "orders", ordersInbound(c.alpn, tellsPeers), cluster("web", orders, web.Listener.Addr().String()))
			client := sidecar(t, m, "front", frontOutbound(), ordersCluster(c.alpn, c.more, server.addr("inbound")))
			for range 3 {
				resp, body := ask(t, "GET", "http://"+client.addr("outbound")+"/", nil, "x-envoy-peer-metadata", "a lie", "x-envoy-peer-metadata-id", "a lie")
				if resp.StatusCode != 200 || strings.Contains(strings.ToLower(body), "peer-metadata") || resp.Header.Get("x-envoy-peer-metadata") != "" {
					t.Fatalf("%d, the application sees %s, its client %v", resp.StatusCode, body, resp.Header)
				}
			}
			source := `source_workload="front-v1",source_workload_namespace="shop",source_principal="spiffe://cluster.local/ns/shop/sa/front",source_app="front",source_version="v1",` +
				`source_canonical_service="front",source_canonical_revision="v1",source_cluster="Kubernetes"`
			destination := strings.NewReplacer("source_", "destination_", "front", "orders").Replace(source)
			const service = `,destination_service="orders.shop.svc.cluster.local",destination_service_name="orders",destination_service_namespace="shop",connection_security_policy=`
			const outcome = `,request_protocol="http",response_code="200",grpc_response_status="",response_flags="-"} 3`
			for _, one := range []struct {
				of   *running
				want string
			}{
				{server, `istio_requests_total{reporter="destination",` + source + "," + destination + service + `"mutual_tls"` + outcome},
				{client, `istio_requests_total{reporter="source",` + source + "," + destination + service + `"unknown"` + outcome},
			} {
				eventually(t, one.want, func() bool { return strings.Contains(one.of.metrics(), one.want+"\n") })
			}
		})
	}
}

// An endpoint that answers as Istio's proxies do is told on every request who asks, one of weft's once on a connection, one outside of the mesh never.
func TestIntroductions(t *testing.T) {
	for _, c := range []struct {
		name          string
		inMesh, istio bool
		first, others bool // whether the first request on a connection, and those that follow, say who asks
	}{
		{"istio", true, true, true, true},
		{"weft", true, false, true, false},
		{"stranger", false, false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMesh(t)
			var mu sync.Mutex
			seen, others := map[string]bool{}, 0              // by connection
			const answer = "ChYKCU5BTUVTUEFDRRIJGgdzdHJhbmdl" // NAMESPACE: strange
			web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				said := r.Header.Get("x-envoy-peer-metadata")
				want := c.first
				if seen[r.RemoteAddr] {
					want = c.others
					others++
				}
				seen[r.RemoteAddr] = true
				if (said != "") != want {
					t.Errorf("a request says %q, want that to be %t", said, want)
				}
				if said != "" && c.istio { // what Istio's proxy says has no word of remembering
					said = answer
				}
				if said != "" {
					w.Header().Set("x-envoy-peer-metadata", said)
				}
			}))
			cert, key := m.issue("orders")
			pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			var to string
			if c.inMesh {
				web.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
				web.StartTLS()
				to = ordersCluster(`["http/1.1"]`, "", web.Listener.Addr().String())
			} else {
				web.Start()
				to = cluster(`"outbound|80||orders.shop.svc.cluster.local"`, "", web.Listener.Addr().String())
			}
			t.Cleanup(web.Close)
			client := sidecar(t, m, "front", frontOutbound(), to)
			eventually(t, "connections are used again", func() bool {
				if resp, _ := ask(t, "GET", "http://"+client.addr("outbound")+"/", nil); resp.StatusCode != 200 || resp.Header.Get("x-envoy-peer-metadata") != "" {
					t.Fatalf("%d %v", resp.StatusCode, resp.Header)
				}
				mu.Lock()
				defer mu.Unlock()
				return others > 2
			})
		})
	}
}

// Rules over identities decide on requests and on connections.
func TestIdentities(t *testing.T) {
	const config = `rules: {action: ALLOW, policies: {front: {permissions: [{any: true}], principals: [{authenticated: {principal_name: {exact: "spiffe://cluster.local/ns/shop/sa/front"}}}]}}}`
	m := newMesh(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	t.Cleanup(web.Close)
	http1 := `["http/1.1"]`
	overHTTP := ordersInbound(http1, `{name: rbac, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, `+config+`}}, `)
	overTCP := `{name: tcp, traffic_direction: INBOUND, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{` + strings.ReplaceAll(serverTLS, "ALPN", http1) + `, filters: [
		{name: rbac, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: tcp., ` + config + `}},
		{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: web,
		access_log: [{name: a, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: ACCESS_LOG,
		log_format: {json_format: {path: tcp, details: "%CONNECTION_TERMINATION_DETAILS%"}}}}]}}]}]}`
	server := sidecar(t, m, "orders", overHTTP+", "+overTCP, cluster("web", orders, web.Listener.Addr().String()))
	for _, account := range []string{"front", "thief"} {
		cert, key := m.issue(account)
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		get := func(listener string) string {
			c, err := tls.Dial("tcp", server.addr(listener), &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"); err != nil {
				return ""
			}
			answer := make([]byte, 12)
			n, _ := io.ReadFull(c, answer)
			return string(answer[:n])
		}
		want := map[string][2]string{"front": {"HTTP/1.1 200", "HTTP/1.1 200"}, "thief": {"HTTP/1.1 403", ""}}[account]
		if got := [2]string{get("inbound"), get("tcp")}; got != want {
			t.Errorf("%s: %q, want %q", account, got, want)
		}
	}
	eventually(t, "the access log says why the connection was closed", func() bool {
		text, _ := os.ReadFile(server.log)
		return strings.Contains(string(text), `{"details":"rbac_access_denied_matched_policy[none]","path":"tcp"}`)
	})
	eventually(t, "both decisions are counted", func() bool {
		text := server.metrics()
		return strings.Contains(text, `weft_proxy_rbac_decisions_total{layer="tcp",policy="none",result="denied"} 1`) &&
			strings.Contains(text, `weft_proxy_rbac_decisions_total{layer="http",policy="front",result="allowed"} 1`) &&
			strings.Contains(text, `istio_tcp_connections_opened_total{reporter="destination",source_workload="unknown",source_workload_namespace="shop",source_principal="spiffe://cluster.local/ns/shop/sa/front"`)
	})
}
