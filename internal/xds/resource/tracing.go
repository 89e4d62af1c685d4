package resource

import (
	"cmp"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// Tracing is where spans go.
type Tracing struct {
	Host    string // who takes OTLP over gRPC, a DNS name or an address; "": nobody, and nothing is traced
	Port    uint16
	Percent float64 // of the requests that nobody has decided about yet
}

// TracingCluster is the cluster of who takes spans.
const TracingCluster = "weft-tracing"

// maxPathTag is how much of a path a span tells, as in Istio.
const maxPathTag = 256

// tracing has a connection manager tell of its requests; nil if nobody wants to know.
func (o Options) tracing(service string) *hcmv3.HttpConnectionManager_Tracing {
	if o.Tracing.Host == "" {
		return nil
	}
	all := &typev3.Percent{Value: 100}
	return &hcmv3.HttpConnectionManager_Tracing{
		ClientSampling: all, OverallSampling: all, RandomSampling: &typev3.Percent{Value: min(max(o.Tracing.Percent, 0), 100)}, MaxPathTagLength: wrapperspb.UInt32(maxPathTag),
		Provider: &tracev3.Tracing_Http{Name: "envoy.tracers.opentelemetry", ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: pack(&tracev3.OpenTelemetryConfig{
			GrpcService: &corev3.GrpcService{
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: TracingCluster}}, Timeout: durationpb.New(connectTimeout),
			},
			ServiceName: utf8(cmp.Or(service, "unknown")),
		})}},
	}
}

// TracedAs is what the spans of a sidecar say whose they are, "web.shop"; "" where nothing is traced.
func TracedAs(s model.Sidecar, o Options) string {
	if o.Tracing.Host == "" {
		return ""
	}
	for _, label := range []string{"service.istio.io/canonical-name", "app.kubernetes.io/name", "app"} {
		if name, ok := s.Labels.Get(label); ok {
			return name + "." + s.Namespace
		}
	}
	return s.ServiceAccount + "." + s.Namespace
}

// Tracers is the cluster of who takes spans; nil if nobody does.
func Tracers(o Options) *clusterv3.Cluster {
	if o.Tracing.Host == "" {
		return nil
	}
	return &clusterv3.Cluster{
		Name: TracingCluster, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}, ConnectTimeout: durationpb.New(connectTimeout),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: TracingCluster, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{lbEndpoint(o.Tracing.Host, o.Tracing.Port)},
		}}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{httpOptions: pack(&httpv3.HttpProtocolOptions{
			UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
			}},
		})},
	}
}
