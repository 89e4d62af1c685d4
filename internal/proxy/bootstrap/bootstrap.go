package bootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	yaml "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// Config is what a data plane starts with. It is not changed once made.
type Config struct {
	// Message is the bootstrap as it was read, for /config_dump; nil if there was no file.
	Message *bootstrapv3.Bootstrap

	Node      *corev3.Node
	Listeners []*listenerv3.Listener
	Clusters  []*clusterv3.Cluster
	Secrets   []*tlsv3.Secret

	// XDS says where configuration comes from; nil if all of it is static. Listeners and Clusters say which types are asked for.
	XDS *XDS

	// Admin is where the admin endpoint listens; not valid: nowhere.
	Admin netip.AddrPort
}

// XDS is a server of configuration.
type XDS struct {
	// Address is host:port, or unix:PATH.
	Address string
	// ServerName is what the server's certificate must be for; "" is the host of Address.
	ServerName string
	// Plaintext says that the connection is not encrypted.
	Plaintext bool
	// CAFile has the certificates to trust; "" trusts those of the system. CA is the same in place.
	CAFile string
	CA     []byte
	// CertFile and KeyFile are what we show of ourselves; both or none.
	CertFile, KeyFile string
	// TokenFile has the token that each stream is authenticated with; "" is none. It is read anew for each stream.
	TokenFile string
	// Metadata is sent with each stream.
	Metadata map[string]string

	// Listeners and Clusters say whether those come from this server.
	Listeners, Clusters bool
	// Index says that the index of a mesh comes from this server. The listeners of Names are asked for then, and everything else that they need, by name.
	Index bool
	Names []string
	// InitialFetchTimeout is how long the start waits for the server's first answer.
	InitialFetchTimeout time.Duration
}

// ReadFile reads a bootstrap from a file.
func ReadFile(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse reads a bootstrap, in YAML or JSON. Errors name the field.
func Parse(text []byte) (*Config, error) {
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	m := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(asJSON, m); err != nil {
		return nil, err
	}
	return New(m)
}

// New takes what the data plane needs from a bootstrap.
func New(m *bootstrapv3.Bootstrap) (*Config, error) {
	c := &Config{
		Message: m, Node: m.GetNode(), Listeners: m.GetStaticResources().GetListeners(), Clusters: m.GetStaticResources().GetClusters(),
		Secrets: m.GetStaticResources().GetSecrets(),
	}
	if c.Node == nil {
		c.Node = &corev3.Node{}
	}
	if a := m.GetAdmin().GetAddress().GetSocketAddress(); a != nil {
		ip, err := netip.ParseAddr(a.GetAddress())
		if err != nil {
			return nil, fmt.Errorf("admin.address: %w", err)
		}
		c.Admin = netip.AddrPortFrom(ip, uint16(a.GetPortValue()))
	}
	d := m.GetDynamicResources()
	if d == nil {
		return c, nil
	}
	x, err := c.aggregated(d.GetAdsConfig())
	if err != nil {
		return nil, fmt.Errorf("dynamic_resources.ads_config%w", err)
	}
	for name, source := range map[string]*corev3.ConfigSource{"lds_config": d.GetLdsConfig(), "cds_config": d.GetCdsConfig()} {
		if source != nil && source.GetAds() == nil {
			return nil, fmt.Errorf("dynamic_resources.%s: only ads is known", name)
		}
	}
	x.Listeners, x.Clusters = d.GetLdsConfig() != nil, d.GetCdsConfig() != nil
	c.XDS = x
	return c, nil
}

// aggregated finds the server of the aggregated stream. Errors begin with what comes after the field's name.
func (c *Config) aggregated(a *corev3.ApiConfigSource) (*XDS, error) {
	if a == nil {
		return nil, errors.New(": is missing")
	}
	if t := a.GetApiType(); t != corev3.ApiConfigSource_GRPC && t != corev3.ApiConfigSource_DELTA_GRPC && t != corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC {
		return nil, fmt.Errorf(".api_type: %v is not known", t)
	}
	if len(a.GetGrpcServices()) == 0 {
		return nil, errors.New(".grpc_services: is empty")
	}
	s := a.GetGrpcServices()[0]
	x := &XDS{Metadata: map[string]string{}}
	for _, h := range s.GetInitialMetadata() {
		x.Metadata[h.GetKey()] = h.GetValue()
	}
	switch k := s.GetTargetSpecifier().(type) {
	case *corev3.GrpcService_GoogleGrpc_:
		return x, x.google(k.GoogleGrpc)
	case *corev3.GrpcService_EnvoyGrpc_:
		return x, c.throughCluster(x, k.EnvoyGrpc.GetClusterName())
	}
	return nil, errors.New(".grpc_services[0]: neither envoy_grpc nor google_grpc")
}

func (x *XDS) google(g *corev3.GrpcService_GoogleGrpc) error {
	x.Address, x.Plaintext = g.GetTargetUri(), true
	if ssl := g.GetChannelCredentials().GetSslCredentials(); ssl != nil {
		x.Plaintext = false
		x.CAFile, x.CA = dataSource(ssl.GetRootCerts())
		x.CertFile, _ = dataSource(ssl.GetCertChain())
		x.KeyFile, _ = dataSource(ssl.GetPrivateKey())
	}
	for _, call := range g.GetCallCredentials() {
		if f := call.GetStsService().GetSubjectTokenPath(); f != "" {
			x.TokenFile = f
		}
	}
	return nil
}

// throughCluster takes the address and trust of the server from the static cluster that leads to it.
func (c *Config) throughCluster(x *XDS, name string) error {
	const where = ".grpc_services[0].envoy_grpc.cluster_name: "
	for _, cl := range c.Clusters {
		if cl.GetName() != name {
			continue
		}
		for _, l := range cl.GetLoadAssignment().GetEndpoints() {
			for _, e := range l.GetLbEndpoints() {
				at := e.GetEndpoint().GetAddress()
				if p := at.GetPipe(); p != nil {
					x.Address = "unix:" + p.GetPath()
				} else if a := at.GetSocketAddress(); a != nil && x.Address == "" {
					x.Address = net.JoinHostPort(a.GetAddress(), strconv.Itoa(int(a.GetPortValue())))
				}
			}
		}
		if x.Address == "" {
			return fmt.Errorf(where+"cluster %q has no endpoint", name)
		}
		x.Plaintext = cl.GetTransportSocket() == nil
		if x.Plaintext {
			return nil
		}
		context := &tlsv3.UpstreamTlsContext{}
		if err := cl.GetTransportSocket().GetTypedConfig().UnmarshalTo(context); err != nil {
			return fmt.Errorf(where+"cluster %q: transport_socket.typed_config: %w", name, err)
		}
		x.ServerName = context.GetSni()
		common := context.GetCommonTlsContext()
		x.CAFile, x.CA = dataSource(common.GetValidationContext().GetTrustedCa())
		if certs := common.GetTlsCertificates(); len(certs) > 0 {
			x.CertFile, _ = dataSource(certs[0].GetCertificateChain())
			x.KeyFile, _ = dataSource(certs[0].GetPrivateKey())
		}
		return nil
	}
	return fmt.Errorf(where+"there is no static cluster %q", name)
}

func dataSource(d *corev3.DataSource) (file string, inline []byte) {
	if f := d.GetFilename(); f != "" {
		return f, nil
	}
	if s := d.GetInlineString(); s != "" {
		return "", []byte(s)
	}
	return "", d.GetInlineBytes()
}
