package upstream

import (
	"net"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/tls"
)

// transport is how connections to an endpoint are made. It does not change, and is compared by its address: endpoints keep their pools as long as
// it is the same.
type transport struct {
	tls       *tls.Client // nil: plain
	offers    bool        // the TLS context says what ALPN offers
	proxy     proxyVersion
	protocol  protocol
	autoSNI   bool
	verifySNI bool   // auto_san_validation
	sniHeader string // where auto_sni looks before the authority
	keepalive net.KeepAliveConfig
	source    sources
}

// transports is which transport endpoints get by their metadata.
type transports struct {
	matches []transportMatch
	rest    *transport
}

type transportMatch struct {
	criteria  map[string]*structpb.Value
	transport *transport
}

// of gives the transport for an endpoint: the first whose criteria are all in its metadata (envoy.transport_socket_match).
func (t *transports) of(m *corev3.Metadata) *transport {
	if len(t.matches) == 0 {
		return t.rest
	}
	have := m.GetFilterMetadata()["envoy.transport_socket_match"].GetFields()
next:
	for i := range t.matches {
		for k, want := range t.matches[i].criteria {
			if got := have[k]; got == nil || !proto.Equal(got, want) {
				continue next
			}
		}
		return t.matches[i].transport
	}
	return t.rest
}

// sameTransports tells whether connections of two resources are made alike.
func sameTransports(a, b *clusterv3.Cluster) bool {
	x, errX := compileHTTP(a)
	y, errY := compileHTTP(b)
	if errX != nil || errY != nil || x.protocol != y.protocol || x.autoSNI != y.autoSNI || x.verifySNI != y.verifySNI || x.sniHeader != y.sniHeader ||
		!sameMessages(a.GetTransportSocketMatches(), b.GetTransportSocketMatches()) ||
		!proto.Equal(a.GetTransportSocket(), b.GetTransportSocket()) ||
		!proto.Equal(a.GetUpstreamConnectionOptions(), b.GetUpstreamConnectionOptions()) ||
		!proto.Equal(a.GetUpstreamBindConfig(), b.GetUpstreamBindConfig()) {
		return false
	}
	return true
}

func (s *Set) compileTransports(r *clusterv3.Cluster, h httpConfig) (*transports, error) {
	base := transport{protocol: h.protocol, autoSNI: h.autoSNI, verifySNI: h.verifySNI, sniHeader: h.sniHeader}
	if k := r.GetUpstreamConnectionOptions().GetTcpKeepalive(); k != nil {
		base.keepalive = net.KeepAliveConfig{
			Enable: true, Idle: seconds(k.GetKeepaliveTime()), Interval: seconds(k.GetKeepaliveInterval()), Count: int(k.GetKeepaliveProbes().GetValue()),
		}
	}
	var err error
	if base.source, err = compileSources(r.GetUpstreamBindConfig()); err != nil {
		return nil, field.In("upstream_bind_config", err)
	}
	rest, err := s.compileSocket(base, r.GetTransportSocket())
	if err != nil {
		return nil, field.In("transport_socket", err)
	}
	t := &transports{rest: rest}
	for i, m := range r.GetTransportSocketMatches() {
		one, err := s.compileSocket(base, m.GetTransportSocket())
		if err != nil {
			return nil, field.At("transport_socket_matches", i, field.In("transport_socket", err))
		}
		t.matches = append(t.matches, transportMatch{m.GetMatch().GetFields(), one})
	}
	return t, nil
}

func (s *Set) compileSocket(t transport, socket *corev3.TransportSocket) (*transport, error) {
	if socket == nil {
		return &t, nil
	}
	if socket.GetTypedConfig() == nil {
		if socket.GetName() == "envoy.transport_sockets.raw_buffer" || socket.GetName() == "raw_buffer" {
			return &t, nil
		}
		return nil, field.Errorf("typed_config", "is missing")
	}
	m, err := socket.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return nil, field.Errorf("typed_config", "%q is not supported", socket.GetTypedConfig().GetTypeUrl())
	}
	switch c := m.(type) {
	case *rawbufferv3.RawBuffer:
	case *tlsv3.UpstreamTlsContext:
		if t.tls, err = tls.NewClient(c, s.options.Secrets); err != nil {
			return nil, field.In("typed_config", err)
		}
		t.offers = len(c.GetCommonTlsContext().GetAlpnProtocols()) > 0
	case *proxyprotocolv3.ProxyProtocolUpstreamTransport:
		if t.proxy != 0 {
			return nil, field.Errorf("typed_config.transport_socket", "the PROXY protocol twice")
		}
		t.proxy = proxyVersion1
		if c.GetConfig().GetVersion() == corev3.ProxyProtocolConfig_V2 {
			t.proxy = proxyVersion2
		}
		one, err := s.compileSocket(t, c.GetTransportSocket())
		return one, field.In("typed_config.transport_socket", err)
	default:
		return nil, field.Errorf("typed_config", "%q is not supported", socket.GetTypedConfig().GetTypeUrl())
	}
	return &t, nil
}
