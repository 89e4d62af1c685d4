package resource

import (
	"errors"
	"math"
	"slices"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	fileaccesslogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

// What a gateway grants to strangers: the figures that Envoy's guide for edge proxies recommends.
const (
	maxStreams       = 100
	streamWindow     = 64 << 10
	connectionWindow = 1 << 20
	headersTimeout   = 60 * time.Second
	idleTimeout      = time.Hour
)

// ads says that a resource comes on the same stream as everything else.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{ResourceApiVersion: corev3.ApiVersion_V3, ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

// httpFilter says the HTTP connection manager of a chain, set up as Istio's gateways are.
func httpFilter(listener string, ch *model.Chain, g *model.Guard, o Options) *listenerv3.Filter {
	h := &hcmv3.HttpConnectionManager{
		StatPrefix:       "outbound_" + listener,
		RouteSpecifier:   &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: utf8(ch.Table)}},
		HttpFilters:      slices.Concat(o.peers(), PoliciesHTTP(g), routed()),
		UseRemoteAddress: wrapperspb.Bool(true), NormalizePath: wrapperspb.Bool(true), ServerName: "istio-envoy",
		UpgradeConfigs:           []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		ForwardClientCertDetails: hcmv3.HttpConnectionManager_SANITIZE_SET,
		SetCurrentClientCertDetails: &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{
			Subject: wrapperspb.Bool(true), Cert: true, Dns: true, Uri: true,
		},
		StreamIdleTimeout: durationpb.New(0), RequestHeadersTimeout: durationpb.New(headersTimeout),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(idleTimeout)},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			MaxConcurrentStreams: wrapperspb.UInt32(maxStreams), InitialStreamWindowSize: wrapperspb.UInt32(streamWindow), InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
		},
	}
	h.Tracing = o.tracing("istio-ingressgateway")
	if o.AccessLog {
		h.AccessLog = []*accesslogv3.AccessLog{accessLog(httpLog())}
	}
	return networkFilter(hcmFilter, h)
}

// routed are the filters of requests that routes say something of.
func routed() []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{filter(corsFilter, &corsv3.Cors{}), filter(faultFilter, &faultv3.HTTPFault{}), router()}
}

// peers has proxies tell each other whose they are, which only weft's own can be asked for.
func (o Options) peers() []*hcmv3.HttpFilter {
	if !o.Own {
		return nil
	}
	return []*hcmv3.HttpFilter{filter("weft.mesh.v1.PeerMetadata", &meshpb.PeerMetadata{})}
}

func router() *hcmv3.HttpFilter { return filter(routerFilter, &routerv3.Router{}) }

// The network filters there are.
const (
	hcmFilter      = "envoy.filters.network.http_connection_manager"
	tcpProxyFilter = "envoy.filters.network.tcp_proxy"
)

func filter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(config)}}
}

func networkFilter(name string, config proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(config)}}
}

// tcpFilter says where a chain's connections are carried as bytes.
func tcpFilter(ch *model.Chain, o Options) (*listenerv3.Filter, error) {
	if len(ch.To) > 0 && len(tcpWeights(ch.To)) == 0 {
		return nil, errors.New("all weights are 0")
	}
	t := tcpTo(ch.To)
	if o.AccessLog {
		t.AccessLog = []*accesslogv3.AccessLog{accessLog(tcpLog())}
	}
	return networkFilter(tcpProxyFilter, t), nil
}

// tcpTo is a TCP proxy that leads to destinations; without any, to nowhere.
func tcpTo(to []model.Weighted) *tcpproxyv3.TcpProxy {
	t := &tcpproxyv3.TcpProxy{StatPrefix: NoCluster, ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: NoCluster}, IdleTimeout: durationpb.New(idleTimeout)}
	switch list := shares(to); len(list) {
	case 0:
	case 1:
		t.StatPrefix = list[0].GetName()
		t.ClusterSpecifier = &tcpproxyv3.TcpProxy_Cluster{Cluster: list[0].GetName()}
	default:
		t.StatPrefix = list[0].GetName()
		t.ClusterSpecifier = &tcpproxyv3.TcpProxy_WeightedClusters{WeightedClusters: &tcpproxyv3.TcpProxy_WeightedCluster{Clusters: list}}
	}
	return t
}

// shares are the clusters of destinations that get a share, with weights whose sum fits into 32 bits.
func shares(to []model.Weighted) (out []*tcpproxyv3.TcpProxy_WeightedCluster_ClusterWeight) {
	to = tcpWeights(to)
	var sum uint64
	for _, d := range to {
		sum += uint64(d.Weight)
	}
	for _, d := range to {
		weight := max(1, uint64(d.Weight)/(1+sum/math.MaxUint32))
		out = append(out, &tcpproxyv3.TcpProxy_WeightedCluster_ClusterWeight{Name: ClusterName(d.Destination), Weight: uint32(weight)})
	}
	return out
}

func accessLog(format *corev3.SubstitutionFormatString) *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{Name: "envoy.access_loggers.file", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&fileaccesslogv3.FileAccessLog{
		Path: "/dev/stdout", AccessLogFormat: &fileaccesslogv3.FileAccessLog_LogFormat{LogFormat: format},
	})}}
}

func httpLog() *corev3.SubstitutionFormatString {
	return jsonLog(
		"start_time", "%START_TIME%", "method", "%REQ(:METHOD)%", "path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "protocol", "%PROTOCOL%",
		"authority", "%REQ(:AUTHORITY)%", "response_code", "%RESPONSE_CODE%", "response_flags", "%RESPONSE_FLAGS%", "response_code_details", "%RESPONSE_CODE_DETAILS%",
		"bytes_received", "%BYTES_RECEIVED%", "bytes_sent", "%BYTES_SENT%", "duration", "%DURATION%", "x_forwarded_for", "%REQ(X-FORWARDED-FOR)%",
		"user_agent", "%REQ(USER-AGENT)%", "request_id", "%REQ(X-REQUEST-ID)%", "upstream_host", "%UPSTREAM_HOST%", "upstream_cluster", "%UPSTREAM_CLUSTER%",
		"upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%", "downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%",
		"downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%", "requested_server_name", "%REQUESTED_SERVER_NAME%", "route_name", "%ROUTE_NAME%",
		"rule", "%METADATA(ROUTE:"+weftMetadata+":"+originKey+")%",
	)
}

func tcpLog() *corev3.SubstitutionFormatString {
	return jsonLog(
		"start_time", "%START_TIME%", "response_flags", "%RESPONSE_FLAGS%", "bytes_received", "%BYTES_RECEIVED%", "bytes_sent", "%BYTES_SENT%", "duration", "%DURATION%",
		"upstream_host", "%UPSTREAM_HOST%", "upstream_cluster", "%UPSTREAM_CLUSTER%", "upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
		"downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%", "downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%", "requested_server_name", "%REQUESTED_SERVER_NAME%",
		"connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%", "rule", "%METADATA(ROUTE:"+weftMetadata+":"+originKey+")%",
	)
}

func jsonLog(pairs ...string) *corev3.SubstitutionFormatString {
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: fields(pairs...)}}
}
