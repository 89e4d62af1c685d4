package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

const (
	rootLife = 10 * 365 * 24 * time.Hour
	clockOff = 10 * time.Minute // how far clocks may be apart
)

// CA is a certificate authority. It never changes, and its methods are safe for concurrent use.
type CA struct {
	cert    *x509.Certificate
	private crypto.Signer
	between [][]byte // the certificates from its own, unless that is a root, to the roots, in DER
	roots   []byte   // in PEM
}

// NewCA makes an authority of its own, for ten years.
func NewCA() (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	template, err := certificate(pkix.Name{CommonName: "weft", Organization: []string{"weft"}}, time.Now().Add(rootLife))
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return &CA{roots: encode(der), cert: cert, private: key}, nil
}

func certificate(name pkix.Name, until time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	return &x509.Certificate{SerialNumber: serial, Subject: name, NotBefore: time.Now().Add(-clockOff), NotAfter: until}, nil
}

func encode(ders ...[]byte) []byte {
	var b bytes.Buffer
	for _, der := range ders {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes everything
	}
	return b.Bytes()
}

// Root gives the certificates that those trust who trust the authority, in PEM. It must not be changed.
func (ca *CA) Root() []byte { return ca.roots }

// same tells whether two authorities sign and are believed alike.
func (ca *CA) same(other *CA) bool {
	return ca != nil && other != nil && ca.cert.Equal(other.cert) && bytes.Equal(ca.roots, other.roots) && bytes.Equal(bytes.Join(ca.between, nil), bytes.Join(other.between, nil))
}

// workload signs a certificate for the holder of a key: one that is good for both ends of a connection, says who it is in the form that SPIFFE's
// X.509-SVID wants, and does not outlive the authority's own.
func (ca *CA) workload(id *url.URL, public any, life time.Duration) (leaf []byte, until time.Time, err error) {
	now := time.Now()
	until = now.Add(life)
	if end := ca.cert.NotAfter; until.After(end) {
		until = end
	}
	if !until.After(now) {
		return nil, until, fmt.Errorf("the certificate of the authority has expired at %s", ca.cert.NotAfter.Format(time.RFC3339))
	}
	template, err := certificate(pkix.Name{}, until)
	if err != nil {
		return nil, until, err
	}
	template.URIs = []*url.URL{id}
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.BasicConstraintsValid = true
	leaf, err = x509.CreateCertificate(rand.Reader, template, ca.cert, public, ca.private)
	return leaf, until, err
}
