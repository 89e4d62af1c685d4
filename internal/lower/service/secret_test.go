package service

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/finding"
)

// pair makes a certificate and its key in PEM.
func pair(t *testing.T, notAfter time.Time) (certificate, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "web.test"}, DNSNames: []string{"web.test"}, NotBefore: time.Unix(0, 0), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func TestSecrets(t *testing.T) {
	end := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	cert, key := pair(t, end)
	_, otherKey := pair(t, end)
	for _, c := range []struct {
		name            string
		data            map[string][]byte
		certificate, ca bool
		findings        []string
	}{
		{"of the type for TLS", map[string][]byte{"tls.crt": cert, "tls.key": key}, true, false, nil},
		{"with a CA", map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": cert}, true, true, nil},
		{"as Istio's generic ones", map[string][]byte{"cert": cert, "key": key, "cacert": cert}, true, true, nil},
		{"a CA alone", map[string][]byte{"cacert": cert}, false, true, nil},
		{"nothing of TLS", map[string][]byte{"password": []byte("hunter2")}, false, false, nil},
		{"another's key", map[string][]byte{"tls.crt": cert, "tls.key": otherKey}, false, false, []string{"error Secret shop/s data[tls.crt]: certificate and key cannot be used"}},
		{"no certificate", map[string][]byte{"tls.crt": []byte("nonsense"), "tls.key": key, "ca.crt": cert}, false, true, []string{"error Secret shop/s data[tls.crt]: certificate and key"}},
		{"no key", map[string][]byte{"tls.crt": cert}, false, false, []string{"error Secret shop/s data[tls.key]: there is a certificate and no key"}},
		{"no CA", map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": []byte("x")}, true, false, []string{"error Secret shop/s data[ca.crt]: there is no CA"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var findings []string
			got := lowerSecret(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s"}, Data: c.data}, func(f finding.Finding) { findings = append(findings, f.String()) })
			if (got != nil) != (c.certificate || c.ca) {
				t.Fatalf("%v", got)
			}
			if got != nil && (got.Certificate != nil) != c.certificate || got != nil && (got.CA != nil) != c.ca {
				t.Errorf("certificate %v, CA %v", got.Certificate != nil, got.CA != nil)
			}
			if c.certificate && !got.NotAfter.Equal(end) {
				t.Errorf("valid until %v", got.NotAfter)
			}
			if len(findings) != len(c.findings) {
				t.Fatalf("findings %q, want %q", findings, c.findings)
			}
			for i := range findings {
				if !strings.HasPrefix(findings[i], c.findings[i]) || strings.Contains(findings[i], "PRIVATE") {
					t.Errorf("finding %q, want one that begins %q", findings[i], c.findings[i])
				}
			}
		})
	}
}
