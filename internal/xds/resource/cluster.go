package resource

import (
	"cmp"
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

const (
	secretWait     = 5 * time.Second
	connectTimeout = 10 * time.Second
	httpOptions    = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	maxRing        = 8 << 20 // Envoy's own limit
	unlimited      = math.MaxUint32
)

// Cluster says how the clients of a namespace reach a destination. nil: it cannot be said.
func Cluster(fleet string, c *model.Cluster, o Options) (*clusterv3.Cluster, []Problem) {
	p := c.Policy
	connections := p.Connections
	if connections == nil {
		connections = &model.Connections{}
	}
	out := &clusterv3.Cluster{
		Name: utf8(ClusterName(c.Destination)), ConnectTimeout: durationpb.New(cmp.Or(connections.ConnectTimeout, connectTimeout)),
		CircuitBreakers: breakers(connections), OutlierDetection: outlier(p.Outlier), Metadata: clusterMetadata(c),
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}},
	}
	if p.Outlier != nil {
		out.CommonLbConfig.HealthyPanicThreshold.Value = float64(min(p.Outlier.MinHealthy, 100))
	}
	discovery(c, out)
	balance(p.LoadBalancer, out)
	if connections.KeepaliveTime > 0 {
		out.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveTime: seconds(connections.KeepaliveTime), KeepaliveInterval: seconds(connections.KeepaliveEvery), KeepaliveProbes: count(connections.KeepaliveCount),
		}}
	}
	h2, either := protocol(c, connections.HTTP2)
	options := httpProtocol(connections, h2, either)
	tls := clientTLS(fleet, c, h2, either, o)
	if tls != nil && p.TLS.Mode != model.TLSMesh && p.TLS.SNI == "" {
		options.UpstreamHttpProtocolOptions = &corev3.UpstreamHttpProtocolOptions{AutoSni: true, AutoSanValidation: !p.TLS.Insecure && len(p.TLS.SANs) == 0}
	}
	out.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(options)}
	if tls != nil {
		out.TransportSocket = transportSocket(tlsSocket, pack(tls))
	}
	if c.Mesh != nil {
		mesh := meshClientTLS(c, h2)
		out.TransportSocketMatches = meshSockets(mesh)
		if err := valid(mesh); err != nil {
			return nil, []Problem{{c.Service, "cannot be said to a proxy: " + err.Error()}}
		}
	}
	if p.ProxyProtocol != 0 {
		out.TransportSocket = proxyProtocol(p.ProxyProtocol, out.TransportSocket)
	}
	err := valid(out)
	if err == nil {
		err = valid(options)
	}
	if err == nil && tls != nil {
		err = valid(tls)
	}
	if err != nil {
		origin := c.Rule
		if origin == (model.Origin{}) {
			origin = c.Service
		}
		return nil, []Problem{{origin, "cannot be said to a proxy: " + err.Error()}}
	}
	return out, nil
}

// discovery says where endpoints come from.
func discovery(c *model.Cluster, out *clusterv3.Cluster) {
	kind := func(t clusterv3.Cluster_DiscoveryType) { out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: t} }
	switch {
	case c.Policy.LoadBalancer != nil && c.Policy.LoadBalancer.Balance == model.Passthrough:
		kind(clusterv3.Cluster_ORIGINAL_DST)
	case c.ByDNS:
		kind(clusterv3.Cluster_STRICT_DNS)
		out.RespectDnsTtl = true
		out.LoadAssignment = named(out.Name, c.Names)
	default:
		kind(clusterv3.Cluster_EDS)
		out.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: out.Name}
	}
}

func balance(l *model.LoadBalancer, out *clusterv3.Cluster) {
	if l == nil {
		l = &model.LoadBalancer{}
	}
	var warm *clusterv3.Cluster_SlowStartConfig
	if l.Warmup > 0 {
		warm = &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: durationpb.New(l.Warmup)}
	}
	switch l.Balance {
	case model.RoundRobin:
		out.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if warm != nil {
			out.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: warm}}
		}
	case model.Random:
		out.LbPolicy = clusterv3.Cluster_RANDOM
	case model.RingHash:
		out.LbPolicy = clusterv3.Cluster_RING_HASH
		out.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{MinimumRingSize: wrapperspb.UInt64(min(cmp.Or(l.MinRing, 1024), maxRing))}}
	case model.Maglev:
		out.LbPolicy = clusterv3.Cluster_MAGLEV
		if l.Table > 0 {
			out.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(l.Table)}}
		}
	case model.Passthrough:
		out.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
	default:
		out.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if warm != nil {
			out.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: warm}}
		}
	}
}

// breakers says the limits; what is not limited is set to the highest number, because Envoy's own default is 1024 (and 3 retries).
func breakers(c *model.Connections) *clusterv3.CircuitBreakers {
	limit := func(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(cmp.Or(n, unlimited)) }
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: limit(c.Max), MaxPendingRequests: limit(c.MaxPending), MaxRequests: limit(c.MaxRequests), MaxRetries: limit(c.MaxRetries), TrackRemaining: true,
	}}}
}

// outlier says who is taken out. Envoy detects more than the model has, which is turned off.
func outlier(d *model.OutlierDetection) *clusterv3.OutlierDetection {
	if d == nil {
		return nil
	}
	out := &clusterv3.OutlierDetection{
		EnforcingSuccessRate: wrapperspb.UInt32(0), EnforcingFailurePercentage: wrapperspb.UInt32(0),
		EnforcingConsecutiveGatewayFailure: wrapperspb.UInt32(0), SplitExternalLocalOriginErrors: d.SplitLocal,
	}
	if n := d.Consecutive5xx; n != nil {
		out.Consecutive_5Xx, out.EnforcingConsecutive_5Xx = wrapperspb.UInt32(*n), enforce(*n)
	}
	if n := d.ConsecutiveGateway; n != nil {
		out.ConsecutiveGatewayFailure, out.EnforcingConsecutiveGatewayFailure = wrapperspb.UInt32(*n), enforce(*n)
	}
	if d.SplitLocal {
		out.EnforcingLocalOriginSuccessRate = wrapperspb.UInt32(0)
		if n := d.ConsecutiveLocal; n != nil {
			out.ConsecutiveLocalOriginFailure, out.EnforcingConsecutiveLocalOriginFailure = wrapperspb.UInt32(*n), enforce(*n)
		}
	}
	if d.Interval > 0 {
		out.Interval = durationpb.New(d.Interval)
	}
	if d.BaseEjection > 0 {
		out.BaseEjectionTime = durationpb.New(d.BaseEjection)
		// Envoy's longest is 300 s unless said otherwise, and must not be less than the shortest.
		out.MaxEjectionTime = durationpb.New(max(d.BaseEjection, 5*time.Minute))
	}
	if d.MaxEjected > 0 {
		out.MaxEjectionPercent = wrapperspb.UInt32(min(d.MaxEjected, 100))
	}
	return out
}

func enforce(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		return wrapperspb.UInt32(0)
	}
	return wrapperspb.UInt32(100)
}

// protocol tells which HTTP is spoken: version 2, or either as the client does.
func protocol(c *model.Cluster, use model.HTTP2Use) (h2, either bool) {
	switch use {
	case model.HTTP2Always:
		return true, false
	case model.HTTP2AsClient:
		return false, true
	}
	return c.HTTP2, false
}

func httpProtocol(c *model.Connections, h2, either bool) *httpv3.HttpProtocolOptions {
	out := &httpv3.HttpProtocolOptions{CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(cmp.Or(c.Idle, idleTimeout))}}
	if c.MaxLifetime > 0 {
		out.CommonHttpProtocolOptions.MaxConnectionDuration = durationpb.New(c.MaxLifetime)
	}
	if c.MaxRequestsPerTCP > 0 {
		out.CommonHttpProtocolOptions.MaxRequestsPerConnection = wrapperspb.UInt32(c.MaxRequestsPerTCP)
	}
	http1, http2 := &corev3.Http1ProtocolOptions{}, &corev3.Http2ProtocolOptions{}
	switch {
	case either:
		out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
			HttpProtocolOptions: http1, Http2ProtocolOptions: http2,
		}}
	case h2:
		out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2},
		}}
	default:
		out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: http1},
		}}
	}
	return out
}

// proxyProtocol lets connections begin with the PROXY protocol, before whatever else they speak.
func proxyProtocol(version uint8, inner *corev3.TransportSocket) *corev3.TransportSocket {
	if inner == nil {
		inner = transportSocket("envoy.transport_sockets.raw_buffer", pack(&rawbufferv3.RawBuffer{}))
	}
	config := &corev3.ProxyProtocolConfig{}
	if version == 2 {
		config.Version = corev3.ProxyProtocolConfig_V2
	}
	return transportSocket("envoy.transport_sockets.upstream_proxy_protocol", pack(&proxyprotocolv3.ProxyProtocolUpstreamTransport{Config: config, TransportSocket: inner}))
}

// clusterMetadata says who declares the policy, or else the Service, and for Istio's dashboards which Service it is.
func clusterMetadata(c *model.Cluster) *corev3.Metadata {
	m := metadata(c.Rule)
	if m == nil {
		m = metadata(c.Service)
	}
	if m == nil || c.Host == (model.ServiceName{}) {
		return m
	}
	istio := m.FilterMetadata[istioMetadata]
	if istio == nil {
		istio = fields()
		m.FilterMetadata[istioMetadata] = istio
	}
	service := fields("host", c.Destination.Host, "name", c.Host.Name, "namespace", c.Host.Namespace)
	istio.Fields["services"] = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStructValue(service)}})
	if c.Subset != "" {
		istio.Fields["subset"] = structpb.NewStringValue(utf8(c.Subset))
	}
	return m
}

func seconds(d time.Duration) *wrapperspb.UInt32Value {
	if d <= 0 {
		return nil
	}
	return wrapperspb.UInt32(uint32(min(max(1, d/time.Second), math.MaxInt32)))
}

func count(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		return nil
	}
	return wrapperspb.UInt32(n)
}
