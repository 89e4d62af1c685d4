package service

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// lowerSecret reads the TLS material of a Secret: tls.crt, tls.key and ca.crt, or cert, key and cacert as Istio's generic Secrets have them.
// What cannot be used is left out; a Secret of which nothing can be used is nil. What a message says of a key is never the key.
func lowerSecret(s *corev1.Secret, say report) *model.Secret {
	if s == nil {
		return nil
	}
	at := finding.Object{Kind: "Secret", Namespace: s.Namespace, Name: s.Name}
	out := &model.Secret{Name: model.ObjectName{Namespace: s.Namespace, Name: s.Name}, Origin: model.Origin{Object: at}}
	first := func(keys ...string) (string, []byte) {
		for _, k := range keys {
			if len(s.Data[k]) > 0 {
				return k, s.Data[k]
			}
		}
		return keys[0], nil
	}
	certAt, cert := first("tls.crt", "cert")
	keyAt, key := first("tls.key", "key")
	caAt, ca := first("ca.crt", "cacert")
	switch {
	case cert == nil && key == nil:
	case cert == nil:
		say.at(at, finding.Error, "data["+certAt+"]", "no-certificate", "there is a key and no certificate for it")
	case key == nil:
		say.at(at, finding.Error, "data["+keyAt+"]", "no-key", "there is a certificate and no key for it")
	default:
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			say.at(at, finding.Error, "data["+certAt+"]", "invalid-certificate", fmt.Sprintf("certificate and key cannot be used: %v", err))
			break
		}
		out.Certificate, out.Key, out.NotAfter = cert, key, pair.Leaf.NotAfter.UTC()
	}
	if ca != nil {
		if err := checkCAs(ca); err != nil {
			say.at(at, finding.Error, "data["+caAt+"]", "invalid-certificate", err.Error())
		} else {
			out.CA = ca
		}
	}
	if out.Certificate == nil && out.CA == nil {
		return nil
	}
	return out
}

// checkCAs tells whether a bundle is PEM certificates, at least one.
func checkCAs(bundle []byte) error {
	found := 0
	for rest := bundle; ; found++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("the CA cannot be used: %w", err)
		}
	}
	if found == 0 {
		return fmt.Errorf("there is no CA certificate in PEM form")
	}
	return nil
}

func sameSecret(a, b *model.Secret) bool {
	return a == b || a != nil && b != nil && a.Name == b.Name && bytes.Equal(a.Certificate, b.Certificate) && bytes.Equal(a.Key, b.Key) &&
		bytes.Equal(a.CA, b.CA) && a.NotAfter.Equal(b.NotAfter)
}
