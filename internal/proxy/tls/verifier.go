package tls

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// verifier is a CertificateValidationContext: what a peer's certificate must be. The zero value takes any.
type verifier struct {
	roots     *x509.CertPool // nil: chains are not verified
	unlisted  bool           // the roots are not named to clients
	pinned    map[[sha256.Size]byte]bool
	names     []nameMatcher
	crls      []*x509.RevocationList
	leafOnly  bool // CRLs are for the leaf only
	expired   bool // an expired leaf is taken
	untrusted bool // a certificate that fails is taken all the same
	depth     int  // certificates above the leaf, at most; 0 is any
}

func newVerifier(m *tlsv3.CertificateValidationContext) (*verifier, error) {
	if err := field.Only(m, "trusted_ca", "watched_directory", "system_root_certs", "verify_certificate_spki", "verify_certificate_hash",
		"match_typed_subject_alt_names", "match_subject_alt_names", "crl", "allow_expired_certificate", "trust_chain_verification",
		"only_verify_leaf_cert_crl", "max_verify_depth", "suppress_client_ca_list"); err != nil {
		return nil, err
	}
	v := &verifier{
		pinned: map[[sha256.Size]byte]bool{}, unlisted: m.GetSuppressClientCaList(), leafOnly: m.GetOnlyVerifyLeafCertCrl(),
		expired: m.GetAllowExpiredCertificate(), depth: int(m.GetMaxVerifyDepth().GetValue()),
		untrusted: m.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED,
	}
	if err := v.trust(m); err != nil {
		return nil, err
	}
	for i, pin := range m.GetVerifyCertificateSpki() {
		if err := v.pin(base64.StdEncoding.DecodeString(pin)); err != nil {
			return nil, field.At("verify_certificate_spki", i, err)
		}
	}
	for i, pin := range m.GetVerifyCertificateHash() {
		if err := v.pin(hex.DecodeString(strings.ReplaceAll(pin, ":", ""))); err != nil {
			return nil, field.At("verify_certificate_hash", i, err)
		}
	}
	var err error
	if v.names, err = newNameMatchers(m); err != nil {
		return nil, err
	}
	return v, nil
}

// complete tells whether a context may be used as it is; the halves of a combined one need not be. A name in a certificate that nobody vouches for says nothing.
func (v *verifier) complete() error {
	if len(v.names) > 0 && v.roots == nil {
		return field.Errorf("match_typed_subject_alt_names", "names are believed only with a trusted_ca")
	}
	return nil
}

func (v *verifier) trust(m *tlsv3.CertificateValidationContext) error {
	ca, err := read(m.GetTrustedCa())
	switch {
	case err != nil:
		return field.In("trusted_ca", err)
	case m.GetTrustedCa().GetSpecifier() != nil:
		certs, err := certificates(ca)
		if err != nil {
			return field.In("trusted_ca", err)
		}
		v.roots = x509.NewCertPool()
		for _, c := range certs {
			v.roots.AddCert(c)
		}
	case m.GetSystemRootCerts() != nil:
		if v.roots, err = x509.SystemCertPool(); err != nil {
			return field.In("system_root_certs", err)
		}
	}
	crl, err := read(m.GetCrl())
	if err != nil {
		return field.In("crl", err)
	}
	for block, rest := pem.Decode(crl); block != nil; block, rest = pem.Decode(rest) {
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return field.In("crl", err)
		}
		v.crls = append(v.crls, list)
	}
	if m.GetCrl().GetSpecifier() != nil && len(v.crls) == 0 {
		return field.Errorf("crl", "no list in PEM")
	}
	return nil
}

func (v *verifier) pin(hash []byte, err error) error {
	if err != nil {
		return err
	}
	if len(hash) != sha256.Size {
		return errors.New("no SHA-256")
	}
	v.pinned[[sha256.Size]byte(hash)] = true
	return nil
}

// certificates reads one certificate or more in PEM.
func certificates(b []byte) (out []*x509.Certificate, err error) {
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate in PEM")
	}
	return out, nil
}

// verify tells whether a peer that shows this chain, leaf first, is one to talk to. usage is what it wants to be.
func (v *verifier) verify(chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	err := v.check(chain, usage, now)
	if v.untrusted {
		return nil
	}
	return err
}

func (v *verifier) check(chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	if len(chain) == 0 {
		return refuse(NoCertificate, errors.New("the peer has no certificate"))
	}
	leaf := chain[0]
	if v.roots != nil {
		if err := v.checkChain(chain, usage, now); err != nil {
			return err
		}
	}
	if len(v.pinned) > 0 && !v.pinned[sha256.Sum256(leaf.Raw)] && !v.pinned[sha256.Sum256(leaf.RawSubjectPublicKeyInfo)] {
		return refuse(WrongName, errors.New("the peer's certificate is not one of those that are pinned"))
	}
	if len(v.names) > 0 && !matchesAny(v.names, leaf) {
		return refuse(WrongName, fmt.Errorf("the peer's certificate has none of the names that are wanted, but %s", namesOf(leaf)))
	}
	return nil
}

func (v *verifier) checkChain(chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	at := now
	if v.expired && now.After(chain[0].NotAfter) {
		at = chain[0].NotAfter
	}
	found, err := chain[0].Verify(x509.VerifyOptions{Roots: v.roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return err
	}
	for _, candidate := range found {
		if v.depth > 0 && len(candidate)-1 > v.depth {
			err = fmt.Errorf("the chain has %d certificates above the peer's", len(candidate)-1)
			continue
		}
		if err = v.revoked(candidate, now); err == nil {
			return nil
		}
	}
	return err
}

// revoked tells whether a certificate of the chain is revoked. If there are lists at all, each authority in it must have one (RFC 5280 section 6.3).
func (v *verifier) revoked(chain []*x509.Certificate, now time.Time) error {
	if len(v.crls) == 0 {
		return nil
	}
	for i := 0; i+1 < len(chain); i++ {
		if err := v.revokedBy(chain[i], chain[i+1], now); err != nil {
			return err
		}
		if v.leafOnly {
			break
		}
	}
	return nil
}

func (v *verifier) revokedBy(c, issuer *x509.Certificate, now time.Time) error {
	covered := false
	for _, list := range v.crls {
		if string(list.RawIssuer) != string(issuer.RawSubject) || list.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
			continue
		}
		covered = true
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(c.SerialNumber) == 0 {
				return refuse(BadCertificate, fmt.Errorf("certificate %v of %s is revoked", c.SerialNumber, c.Subject))
			}
		}
	}
	if !covered {
		return fmt.Errorf("there is no current revocation list of %s", issuer.Subject)
	}
	return nil
}
