package resource

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// The listeners of a sidecar, and the clusters that every sidecar has. The names are Istio's, but for those that only weft's own proxy knows.
const (
	InboundName     = "virtualInbound"
	OutboundName    = "virtualOutbound"
	IndexedOutbound = "weftOutbound" // outgoing connections by the index

	PassthroughCluster        = "PassthroughCluster"        // where the client wants to go
	InboundPassthroughCluster = "InboundPassthroughCluster" // the same, in the Pod
	WorkloadsCluster          = "weft-workloads"            // where the client wants to go, with the mesh's TLS

	outboundPort = 15001
	inboundPort  = 15006
)

// inspectTimeout is how long a proxy that cannot do better waits for a client to say what it speaks.
const inspectTimeout = 5 * time.Second

// sidecarListener is a listener that a Pod's connections are redirected to.
func sidecarListener(name string, port uint32, direction corev3.TrafficDirection) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name: name, TrafficDirection: direction,
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "::", Ipv4Compat: true, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}},
		ListenerFilters:                  []*listenerv3.ListenerFilter{listenerFilter("envoy.filters.listener.original_dst", &originaldstv3.OriginalDst{}, nil)},
		ListenerFiltersTimeout:           durationpb.New(inspectTimeout),
		ContinueOnListenerFiltersTimeout: true,
	}
}

func listenerFilter(name string, config proto.Message, disabled *listenerv3.ListenerFilterChainMatchPredicate) *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{Name: name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(config)}, FilterDisabled: disabled}
}

// inspectors find out what connections begin with.
func inspectors(disabled *listenerv3.ListenerFilterChainMatchPredicate) []*listenerv3.ListenerFilter {
	return []*listenerv3.ListenerFilter{
		listenerFilter("envoy.filters.listener.tls_inspector", &tlsinspectorv3.TlsInspector{}, disabled),
		listenerFilter("envoy.filters.listener.http_inspector", &httpinspectorv3.HttpInspector{}, disabled),
	}
}

// InboundClusterName is "inbound|8080||".
func InboundClusterName(port uint16) string { return "inbound|" + strconv.Itoa(int(port)) + "||" }

// ParseInboundClusterName reads what InboundClusterName writes.
func ParseInboundClusterName(name string) (port uint16, ok bool) {
	rest, found := strings.CutPrefix(name, "inbound|")
	digits, found2 := strings.CutSuffix(rest, "||")
	n, err := strconv.ParseUint(digits, 10, 16)
	return uint16(n), found && found2 && err == nil && InboundClusterName(uint16(n)) == name
}

// InboundCluster leads to a port of the Pod at the address that the client asked for, so that what is bound to 127.0.0.1 stays unreachable. Connections
// come from an address of their own, by which redirection lets them through. p may be nil: then nobody knows what is behind the port.
func InboundCluster(name string, p *model.InboundPort) *clusterv3.Cluster {
	out := original(name)
	out.UpstreamBindConfig = &corev3.BindConfig{
		SourceAddress:        &corev3.SocketAddress{Address: "127.0.0.6", PortSpecifier: &corev3.SocketAddress_PortValue{}},
		ExtraSourceAddresses: []*corev3.ExtraSourceAddress{{Address: &corev3.SocketAddress{Address: "::6", PortSpecifier: &corev3.SocketAddress_PortValue{}}}},
	}
	if p != nil {
		out.Metadata = metadata(p.Origin)
		if out.Metadata == nil {
			out.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
		}
		out.Metadata.FilterMetadata[istioMetadata] = servicesOf(p.Host, p.Service)
	}
	return out
}

// SidecarCluster is a cluster that every sidecar has, by name; nil if there is no such.
func SidecarCluster(name string) *clusterv3.Cluster {
	switch name {
	case PassthroughCluster:
		return original(name)
	case InboundPassthroughCluster:
		return InboundCluster(name, nil)
	case WorkloadsCluster:
		out := original(name)
		out.TransportSocket = transportSocket(tlsSocket, pack(meshClientTLS(&model.Cluster{Mesh: &model.MeshTLS{}}, false)))
		return out
	}
	return nil
}

// original is a cluster that leads where the client wanted to go, speaking what the client speaks.
func original(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}, LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED,
		ConnectTimeout: durationpb.New(connectTimeout), CircuitBreakers: breakers(&model.Connections{}),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{httpOptions: pack(&httpv3.HttpProtocolOptions{
			CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(idleTimeout)},
			UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
			}},
		})},
	}
}

func servicesOf(host string, s model.ServiceName) *structpb.Struct {
	service := fields("host", host, "name", s.Name, "namespace", s.Namespace)
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"services": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStructValue(service)}}),
	}}
}

// destined matches connections by where they were going.
func destined(port uint16, prefixes ...*corev3.CidrRange) *listenerv3.FilterChainMatch {
	m := &listenerv3.FilterChainMatch{PrefixRanges: prefixes}
	if port != 0 {
		m.DestinationPort = wrapperspb.UInt32(uint32(port))
	}
	return m
}

func statPrefix(direction string, port uint16) string {
	return fmt.Sprintf("%s_0.0.0.0_%d", direction, port)
}
