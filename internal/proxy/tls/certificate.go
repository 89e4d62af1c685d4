package tls

import (
	cryptotls "crypto/tls"
	"crypto/x509"
	"errors"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// certificate is a certificate with its key.
type certificate struct{ pair cryptotls.Certificate }

// principal is its first URI: the SPIFFE ID, "" if there is none.
func (c *certificate) principal() string {
	if len(c.pair.Leaf.URIs) == 0 {
		return ""
	}
	return c.pair.Leaf.URIs[0].String()
}

func newCertificate(m *tlsv3.TlsCertificate) (*certificate, error) {
	if err := field.Only(m, "certificate_chain", "private_key", "watched_directory", "ocsp_staple", "signed_certificate_timestamp"); err != nil {
		return nil, err
	}
	chain, err := read(m.GetCertificateChain())
	if err != nil {
		return nil, field.In("certificate_chain", err)
	}
	if len(chain) == 0 {
		return nil, field.Errorf("certificate_chain", "is missing")
	}
	key, err := read(m.GetPrivateKey())
	if err != nil {
		return nil, field.In("private_key", err)
	}
	if len(key) == 0 {
		return nil, field.Errorf("private_key", "is missing")
	}
	c := &certificate{}
	if c.pair, err = cryptotls.X509KeyPair(chain, key); err != nil {
		return nil, pairError(chain, err)
	}
	if c.pair.Leaf == nil {
		if c.pair.Leaf, err = x509.ParseCertificate(c.pair.Certificate[0]); err != nil {
			return nil, field.In("certificate_chain", err)
		}
	}
	if c.pair.OCSPStaple, err = read(m.GetOcspStaple()); err != nil {
		return nil, field.In("ocsp_staple", err)
	}
	for i, source := range m.GetSignedCertificateTimestamp() {
		sct, err := read(source)
		if err != nil {
			return nil, field.At("signed_certificate_timestamp", i, err)
		}
		c.pair.SignedCertificateTimestamps = append(c.pair.SignedCertificateTimestamps, sct)
	}
	return c, nil
}

// pairError says which of the two is wrong, and nothing of what is in the key.
func pairError(chain []byte, err error) error {
	if _, chainErr := certificates(chain); chainErr != nil {
		return field.In("certificate_chain", chainErr)
	}
	if err.Error() == "tls: private key does not match public key" || err.Error() == "tls: private key type does not match public key type" {
		return field.Errorf("private_key", "is not that of the certificate")
	}
	return field.In("private_key", errors.New("is no unencrypted private key in PEM that this proxy can use"))
}

// pick chooses the certificate for a client: of those that it can use, one that is good for the name it asks for, or else the first.
func pick(hello *cryptotls.ClientHelloInfo, all []*certificate) *cryptotls.Certificate {
	if len(all) == 1 {
		return &all[0].pair
	}
	for _, c := range all {
		if hello.SupportsCertificate(&c.pair) == nil {
			return &c.pair
		}
	}
	nameless := *hello
	nameless.ServerName = ""
	for _, c := range all {
		if nameless.SupportsCertificate(&c.pair) == nil {
			return &c.pair
		}
	}
	return &all[0].pair
}

// Names is what a certificate calls its holder: its URIs, then its DNS names.
func Names(c *x509.Certificate) []string {
	names := make([]string, 0, len(c.URIs)+len(c.DNSNames))
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return append(names, c.DNSNames...)
}
