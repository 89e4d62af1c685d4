package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
)

// Bounds of what a request may ask us to read and compute.
const (
	maxCSRBytes = 64 << 10
	maxRSABits  = 8192
)

// refusal is why a request for a certificate is not granted.
type refusal struct {
	reason reason
	text   string
}

// reason is a refusal as metrics have it.
type reason string

// The reasons.
const (
	unauthenticated reason = "token"
	unavailable     reason = "unavailable" // the API server or the authority, for the moment
	tooOften        reason = "rate"
	malformed       reason = "malformed"
	weakKey         reason = "key"
	wantsAuthority  reason = "authority"
	anothers        reason = "identity"
	unsupported     reason = "unsupported"
)

func reasons() []reason {
	return []reason{unauthenticated, unavailable, tooOften, malformed, weakKey, wantsAuthority, anothers, unsupported}
}

func (r reason) code() codes.Code {
	switch r {
	case unauthenticated:
		return codes.Unauthenticated
	case unavailable:
		return codes.Unavailable
	case tooOften:
		return codes.ResourceExhausted
	case anothers, wantsAuthority:
		return codes.PermissionDenied
	default:
		return codes.InvalidArgument
	}
}

func (r *refusal) Error() string { return r.text }

func refuse(r reason, format string, args ...any) *refusal {
	return &refusal{r, fmt.Sprintf(format, args...)}
}

// ID is the SPIFFE ID of a service account.
func ID(trustDomain, namespace, serviceAccount string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: "/ns/" + namespace + "/sa/" + serviceAccount}
}

// readCSR gives the key that a request in PEM is for, if its sender holds the key and asks for nothing that it is not: id is who it is. Nothing else of the
// request counts.
func readCSR(text string, id *url.URL) (public any, err error) {
	if len(text) > maxCSRBytes {
		return nil, refuse(malformed, "csr: it has %d bytes, and %d are the most", len(text), maxCSRBytes)
	}
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, refuse(malformed, "csr: it is not in PEM")
	case block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
		return nil, refuse(malformed, "csr: it holds a %.40q and no certificate request", block.Type)
	case strings.TrimSpace(string(rest)) != "":
		return nil, refuse(malformed, "csr: something follows the certificate request")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, refuse(malformed, "csr: %v", err)
	}
	if err := strong(csr.PublicKey); err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, refuse(malformed, "csr: its sender does not hold the key: %v", err)
	}
	if err := modest(csr); err != nil {
		return nil, err
	}
	for _, u := range csr.URIs {
		if u.String() != id.String() {
			return nil, refuse(anothers, "csr: it asks for %.300q, and the token is that of %s", u, id)
		}
	}
	if n := len(csr.DNSNames) + len(csr.EmailAddresses) + len(csr.IPAddresses); n > 0 {
		return nil, refuse(anothers, "csr: it asks for names beside a SPIFFE ID, and no workload has any")
	}
	return csr.PublicKey, nil
}

// strong tells whether a key is of a kind and length that peers accept and that costs no more than it should to check.
func strong(public any) error {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return refuse(weakKey, "csr: its key is RSA of %d bits, and %d to %d are accepted", n, minRSABits, maxRSABits)
		}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
		default:
			return refuse(weakKey, "csr: its key is on the curve %s, and P-256, P-384 and P-521 are accepted", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return refuse(weakKey, "csr: its key is of a kind that is not known")
	}
	return nil
}

// modest tells whether a request does not ask for the powers of an authority. They would not be given; who asks is refused, so that it shows.
func modest(csr *x509.CertificateRequest) error {
	for _, e := range csr.Extensions {
		switch {
		case e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19}): // basicConstraints, RFC 5280 section 4.2.1.9
			var c struct {
				IsCA       bool `asn1:"optional"`
				MaxPathLen int  `asn1:"optional,default:-1"`
			}
			if rest, err := asn1.Unmarshal(e.Value, &c); err != nil || len(rest) > 0 {
				return refuse(malformed, "csr: its basicConstraints cannot be read")
			}
			if c.IsCA {
				return refuse(wantsAuthority, "csr: it asks for a certificate of an authority (CA:TRUE)")
			}
		case e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 15}): // keyUsage, section 4.2.1.3
			var bits asn1.BitString
			if rest, err := asn1.Unmarshal(e.Value, &bits); err != nil || len(rest) > 0 {
				return refuse(malformed, "csr: its keyUsage cannot be read")
			}
			if bits.At(5) != 0 || bits.At(6) != 0 {
				return refuse(wantsAuthority, "csr: it asks for a key that signs certificates (keyUsage)")
			}
		}
	}
	return nil
}
