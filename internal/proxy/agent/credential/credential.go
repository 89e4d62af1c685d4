package credential

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Credential is a key with its certificate, and the roots. It must not be changed.
type Credential struct {
	Key, Chain, Roots []byte // in PEM; Chain begins with the workload's own certificate
	Leaf              *x509.Certificate
	Since             time.Time // when it was got

	given []byte // the roots that the authority gave with it; Roots may be more
}

// Identity is the SPIFFE ID that it shows.
func (c *Credential) Identity() string {
	if len(c.Leaf.URIs) == 0 {
		return ""
	}
	return c.Leaf.URIs[0].String()
}

// life is how long it was good when it was got.
func (c *Credential) life() time.Duration { return c.Leaf.NotAfter.Sub(c.Since) }

// newKey makes a key and the request for its certificate. The request names nobody: the authority knows who asks.
func newKey() (key []byte, request string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, "", err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return nil, "", err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), nil
}

// made puts a credential together, if its parts belong together, hold at that time, and are the expected account's ("" is any).
func made(key, chain, roots []byte, since, now time.Time, namespace, account string) (*Credential, error) {
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, errors.New("the certificate is not that of the key")
	}
	c := &Credential{Key: key, Chain: chain, Roots: roots, given: roots, Leaf: pair.Leaf, Since: since}
	if len(c.Leaf.URIs) != 1 || c.Leaf.URIs[0].Scheme != "spiffe" {
		return nil, errors.New("the certificate names no SPIFFE ID, or several")
	}
	if want := "/ns/" + namespace + "/sa/" + account; namespace != "" && account != "" && c.Leaf.URIs[0].Path != want {
		return nil, fmt.Errorf("the certificate is that of %s, and not of %s", c.Identity(), strings.TrimPrefix(want, "/"))
	}
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: now}
	if !o.Roots.AppendCertsFromPEM(roots) {
		return nil, errors.New("it came without a root")
	}
	o.Intermediates.AppendCertsFromPEM(chain)
	if _, err := c.Leaf.Verify(o); err != nil {
		return nil, err
	}
	return c, nil
}

// trusting gives the credential with the roots of a text as well; what of it is no certificate is left out.
func (c *Credential) trusting(text []byte) *Credential {
	out := *c
	out.Roots = bytes.Clone(c.given)
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return &out
		}
		one := pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})
		if _, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" && !bytes.Contains(out.Roots, one) {
			out.Roots = append(out.Roots, one...)
		}
	}
}
