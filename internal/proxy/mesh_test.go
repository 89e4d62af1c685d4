package proxy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	cryptotls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/proxy"
)

// authority is a mesh's CA.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, next: 2}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"cluster.local"}}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

// issue makes a workload's certificate, as Istio's are: no subject, the SPIFFE ID as the one name.
func (a *authority) issue(id string, until time.Duration) (cert, key string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	uri, err := url.Parse(id)
	if err != nil {
		a.t.Fatal(err)
	}
	a.next++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), URIs: []*url.URL{uri}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(until),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, k.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}))
}

// pair is a certificate as crypto/tls wants it.
func (a *authority) pair(id string, until time.Duration) cryptotls.Certificate {
	a.t.Helper()
	cert, key := a.issue(id, until)
	p, err := cryptotls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		a.t.Fatal(err)
	}
	return p
}

func inlined(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}

func certificate(cert, key string) *tlsv3.Secret {
	return &tlsv3.Secret{Name: "default", Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inlined(cert), PrivateKey: inlined(key)},
	}}
}

func trust(ca string) *tlsv3.Secret {
	return &tlsv3.Secret{Name: "ROOTCA", Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inlined(ca)}}}
}

// identity is what a Pod's agent gives its proxy.
type identity struct {
	mu    sync.Mutex
	set   func(*tlsv3.Secret) error
	first []*tlsv3.Secret
}

func (i *identity) run(ctx context.Context, set func(*tlsv3.Secret) error) {
	i.mu.Lock()
	i.set = set
	for _, s := range i.first {
		_ = set(s)
	}
	i.mu.Unlock()
	<-ctx.Done()
}

// put brings a Secret now, or when the proxy begins.
func (i *identity) put(t *testing.T, s *tlsv3.Secret) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.set == nil {
		i.first = append(i.first, s)
	} else if err := i.set(s); err != nil {
		t.Fatal(err)
	}
}

func newIdentity(t *testing.T, a *authority, id string) *identity {
	t.Helper()
	i := &identity{}
	i.put(t, certificate(a.issue(id, time.Hour)))
	i.put(t, trust(a.pem))
	return i
}

// as runs a proxy with an identity.
func (i *identity) start(t *testing.T, listeners, clusters []string) *running {
	t.Helper()
	c, log := config(t, listeners, clusters)
	return run(t, log, proxy.Options{Bootstrap: c, DrainTime: 100 * time.Millisecond, Secrets: i.run})
}

const (
	shop = "spiffe://cluster.local/ns/shop/sa/web"
	cart = "spiffe://cluster.local/ns/shop/sa/cart"

	sdsConfig = `sds_config: {resource_api_version: V3, api_config_source: {api_type: GRPC, set_node_on_first_message_only: true, transport_api_version: V3,
		grpc_services: [{envoy_grpc: {cluster_name: sds-grpc}}]}}`
	httpALPN = "istio-http/1.0, istio-http/1.1, istio-h2"
	tcpALPN  = "istio, istio-peer-exchange"
)

// mutual is the transport socket of a chain that takes the mesh's TLS, as Istio writes it.
func mutual(alpn string) string {
	return `transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext,
		require_client_certificate: true, common_tls_context: {alpn_protocols: [` + alpn + `], tls_params: {tls_minimum_protocol_version: TLSv1_2},
		tls_certificate_sds_secret_configs: [{name: default, ` + sdsConfig + `}],
		combined_validation_context: {default_validation_context: {}, validation_context_sds_secret_config: {name: ROOTCA, ` + sdsConfig + `}}}}}`
}

// toMesh are the fields of a cluster whose endpoints are spoken to with the mesh's TLS, if they take it.
func toMesh(alpn, id string) string {
	return `transport_socket_matches: [{name: tlsMode-istio, match: {tlsMode: istio}, transport_socket: {name: tls, typed_config: {
		"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: outbound_.80_._.web.shop.svc.cluster.local,
		common_tls_context: {alpn_protocols: [` + alpn + `], tls_certificate_sds_secret_configs: [{name: default, ` + sdsConfig + `}],
		combined_validation_context: {default_validation_context: {match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: "` + id + `"}}]},
			validation_context_sds_secret_config: {name: ROOTCA, ` + sdsConfig + `}}}}}},
		{name: tlsMode-disabled, match: {}, transport_socket: {name: envoy.transport_sockets.raw_buffer,
			typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}]`
}

// meshCluster is a STATIC cluster whose endpoint says that it takes the mesh's TLS.
func meshCluster(name, options, address string) string {
	return strings.Replace(cluster(name, options, address), "}}}}]}]}}", `}}}, metadata: {filter_metadata: {envoy.transport_socket_match: {tlsMode: istio}}}}]}]}}`, 1)
}

const speakHTTP1 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
	"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}}}`

const forwardCert = "forward_client_cert_details: APPEND_FORWARD, set_current_client_cert_details: {subject: true, dns: true, uri: true},"

// server is the listener of a Pod whose app speaks HTTP and bytes: the mesh's TLS, and plaintext if it is permissive.
func meshServer(permissive bool) string {
	http := httpFilter(forwardCert+"codec_type: AUTO,", "", all(toWeb("/", "")))
	plain := ""
	if permissive {
		plain = `, {name: plain, filter_chain_match: {application_protocols: [http/1.1]}, filters: [` + http + `]}, {name: bytes, filters: [` + tcpFilter("bytes") + `]}`
	}
	return `{name: main, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, listener_filters: [` + inspector + `, ` + httpInspector + `], filter_chains: [
		{name: http, filter_chain_match: {transport_protocol: tls, application_protocols: [` + httpALPN + `]}, filters: [` + http + `], ` + mutual("h2, http/1.1") + `},
		{name: tcp, filter_chain_match: {transport_protocol: tls, application_protocols: [` + tcpALPN + `]}, filters: [` + tcpFilter("bytes") + `], ` +
		mutual("istio-peer-exchange, h2, http/1.1") + `}` + plain + `]}`
}

// meshClient are the listeners and clusters of a Pod that calls such a server.
func meshClient(server, id string) (listeners, clusters []string) {
	for _, c := range []struct{ name, alpn, speak string }{
		{"http1", "istio-http/1.1, istio", speakHTTP1}, {"http2", "istio-h2", speakHTTP2},
	} {
		listeners = append(listeners, hcm(c.name, "codec_type: AUTO", all(`{match: {prefix: /}, route: {cluster: `+c.name+`}}`)))
		clusters = append(clusters, meshCluster(c.name, toMesh(c.alpn, id)+", "+c.speak, server))
	}
	listeners = append(listeners, listener("tcp", "", `{filters: [`+tcpFilter("tcp")+`]}`))
	return listeners, append(clusters, meshCluster("tcp", toMesh("istio-peer-exchange, istio", id), server))
}

// metric reads one series of a proxy.
func (r *running) metric(series string) string {
	r.t.Helper()
	_, metrics, _ := r.Admin().Addresses()
	_, text := ask(r.t, "GET", fmt.Sprintf("http://%s/stats/prometheus", metrics), nil)
	for l := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(l, series+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
