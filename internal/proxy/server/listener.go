package server

import (
	"bytes"
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/hcm"
	"github.com/weftmesh/weft/internal/proxy/listen"
	"github.com/weftmesh/weft/internal/proxy/tls"
)

// listener is a compiled Listener resource.
type listener struct {
	name      string
	addresses []listen.Address
	serve     *listen.Listener
	chains    []chain
	needs     needs
}

// chain is a compiled filter chain, with the bytes it was made from: equal bytes are the same chain.
type chain struct {
	*listen.Chain
	config   []byte
	routes   *hcm.Routes // nil for TCP
	clusters []string    // of TCP
	inbound  bool        // what comes goes to the proxy's own workload
}

// compileListener makes a listener. Chains that prev has as well are taken from it, with their connections. Errors name the field.
func (s *Server) compileListener(m *listenerv3.Listener, prev *listener) (*listener, error) {
	if err := refused(m); err != nil {
		return nil, err
	}
	l := &listener{name: m.GetName(), needs: s.withClusters(m), serve: &listen.Listener{Name: m.GetName()}}
	if l.name == "" {
		return nil, field.Errorf("name", "is empty")
	}
	at, err := address(m.GetAddress())
	if err != nil {
		return nil, field.In("address", err)
	}
	l.addresses = append(l.addresses, at)
	for i, a := range m.GetAdditionalAddresses() {
		if at, err = address(a.GetAddress()); err != nil {
			return nil, field.At("additional_addresses", i, err)
		}
		l.addresses = append(l.addresses, at)
	}
	if err := l.filters(m); err != nil {
		return nil, err
	}
	for i, c := range m.GetFilterChains() {
		one, err := s.compileChain(c, prev, m.GetTrafficDirection() == corev3.TrafficDirection_INBOUND)
		if err != nil {
			return nil, field.At("filter_chains", i, err)
		}
		l.chains = append(l.chains, one)
		l.serve.Chains = append(l.serve.Chains, one.Chain)
	}
	if c := m.GetDefaultFilterChain(); c != nil {
		one, err := s.compileChain(c, prev, m.GetTrafficDirection() == corev3.TrafficDirection_INBOUND)
		if err != nil {
			return nil, field.In("default_filter_chain", err)
		}
		l.chains = append(l.chains, one)
		l.serve.Default = one.Chain
	}
	if len(l.chains) == 0 {
		return nil, field.Errorf("filter_chains", "is empty")
	}
	return l, l.serve.Prepare()
}

func refused(m *listenerv3.Listener) error {
	for _, f := range []struct {
		set  bool
		name string
	}{
		{m.GetUdpListenerConfig() != nil, "udp_listener_config"},
		{m.GetApiListener() != nil, "api_listener"},
		{m.GetInternalListener() != nil, "internal_listener"},
		{m.GetBindToPort() != nil && !m.GetBindToPort().GetValue(), "bind_to_port"},
		{m.GetUseOriginalDst().GetValue(), "use_original_dst"},
		{m.GetFilterChainMatcher() != nil, "filter_chain_matcher"},
		{m.GetTransparent().GetValue(), "transparent"},
	} {
		if f.set {
			return field.Errorf(f.name, "this proxy does not know it")
		}
	}
	return nil
}

func (l *listener) filters(m *listenerv3.Listener) error {
	l.serve.ContinueOnTimeout = m.GetContinueOnListenerFiltersTimeout()
	if t := m.GetListenerFiltersTimeout(); t != nil {
		if l.serve.Timeout = t.AsDuration(); l.serve.Timeout == 0 {
			l.serve.Timeout = -1
		}
	}
	for i, f := range m.GetListenerFilters() {
		config, err := f.GetTypedConfig().UnmarshalNew()
		if err != nil {
			return field.At("listener_filters", i, fmt.Errorf("filter %q (%s) is not known to this proxy", f.GetName(), f.GetTypedConfig().GetTypeUrl()))
		}
		switch config.(type) {
		case *tlsinspectorv3.TlsInspector:
			// It is there wherever chains match by what it finds.
		case *proxyprotocolv3.ProxyProtocol:
			l.serve.ProxyProtocol = true
		case *originaldstv3.OriginalDst:
			l.serve.OriginalDst = true
		case *httpinspectorv3.HttpInspector:
			l.serve.HTTPInspector = true
		default:
			return field.At("listener_filters", i, fmt.Errorf("filter %q (%s) is not known to this proxy", f.GetName(), f.GetTypedConfig().GetTypeUrl()))
		}
	}
	return nil
}

func (s *Server) compileChain(m *listenerv3.FilterChain, prev *listener, inbound bool) (chain, error) {
	config, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return chain{}, err
	}
	if prev != nil {
		for _, c := range prev.chains {
			if bytes.Equal(c.config, config) {
				return c, nil
			}
		}
	}
	c := chain{Chain: &listen.Chain{Name: m.GetName(), HandshakeTimeout: m.GetTransportSocketConnectTimeout().AsDuration()}, config: config, inbound: inbound}
	if c.Match, err = listen.NewMatch(m.GetFilterChainMatch()); err != nil {
		return c, field.In("filter_chain_match", err)
	}
	if c.TLS, err = s.compileTLS(m.GetTransportSocket()); err != nil {
		return c, field.In("transport_socket", err)
	}
	return c, s.compileFilters(&c, m)
}

func (s *Server) compileTLS(m *corev3.TransportSocket) (*tls.Server, error) {
	if m == nil {
		return nil, nil
	}
	config, err := m.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("%q (%s) is not known to this proxy", m.GetName(), m.GetTypedConfig().GetTypeUrl())
	}
	switch config := config.(type) {
	case *tlsv3.DownstreamTlsContext:
		t, err := tls.NewServer(config, s.secrets)
		return t, field.In("typed_config", err)
	case *rawv3.RawBuffer:
		return nil, nil
	}
	return nil, fmt.Errorf("%q (%s) is not known to this proxy", m.GetName(), m.GetTypedConfig().GetTypeUrl())
}

func address(a *corev3.Address) (listen.Address, error) {
	sa := a.GetSocketAddress()
	if sa == nil {
		return listen.Address{}, field.Errorf("socket_address", "is missing: listeners on other addresses are not known")
	}
	ip, err := netip.ParseAddr(sa.GetAddress())
	if err != nil {
		return listen.Address{}, field.In("socket_address.address", err)
	}
	if sa.GetProtocol() != corev3.SocketAddress_TCP || sa.GetPortValue() > 65535 || sa.GetNamedPort() != "" {
		return listen.Address{}, field.Errorf("socket_address", "only TCP on a numbered port is known")
	}
	return listen.Address{AddrPort: netip.AddrPortFrom(ip, uint16(sa.GetPortValue())), DualStack: sa.GetIpv4Compat()}, nil
}
