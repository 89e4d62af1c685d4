package server

import (
	"fmt"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter/rbac"
	"github.com/weftmesh/weft/internal/proxy/hcm"
	"github.com/weftmesh/weft/internal/proxy/listen"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/outbound"
	"github.com/weftmesh/weft/internal/proxy/tcp"
	"github.com/weftmesh/weft/internal/proxy/tls"
)

// compileFilters makes the network filters of a chain: the last one serves connections, those before it decide on them.
func (s *Server) compileFilters(c *chain, m *listenerv3.FilterChain) error {
	all := m.GetFilters()
	if len(all) == 0 {
		return field.Errorf("filters", "is empty")
	}
	for i, f := range all {
		var err error
		config, unknown := f.GetTypedConfig().UnmarshalNew()
		switch {
		case unknown != nil:
			err = unknownFilter(f)
		case i < len(all)-1:
			var one listen.Filter
			if one, err = s.compileDecision(f, config); err == nil {
				c.Filters = append(c.Filters, one)
			}
		default:
			err = s.compileHandler(c, f, config, m)
		}
		if err != nil {
			return field.At("filters", i, err)
		}
	}
	return nil
}

func unknownFilter(f *listenerv3.Filter) error {
	return fmt.Errorf("filter %q (%s) is not known to this proxy", f.GetName(), f.GetTypedConfig().GetTypeUrl())
}

// compileDecision makes a filter that decides on connections: it is not the last of its chain.
func (s *Server) compileDecision(f *listenerv3.Filter, config proto.Message) (listen.Filter, error) {
	switch config := config.(type) {
	case *rbacv3.RBAC:
		n, err := rbac.NewNetwork(config, s.http.Filters)
		return admission{n}, field.In("typed_config", err)
	case *hcmv3.HttpConnectionManager, *tcpv3.TcpProxy:
		return nil, fmt.Errorf("filter %q serves connections: none can come behind it", f.GetName())
	}
	return nil, unknownFilter(f)
}

// compileHandler makes the filter that serves connections: the last of its chain.
func (s *Server) compileHandler(c *chain, f *listenerv3.Filter, config proto.Message, m *listenerv3.FilterChain) error {
	http, carry := s.http, s.tcp
	if c.inbound {
		http, carry = s.inboundHTTP, s.inboundTCP
	}
	switch config := config.(type) {
	case *hcmv3.HttpConnectionManager:
		g, err := hcm.New(config, http)
		if err != nil {
			return field.In("typed_config", err)
		}
		c.Handler, c.routes = g, g.Routes()
	case *tcpv3.TcpProxy:
		origin := m.GetMetadata().GetFilterMetadata()["weft"].GetFields()["origin"].GetStringValue()
		p, err := tcp.New(config, origin, carry)
		if err != nil {
			return field.In("typed_config", err)
		}
		c.Handler, c.clusters = p, p.Clusters()
	case *meshpb.Outbound:
		o, err := outbound.New(config, s.mesh.env)
		if err != nil {
			return field.In("typed_config", err)
		}
		c.Handler, c.clusters = o, o.Clusters()
	default:
		return unknownFilter(f)
	}
	return nil
}

// admission has rules decide on connections.
type admission struct{ rules *rbac.Network }

// Admit implements [listen.Filter].
func (a admission) Admit(c *listen.Conn) bool {
	info := message.Info{
		Client: c.Peer, Source: c.Peer, Peer: c.Transport, Local: c.Local, ConnectionID: c.ID, ServerName: c.ServerName, Secure: c.TLS != nil,
		PeerURISAN: c.Principal,
	}
	if c.TLS != nil && len(c.TLS.PeerCertificates) > 0 {
		leaf := c.TLS.PeerCertificates[0]
		info.PeerNames, info.PeerSubject = tls.Names(leaf), leaf.Subject.String()
	}
	ok := a.rules.Allow(&info)
	c.Refusal = info.Details
	return ok
}
