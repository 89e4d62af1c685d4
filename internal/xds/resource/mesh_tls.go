package resource

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// What sidecars of the mesh say to each other by ALPN, as Istio's do.
const (
	alpnMesh     = "istio"
	alpnExchange = "istio-peer-exchange"
	alpnHTTP10   = "istio-http/1.0"
	alpnHTTP11   = "istio-http/1.1"
	alpnHTTP2    = "istio-h2"
)

// agentCluster is the cluster by which a proxy reaches the agent beside it, who has its certificates.
const agentCluster = "sds-grpc"

// local names a secret that the agent beside the proxy has: control never sees it.
func local(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: agentCluster}}}},
		}},
	}}
}

// meshCommon is what both ends of the mesh's TLS have: their own certificate, and the CAs of the mesh to verify the other's with.
func meshCommon(identities []string, alpn ...string) *tlsv3.CommonTlsContext {
	context := &tlsv3.CertificateValidationContext{}
	for _, id := range identities {
		context.MatchTypedSubjectAltNames = append(context.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
			SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: utf8(id)}},
		})
	}
	return &tlsv3.CommonTlsContext{
		TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		AlpnProtocols:                  alpn,
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{local(meshCertificate)},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: context, ValidationContextSdsSecretConfig: local(meshCA),
		}},
	}
}

// meshALPN is what a client says that it speaks inside the mesh's TLS. Of what is not HTTP it says no more than that it is of the mesh: with
// istio-peer-exchange it would have to begin with what Istio's proxies tell each other over TCP.
func meshALPN(p model.AppProtocol, h2 bool) []string {
	switch {
	case h2:
		return []string{alpnHTTP2, alpnMesh}
	case p == model.ProtocolHTTP || p == model.ProtocolHTTP2:
		return []string{alpnHTTP11, alpnMesh}
	}
	return []string{alpnMesh}
}

// meshSNI is the name by which a server of the mesh knows what a client wants, as Istio's clients say it.
func meshSNI(c *model.Cluster) string {
	if c.Mesh != nil {
		return c.Mesh.SNI
	}
	return fmt.Sprintf("outbound_.%d_.%s_.%s", c.Port, c.Subset, c.Destination.Host)
}

func meshClientTLS(c *model.Cluster, h2 bool) *tlsv3.UpstreamTlsContext {
	return &tlsv3.UpstreamTlsContext{Sni: utf8(c.Mesh.SNI), CommonTlsContext: meshCommon(c.Mesh.Identities, meshALPN(c.Protocol, h2)...)}
}

// meshSockets speaks the mesh's TLS to the endpoints that say so, and plaintext to the others.
func meshSockets(t *tlsv3.UpstreamTlsContext) []*clusterv3.Cluster_TransportSocketMatch {
	return []*clusterv3.Cluster_TransportSocketMatch{
		{Name: "tlsMode-istio", Match: fields(tlsModeKey, tlsModeMesh), TransportSocket: transportSocket(tlsSocket, pack(t))},
		{Name: "tlsMode-disabled", Match: &structpb.Struct{}, TransportSocket: transportSocket("envoy.transport_sockets.raw_buffer", pack(&rawbufferv3.RawBuffer{}))},
	}
}

// meshServerTLS takes clients that show a certificate of the mesh.
func meshServerTLS(alpn ...string) *tlsv3.DownstreamTlsContext {
	return &tlsv3.DownstreamTlsContext{CommonTlsContext: meshCommon(nil, alpn...), RequireClientCertificate: wrapperspb.Bool(true)}
}
