package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Where authorities are kept. The keys of both Secrets are Istio's; of a Secret of type kubernetes.io/tls they are that type's.
const (
	SecretName         = "weft-ca" // one that weft made
	OperatorSecretName = "cacerts" // one that whoever runs the cluster has made
	IstioNamespace     = "istio-system"

	certKey    = "ca-cert.pem"
	privateKey = "ca-key.pem"
	chainKey   = "cert-chain.pem"
)

// minRSABits is how long an RSA key must be, of an authority and of a workload.
const minRSABits = 2048

// SharedCA gives the authority that all replicas of a control plane share, kept in the Secret weft-ca of its namespace. The first replica makes it.
func SharedCA(ctx context.Context, client kubernetes.Interface, namespace string) (*CA, error) {
	secrets := client.CoreV1().Secrets(namespace)
	for range 3 {
		s, err := secrets.Get(ctx, SecretName, metav1.GetOptions{})
		if err == nil {
			return readCA(s)
		}
		if !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("Secret %s/%s: %w", namespace, SecretName, err)
		}
		ca, err := NewCA()
		if err != nil {
			return nil, err
		}
		data, err := ca.data()
		if err != nil {
			return nil, err
		}
		_, err = secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: SecretName}, Type: corev1.SecretTypeOpaque, Data: data}, metav1.CreateOptions{})
		if err == nil {
			return ca, nil
		}
		if !apierrors.IsAlreadyExists(err) { // another replica was faster: its own is used
			return nil, fmt.Errorf("Secret %s/%s: %w", namespace, SecretName, err)
		}
	}
	return nil, fmt.Errorf("Secret %s/%s comes and goes", namespace, SecretName)
}

func (ca *CA) data() (map[string][]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(ca.private)
	if err != nil {
		return nil, fmt.Errorf("key of the certificate authority: %w", err)
	}
	return map[string][]byte{certKey: ca.roots, privateKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}, nil
}

// readCA reads an authority from a Secret. What is wrong is said with the key of the Secret that it is wrong in, and without anything of the private key.
func readCA(s *corev1.Secret) (*CA, error) {
	cert, key, root, chain := certKey, privateKey, RootKey, chainKey
	if s.Data[cert] == nil && s.Data[corev1.TLSCertKey] != nil {
		cert, key, root, chain = corev1.TLSCertKey, corev1.TLSPrivateKeyKey, "ca.crt", corev1.TLSCertKey
	}
	ca, err := newCA(s.Data, cert, key, root, chain)
	if err != nil {
		return nil, fmt.Errorf("Secret %s/%s holds no certificate authority: %w", s.Namespace, s.Name, err)
	}
	return ca, nil
}

func newCA(data map[string][]byte, cert, key, root, chain string) (*CA, error) {
	if len(data[cert]) == 0 || len(data[key]) == 0 {
		return nil, fmt.Errorf("%s and %s are needed", cert, key)
	}
	pair, err := tls.X509KeyPair(data[cert], data[key])
	if err != nil {
		if _, bad := certificates(data[cert]); bad != nil {
			return nil, fmt.Errorf("%s: %w", cert, bad)
		}
		return nil, fmt.Errorf("%s: it is no unencrypted private key of %s in PEM", key, cert)
	}
	ca := &CA{cert: pair.Leaf}
	private, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a %T does not sign", key, pair.PrivateKey)
	}
	if r, is := private.(*rsa.PrivateKey); is && r.N.BitLen() < minRSABits {
		return nil, fmt.Errorf("%s: it is RSA of %d bits, and %d are the least", key, r.N.BitLen(), minRSABits)
	}
	ca.private = private
	if !ca.cert.IsCA || ca.cert.KeyUsage != 0 && ca.cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("%s: it is none of an authority", cert)
	}
	roots, between := []*x509.Certificate{ca.cert}, []*x509.Certificate(nil)
	if len(data[root]) > 0 {
		if roots, err = certificates(data[root]); err != nil {
			return nil, fmt.Errorf("%s: %w", root, err)
		}
	} else if !bytes.Equal(ca.cert.RawIssuer, ca.cert.RawSubject) {
		return nil, fmt.Errorf("%s is needed, because the certificate in %s is signed by another", root, cert)
	}
	if len(data[chain]) > 0 {
		if between, err = certificates(data[chain]); err != nil {
			return nil, fmt.Errorf("%s: %w", chain, err)
		}
	}
	if err := ca.under(roots, between); err != nil {
		return nil, fmt.Errorf("%s: the roots in %s do not lead to it: %w", cert, root, err)
	}
	return ca, nil
}

// under finds what is between an authority and its roots, each certificate once.
func (ca *CA) under(roots, between []*x509.Certificate) error {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	seen := map[string]bool{}
	for _, c := range roots {
		o.Roots.AddCert(c)
		if !seen[string(c.Raw)] {
			ca.roots = append(ca.roots, encode(c.Raw)...)
		}
		seen[string(c.Raw)] = true
	}
	for _, c := range append([]*x509.Certificate{ca.cert}, between...) {
		o.Intermediates.AddCert(c)
		if !seen[string(c.Raw)] {
			ca.between = append(ca.between, c.Raw)
		}
		seen[string(c.Raw)] = true
	}
	_, err := ca.cert.Verify(o)
	return err
}

// trusting gives an authority whose roots are those of another as well.
func (ca *CA) trusting(other *CA) *CA {
	both := *ca
	for rest := other.roots; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return &both
		}
		if one := encode(block.Bytes); !bytes.Contains(both.roots, one) {
			both.roots = append(both.roots[:len(both.roots):len(both.roots)], one...)
		}
	}
}

// certificates reads all of a text in PEM, of which there must be one at least.
func certificates(text []byte) (all []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %q", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return all, nil
}
