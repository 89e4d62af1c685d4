package tls

import (
	"errors"
	"fmt"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// parts is what a CommonTlsContext is made of: certificates and a verifier, each here already or in a Secret.
type parts struct {
	certificates []*certificate
	certNames    []string // of Secrets
	verifier     *verifier
	trustName    string // of a Secret
	defaults     *tlsv3.CertificateValidationContext
	inline       []byte // what was not in Secrets, to tell contexts apart
}

func newParts(m *tlsv3.CommonTlsContext) (p parts, err error) {
	if err := field.Only(m, "tls_params", "tls_certificates", "tls_certificate_sds_secret_configs", "validation_context",
		"validation_context_sds_secret_config", "combined_validation_context", "alpn_protocols"); err != nil {
		return p, err
	}
	for i, c := range m.GetTlsCertificates() {
		compiled, err := newCertificate(c)
		if err != nil {
			return p, field.At("tls_certificates", i, err)
		}
		p.certificates = append(p.certificates, compiled)
		p.inline = append(p.inline, compiled.pair.Certificate[0]...)
	}
	if len(p.certificates) == 0 { // the others count only then
		for i, sds := range m.GetTlsCertificateSdsSecretConfigs() {
			if sds.GetName() == "" {
				return p, field.At("tls_certificate_sds_secret_configs", i, field.Errorf("name", "is missing"))
			}
			p.certNames = append(p.certNames, sds.GetName())
		}
	}
	switch v := m.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		if p.verifier, err = newVerifier(v.ValidationContext); err == nil {
			err = p.verifier.complete()
		}
		p.defaults = v.ValidationContext
		err = field.In("validation_context", err)
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		p.trustName = v.ValidationContextSdsSecretConfig.GetName()
		err = named("validation_context_sds_secret_config", p.trustName)
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		c := v.CombinedValidationContext
		if err = field.Only(c, "default_validation_context", "validation_context_sds_secret_config"); err == nil {
			p.trustName, p.defaults = c.GetValidationContextSdsSecretConfig().GetName(), c.GetDefaultValidationContext()
			err = named("validation_context_sds_secret_config", p.trustName)
		}
		if err == nil && p.defaults != nil {
			_, err = newVerifier(p.defaults)
			err = field.In("default_validation_context", err)
		}
		err = field.In("combined_validation_context", err)
	}
	if err != nil {
		return p, err
	}
	if p.defaults != nil {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p.defaults)
		if err != nil {
			return p, err
		}
		p.inline = append(p.inline, b...)
	}
	return p, nil
}

func named(name, secret string) error {
	if secret == "" {
		return field.In(name, field.Errorf("name", "is missing"))
	}
	return nil
}

// names are the Secrets, in the order in which with takes them.
func (p *parts) names() []string {
	if p.trustName == "" {
		return p.certNames
	}
	return append(p.certNames[:len(p.certNames):len(p.certNames)], p.trustName)
}

// with gives what the parts come to with these Secrets. verify is nil if nothing is asked of a peer.
func (p *parts) with(secrets []*secret) (certs []*certificate, verify *verifier, err error) {
	var missing []string
	for i, name := range p.names() {
		if secrets[i] == nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, nil, fmt.Errorf("secret %s is not there", strings.Join(missing, ", "))
	}
	certs = p.certificates
	for i, name := range p.certNames {
		if secrets[i].certificate == nil {
			return nil, nil, fmt.Errorf("secret %s is no certificate", name)
		}
		certs = append(certs, secrets[i].certificate)
	}
	if p.trustName == "" {
		return certs, p.verifier, nil
	}
	s := secrets[len(p.certNames)]
	if s.validation == nil {
		return nil, nil, fmt.Errorf("secret %s is no validation context", p.trustName)
	}
	verify = s.validation
	if p.defaults != nil {
		merged := proto.CloneOf(p.defaults)
		proto.Merge(merged, s.context)
		if verify, err = newVerifier(merged); err != nil {
			return nil, nil, err
		}
	}
	return certs, verify, verify.complete()
}

// trust is what tickets are good for: the sum of everything that decides whom we believe and who we are, but for what our own certificate is today.
func (p *parts) trust(s []*secret) []byte {
	b := append([]byte(nil), p.inline...)
	for _, name := range p.names() {
		b = append(append(b, 0), name...)
	}
	if p.trustName != "" && s[len(p.certNames)] != nil && s[len(p.certNames)].context != nil {
		m, err := proto.MarshalOptions{Deterministic: true}.Marshal(s[len(p.certNames)].context)
		if err == nil {
			b = append(append(b, 0), m...)
		}
	}
	return b
}

var errNoContext = errors.New("no TLS context")
