// Package sds hands a workload's credential to proxies in the same Pod, as Envoy's secret discovery service: to stock Envoy over a Unix socket, in both of
// the protocol's variants, and to weft's own proxy as values.
//
// It knows two Secrets and makes neither. Keys leave it over a socket that only the proxy's own user can open.
package sds

import (
	"crypto/sha256"
	"encoding/hex"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/proxy/agent/credential"
)

// Names of the Secrets, as Istio's.
const (
	Certificate = "default" // the workload's key and certificate
	Roots       = "ROOTCA"  // whom it believes
)

// Secrets gives a credential as the two Secrets.
func Secrets(c *credential.Credential) []*tlsv3.Secret {
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	return []*tlsv3.Secret{
		{Name: Certificate, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(c.Chain), PrivateKey: inline(c.Key)}}},
		{Name: Roots, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(c.Roots)}}},
	}
}

// secret is one of them with its version, which tells nothing of a key.
type secret struct {
	message *tlsv3.Secret
	version string
}

func secretsOf(c *credential.Credential) map[string]secret {
	out := map[string]secret{}
	if c == nil {
		return out
	}
	for _, m := range Secrets(c) {
		public := c.Roots
		if m.GetName() == Certificate {
			public = c.Chain
		}
		sum := sha256.Sum256(public)
		out[m.GetName()] = secret{m, hex.EncodeToString(sum[:8])}
	}
	return out
}
