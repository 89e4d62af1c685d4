package agent_test

import (
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
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	yaml "go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/istioca"
)

const (
	theToken = "token of shop/web"
	identity = "spiffe://cluster.local/ns/shop/sa/web"

	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
)

// control is a control plane with one authority and one listener: it believes one token.
type control struct {
	t       *testing.T
	root    *x509.Certificate
	key     *ecdsa.PrivateKey
	life    time.Duration
	address string
	stop    func()

	mu     sync.Mutex
	issued int
	nodes  []string
}

// lis is an echo of the peer's identity over mutual TLS.
const lis = `
name: virtualInbound
address: {socket_address: {address: 127.0.0.1, port_value: %d}}
filter_chains:
- transport_socket:
    name: envoy.transport_sockets.tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
      require_client_certificate: true
      common_tls_context:
        alpn_protocols: [http/1.1]
        tls_certificate_sds_secret_configs:
        - {name: default, sds_config: {resource_api_version: V3, api_config_source: {api_type: GRPC, set_node_on_first_message_only: true, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: sds-grpc}}]}}}
        combined_validation_context:
          default_validation_context: {match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: "spiffe://cluster.local/"}}]}
          validation_context_sds_secret_config: {name: ROOTCA, sds_config: {resource_api_version: V3, api_config_source: {api_type: GRPC, set_node_on_first_message_only: true, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: sds-grpc}}]}}}
  filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: inbound
      route_config: {name: local, virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hello}}}]}]}
      http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
`

func message(t *testing.T, text string, m proto.Message) *anypb.Any {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newControl serves until the test ends. port is the listener's.
func newControl(t *testing.T, port uint16, life time.Duration) *control {
	t.Helper()
	c := &control{t: t, life: life}
	var err error
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &c.key.PublicKey, c.key)
	if err != nil {
		t.Fatal(err)
	}
	if c.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	listener := message(t, fmt.Sprintf(lis, port), &listenerv3.Listener{})
	cluster := message(t, `{name: none, type: STATIC, connect_timeout: 1s}`, &clusterv3.Cluster{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = l.Addr().String()
	own := c.certificate(&x509.Certificate{IPAddresses: []net.IP{{127, 0, 0, 1}}}, time.Hour, nil)
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})))
	istioca.Register(g, c)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, &ads{control: c, resources: map[string]*discoveryv3.Resource{
		listenerType: {Name: "virtualInbound", Version: "1", Resource: listener}, clusterType: {Name: "none", Version: "1", Resource: cluster},
	}})
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	c.stop = sync.OnceFunc(func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(c.stop)
	return c
}

// certificate signs for a key, or one that it makes.
func (c *control) certificate(template *x509.Certificate, life time.Duration, public any) tls.Certificate {
	c.t.Helper()
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Minute), time.Now().Add(life)
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	if public == nil {
		public = &key.PublicKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.root, public, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// workload is another Pod of the mesh.
func (c *control) workload(id string) tls.Certificate {
	c.t.Helper()
	u, err := url.Parse(id)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.certificate(&x509.Certificate{URIs: []*url.URL{u}}, time.Hour, nil)
}

func authenticate(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if a := md.Get("authorization"); len(a) != 1 || a[0] != "Bearer "+theToken {
		return status.Errorf(codes.Unauthenticated, "%q is not believed", a)
	}
	return nil
}

// CreateCertificate implements istioca.Server.
func (c *control) CreateCertificate(ctx context.Context, r *istioca.Request) (*istioca.Response, error) {
	if err := authenticate(ctx); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(r.CSR))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(identity)
	if err != nil {
		return nil, err
	}
	leaf := c.certificate(&x509.Certificate{URIs: []*url.URL{u}}, c.life, csr.PublicKey)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.issued++
	return &istioca.Response{Chain: []string{pemOf(leaf.Certificate[0]), pemOf(c.root.Raw)}}, nil
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// files puts down what a Pod has mounted, and gives the folder.
func (c *control) files() string {
	c.t.Helper()
	dir := c.t.TempDir()
	for name, text := range map[string]string{"token": theToken, "root-cert.pem": pemOf(c.root.Raw)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	return dir
}

// ads serves the same to everybody.
type ads struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	*control
	resources map[string]*discoveryv3.Resource
}

// DeltaAggregatedResources implements the service.
func (a *ads) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	if err := authenticate(g.Context()); err != nil {
		return err
	}
	for {
		r, err := g.Recv()
		if err != nil {
			return nil
		}
		if n := r.GetNode(); n != nil {
			a.mu.Lock()
			a.nodes = append(a.nodes, n.GetId())
			a.mu.Unlock()
		}
		if d := r.GetErrorDetail(); d != nil {
			a.t.Errorf("%s is rejected: %s", r.GetTypeUrl(), d.GetMessage())
		}
		if r.GetResponseNonce() != "" {
			continue
		}
		m := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: r.GetTypeUrl(), Nonce: "1"}
		if res := a.resources[r.GetTypeUrl()]; res != nil {
			m.Resources = append(m.Resources, res)
		}
		if err := g.Send(m); err != nil {
			return err
		}
	}
}
