package resource

import (
	"cmp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

const (
	tlsSocket = "envoy.transport_sockets.tls"
	systemCAs = "/etc/ssl/certs/ca-certificates.crt"

	// What a proxy of the mesh calls its own certificate and the mesh's CAs.
	meshCertificate = "default"
	meshCA          = "ROOTCA"
)

// sds names a secret that comes on the same stream. A secret that does not come holds up nothing else: after a few seconds the listener or cluster
// that wants it does without, and refuses what needs it.
func sds(name string) *tlsv3.SdsSecretConfig {
	c := ads()
	c.InitialFetchTimeout = durationpb.New(secretWait)
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: c}
}

// serverTLS says how a chain terminates TLS.
func serverTLS(fleet string, ch *model.Chain) (string, *anypb.Any) {
	t := ch.TLS
	common := &tlsv3.CommonTlsContext{TlsParams: &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: tlsVersion(cmp.Or(t.MinVersion, model.TLS12)), TlsMaximumProtocolVersion: tlsVersion(t.MaxVersion), CipherSuites: t.CipherSuites,
	}}
	if ch.Table != "" {
		common.AlpnProtocols = []string{"h2", "http/1.1"}
	}
	for _, c := range t.Credentials {
		common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs, sds(SecretName(c, fleet, false)))
	}
	out := &tlsv3.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: wrapperspb.Bool(t.ClientCA != nil && !t.ClientOptional)}
	if t.ClientCA != nil {
		common.ValidationContextType = combined(SecretName(*t.ClientCA, fleet, true), t.ClientSANs)
	}
	return tlsSocket, pack(out)
}

// combined verifies with CAs that come as a secret, and asks for one of these names.
func combined(ca string, sans []string) *tlsv3.CommonTlsContext_CombinedValidationContext {
	return &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
		DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: sanMatchers(sans)},
		ValidationContextSdsSecretConfig: sds(ca),
	}}
}

func sanMatchers(sans []string) (out []*tlsv3.SubjectAltNameMatcher) {
	for _, name := range sans {
		for _, kind := range []tlsv3.SubjectAltNameMatcher_SanType{tlsv3.SubjectAltNameMatcher_DNS, tlsv3.SubjectAltNameMatcher_URI, tlsv3.SubjectAltNameMatcher_IP_ADDRESS} {
			out = append(out, &tlsv3.SubjectAltNameMatcher{
				SanType: kind, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: utf8(name)}},
			})
		}
	}
	return out
}

func tlsVersion(v model.TLSVersion) tlsv3.TlsParameters_TlsProtocol {
	switch v {
	case model.TLS10:
		return tlsv3.TlsParameters_TLSv1_0
	case model.TLS11:
		return tlsv3.TlsParameters_TLSv1_1
	case model.TLS12:
		return tlsv3.TlsParameters_TLSv1_2
	case model.TLS13:
		return tlsv3.TlsParameters_TLSv1_3
	}
	return tlsv3.TlsParameters_TLS_AUTO
}

// clientTLS says how a cluster's endpoints are spoken to; nil: in plaintext.
func clientTLS(fleet string, c *model.Cluster, h2, either bool, o Options) *tlsv3.UpstreamTlsContext {
	t := c.Policy.TLS
	if t == nil || t.Mode == model.TLSDisable {
		return nil
	}
	common := &tlsv3.CommonTlsContext{TlsParams: &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}}
	switch {
	case either:
		common.AlpnProtocols = []string{"h2", "http/1.1"}
	case h2:
		common.AlpnProtocols = []string{"h2"}
	}
	out := &tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: utf8(cmp.Or(t.SNI, c.Destination.Host))}
	switch {
	case t.Mode == model.TLSMesh:
		out.Sni = utf8(cmp.Or(t.SNI, meshSNI(c)))
		out.CommonTlsContext = meshCommon(t.SANs, meshALPN(c.Protocol, h2)...)
		return out
	case t.Mode == model.TLSMutual && t.Credential != nil:
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{sds(SecretName(*t.Credential, fleet, false))}
	}
	switch {
	case t.Insecure:
	case t.Credential != nil:
		common.ValidationContextType = combined(SecretName(*t.Credential, fleet, true), names(t))
	default:
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa:                 &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: cmp.Or(o.SystemCAs, systemCAs)}},
			MatchTypedSubjectAltNames: sanMatchers(names(t)),
		}}
	}
	return out
}

// names are those of which the server's certificate must have one. Without any, it is the one that is asked for.
func names(t *model.ClientTLS) []string {
	if len(t.SANs) == 0 && t.SNI != "" {
		return []string{t.SNI}
	}
	return t.SANs
}
