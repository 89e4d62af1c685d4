package resource

import (
	"slices"
	"strconv"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// httpALPN is what the http_inspector says of connections that begin with HTTP.
func httpALPN() []string { return []string{"http/1.0", "http/1.1", "h2c"} }

// Inbound says the listener that connections to a Pod are redirected to.
func Inbound(in *model.Inbound, o Options) *listenerv3.Listener {
	l := sidecarListener(InboundName, inboundPort, corev3.TrafficDirection_INBOUND)
	l.ListenerFilters = append(l.ListenerFilters, inspectors(nil)...)
	b := inboundChains{in: in, o: o, requests: PoliciesHTTP(&in.Guard), connections: PoliciesTCP(&in.Guard)}
	b.chain("blackhole", destined(inboundPort), nil, []*listenerv3.Filter{o.sidecarTCPFilter(NoCluster)}) // who dials the port itself would come back for ever
	for i := range in.Ports {
		p := &in.Ports[i]
		b.port(p.Port, p.Protocol, InboundClusterName(p.Port), p.Origin)
	}
	if in.Peers != nil {
		for _, p := range in.Peers.Ports {
			if !slices.ContainsFunc(in.Ports, func(o model.InboundPort) bool { return o.Port == p.Port }) {
				b.port(p.Port, model.ProtocolAuto, InboundPassthroughCluster, p.Origin)
			}
		}
	}
	b.port(0, model.ProtocolAuto, InboundPassthroughCluster, model.Origin{})
	l.FilterChains = b.chains
	return l
}

// inboundChains gathers the filter chains of a Pod's ports.
type inboundChains struct {
	in     *model.Inbound
	o      Options
	chains []*listenerv3.FilterChain

	requests    []*hcmv3.HttpFilter  // that judge requests
	connections []*listenerv3.Filter // that judge connections whose requests are not looked at
}

// port adds the chains of one port; 0 is all that have none of their own.
func (b *inboundChains) port(port uint16, protocol model.AppProtocol, cluster string, at model.Origin) {
	mode, _ := b.in.Peers.For(port)
	name := "0.0.0.0_" + strconv.Itoa(int(port))
	match := func(transport string, alpn ...string) *listenerv3.FilterChainMatch {
		m := destined(port)
		m.TransportProtocol, m.ApplicationProtocols = transport, alpn
		return m
	}
	http := func() []*listenerv3.Filter { return b.http(port, cluster, at) }
	tcp := func() []*listenerv3.Filter { return b.tcp(cluster) }
	mesh := func() *corev3.TransportSocket {
		return transportSocket(tlsSocket, pack(meshServerTLS("h2", "http/1.1")))
	}
	isHTTP := protocol == model.ProtocolHTTP || protocol == model.ProtocolHTTP2
	// By which TLS is the mesh's: where plaintext is refused any, so that clients which know nothing of Istio's ALPN get in by their certificate.
	of := func(alpn ...string) *listenerv3.FilterChainMatch {
		if mode == model.MTLSStrict {
			alpn = nil
		}
		return match(tlsTransport, alpn...)
	}
	if mode != model.MTLSDisable {
		switch {
		case isHTTP:
			b.chain(name+"_mtls", of(alpnMesh, alpnExchange, alpnHTTP10, alpnHTTP11, alpnHTTP2), mesh(), http())
		case protocol == model.ProtocolAuto:
			b.chain(name+"_mtls_http", match(tlsTransport, alpnHTTP10, alpnHTTP11, alpnHTTP2), mesh(), http())
			fallthrough
		default:
			socket := transportSocket(tlsSocket, pack(meshServerTLS(alpnMesh)))
			b.chain(name+"_mtls_tcp", of(alpnMesh, alpnExchange), socket, tcp())
		}
	}
	if mode == model.MTLSStrict {
		return
	}
	switch {
	case isHTTP:
		b.chain(name, match(rawTransport), nil, http())
	case protocol == model.ProtocolAuto:
		b.chain(name+"_http", match(rawTransport, httpALPN()...), nil, http())
		fallthrough
	default:
		b.chain(name+"_tcp", match(rawTransport), nil, tcp())
	}
	b.chain(name+"_tls", match(tlsTransport), nil, tcp()) // the application's own
}

func (b *inboundChains) chain(name string, m *listenerv3.FilterChainMatch, socket *corev3.TransportSocket, filters []*listenerv3.Filter) {
	b.chains = append(b.chains, &listenerv3.FilterChain{Name: name, FilterChainMatch: m, TransportSocket: socket, Filters: filters})
}

// http says the HTTP connection manager of a port.
func (b *inboundChains) http(port uint16, cluster string, at model.Origin) []*listenerv3.Filter {
	h := b.o.sidecarHTTP(statPrefix("inbound", port))
	h.Tracing = b.o.tracing(TracedAs(b.in.Sidecar, b.o))
	h.ForwardClientCertDetails = hcmv3.HttpConnectionManager_APPEND_FORWARD
	h.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Subject: wrapperspb.Bool(true), Dns: true, Uri: true}
	h.HttpFilters = append(slices.Concat(b.o.peers(), b.requests), router())
	h.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
		Name: cluster, ValidateClusters: wrapperspb.Bool(false),
		VirtualHosts: []*routev3.VirtualHost{{
			Name: "inbound|http|" + strconv.Itoa(int(port)), Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Name: "default", Metadata: metadata(at), Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}, Timeout: durationpb.New(0),
				}},
			}},
		}},
	}}
	return []*listenerv3.Filter{networkFilter(hcmFilter, h)}
}

// tcp carries a port's connections as bytes.
func (b *inboundChains) tcp(cluster string) []*listenerv3.Filter {
	return append(slices.Clone(b.connections), b.o.sidecarTCPFilter(cluster))
}

// sidecarTCP is the TCP proxy of a sidecar, leading to a cluster.
func (o Options) sidecarTCP(cluster string) *tcpproxyv3.TcpProxy {
	return o.logged(&tcpproxyv3.TcpProxy{StatPrefix: cluster, ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: cluster}, IdleTimeout: durationpb.New(idleTimeout)})
}

// logged has a sidecar's TCP proxy tell of its connections, if it is to.
func (o Options) logged(t *tcpproxyv3.TcpProxy) *tcpproxyv3.TcpProxy {
	if o.SidecarLog {
		t.AccessLog = []*accesslogv3.AccessLog{accessLog(tcpLog())}
	}
	return t
}

// sidecarHTTP is what the HTTP connection managers of sidecars have in common.
func (o Options) sidecarHTTP(prefix string) *hcmv3.HttpConnectionManager {
	h := &hcmv3.HttpConnectionManager{
		StatPrefix: prefix, NormalizePath: wrapperspb.Bool(true), ServerName: "istio-envoy",
		UseRemoteAddress: wrapperspb.Bool(false), UpgradeConfigs: []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		StreamIdleTimeout:         durationpb.New(0),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(idleTimeout)},
	}
	if o.SidecarLog {
		h.AccessLog = []*accesslogv3.AccessLog{accessLog(httpLog())}
	}
	return h
}
