package identity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/weftmesh/weft/internal/proxy/istioca"
)

// operator is an authority as who runs a cluster makes it: a root that is kept elsewhere, and a certificate under it.
type operator struct {
	root, cert, key []byte
}

func newOperator(t *testing.T, key crypto.Signer, until time.Time) operator {
	t.Helper()
	root, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	template, err := certificate(pkix.Name{CommonName: "cluster 1"}, until)
	if err != nil {
		t.Fatal(err)
	}
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, root.cert, key.Public(), root.private)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.Block{Type: "EC PRIVATE KEY"}
	if r, is := key.(*rsa.PrivateKey); is {
		private.Type, private.Bytes = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)
	} else {
		private.Type = "PRIVATE KEY"
		if private.Bytes, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			t.Fatal(err)
		}
	}
	return operator{root.roots, encode(der), pem.EncodeToMemory(&private)}
}

func (o operator) secret(namespace string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: OperatorSecretName}, Data: map[string][]byte{
		certKey: o.cert, privateKey: o.key, RootKey: o.root, chainKey: append(append([]byte(nil), o.cert...), o.root...),
	}}
}

// leafOf asks for a certificate and gives its chain.
func leafOf(t *testing.T, a *Authority) []string {
	t.Helper()
	i, err := NewIssuer(IssuerOptions{Authority: a, Tokens: NewTokens(apiServer().AuthenticationV1()), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := i.CreateCertificate(with(t.Context(), "web"), &istioca.Request{CSR: csr(t, newKey(t), x509.CertificateRequest{})})
	if err != nil {
		t.Fatal(err)
	}
	return r.Chain
}

// The operator's own authority is used where there is one, with what is between it and its root sent along.
func TestOperatorsAuthority(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour)
	ec, withRSA := newOperator(t, newKey(t), until), newOperator(t, rsaKey, until)
	tls := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "weft-system", Name: OperatorSecretName}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		corev1.TLSCertKey: ec.cert, corev1.TLSPrivateKeyKey: ec.key, "ca.crt": ec.root,
	}}
	withoutChain := ec.secret("weft-system")
	delete(withoutChain.Data, chainKey)
	for _, c := range []struct {
		name   string
		secret *corev1.Secret
		of     operator
	}{
		{"EC", ec.secret("weft-system"), ec},
		{"RSA", withRSA.secret("weft-system"), withRSA},
		{"Istio's", ec.secret(IstioNamespace), ec},
		{"of cert-manager", tls, ec},
		{"without cert-chain.pem", withoutChain, ec},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := fake.NewClientset(c.secret)
			a := NewAuthority(client, "weft-system", slog.New(slog.DiscardHandler))
			if err := a.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			chain := leafOf(t, a)
			if len(chain) != 3 || chain[1] != string(c.of.cert) || chain[2] != string(c.of.root) {
				t.Fatalf("a chain of %d: %v", len(chain), chain)
			}
			roots, between := x509.NewCertPool(), x509.NewCertPool()
			roots.AppendCertsFromPEM([]byte(chain[2]))
			between.AppendCertsFromPEM([]byte(chain[1]))
			leaf := parse(t, chain[0])
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
				t.Error(err)
			}
			if leaf.NotAfter.After(until.Add(time.Second)) {
				t.Errorf("good until %v, and its authority until %v", leaf.NotAfter, until)
			}
			if _, err := client.CoreV1().Secrets("weft-system").Get(t.Context(), SecretName, metav1.GetOptions{}); err == nil {
				t.Error("an authority of weft's own was made as well")
			}
			if got := a.Status().Secret; got != c.secret.Namespace+"/"+OperatorSecretName {
				t.Errorf("from %q", got)
			}
		})
	}
}

// A Secret that is there and no authority is said to be so, with its key; nothing of its private key is.
func TestBadAuthorities(t *testing.T) {
	good := newOperator(t, newKey(t), time.Now().Add(time.Hour))
	other := newOperator(t, newKey(t), time.Now().Add(time.Hour))
	expired := newOperator(t, newKey(t), time.Now().Add(-time.Minute))
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		of   operator
		edit func(map[string][]byte)
		says string
	}{
		{"no key", good, func(d map[string][]byte) { delete(d, privateKey) }, "ca-key.pem"},
		{"another's key", good, func(d map[string][]byte) { d[privateKey] = other.key }, "ca-key.pem"},
		{"no certificate", good, func(d map[string][]byte) { d[certKey] = []byte("x") }, "ca-cert.pem: there is no certificate"},
		{"another's root", good, func(d map[string][]byte) { d[RootKey], d[chainKey] = other.root, nil }, "root-cert.pem do not lead to it"},
		{"no root", good, func(d map[string][]byte) { delete(d, RootKey) }, "root-cert.pem is needed"},
		{"a bad chain", good, func(d map[string][]byte) { d[chainKey] = d[privateKey] }, "cert-chain.pem: it holds a"},
		{"expired", expired, func(map[string][]byte) {}, "expired"},
		{"a short key", newOperator(t, weak, time.Now().Add(time.Hour)), func(map[string][]byte) {}, "RSA of 1024 bits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.of.secret("weft-system")
			c.edit(s.Data)
			client := fake.NewClientset(s)
			err := NewAuthority(client, "weft-system", slog.New(slog.DiscardHandler)).Load(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "weft-system/cacerts") {
				t.Errorf("%v, want %q", err, c.says)
			}
			if _, err := client.CoreV1().Secrets("weft-system").Get(t.Context(), SecretName, metav1.GetOptions{}); err == nil {
				t.Error("an authority of weft's own was made in its place")
			}
		})
	}
}

// A Secret that changes is picked up, one that is damaged is not, and who trusts the new authority still trusts weft's own of before.
func TestAuthorityChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		ctx, stop := context.WithCancel(t.Context())
		a := NewAuthority(client, "weft-system", slog.New(slog.DiscardHandler))
		if err := a.Load(ctx); err != nil {
			t.Fatal(err)
		}
		own := a.CA()
		done := make(chan struct{})
		go func() { defer close(done); a.Run(ctx) }()
		defer func() { stop(); <-done }()

		config := a.ServerConfig("weft-control")
		before, err := config.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		changed := a.Changed()
		theirs := newOperator(t, newKey(t), time.Now().Add(time.Hour*1000))
		create(t, client, theirs.secret("weft-system"))
		time.Sleep(2 * lookEvery)
		<-changed
		chain := leafOf(t, a)
		if chain[1] != string(theirs.cert) || !strings.Contains(chain[2], string(theirs.root)) || !bytes.Contains([]byte(chain[2]), own.roots) {
			t.Errorf("%v", chain)
		}
		after, err := config.GetCertificate(nil)
		if err != nil || len(after.Certificate) != 2 || bytes.Equal(after.Certificate[0], before.Certificate[0]) {
			t.Errorf("the server shows what it showed before: %v", err)
		}

		bad := theirs.secret("weft-system")
		bad.Data[certKey] = []byte("x")
		if _, err := client.CoreV1().Secrets("weft-system").Update(ctx, bad, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		changed = a.Changed()
		time.Sleep(2 * lookEvery)
		select {
		case <-changed:
			t.Error("a damaged Secret was taken")
		default:
		}
		if s := a.Status(); s.Error == "" || s.Secret != "weft-system/cacerts" {
			t.Errorf("%+v", s)
		}
	})
}

func create(t *testing.T, client kubernetes.Interface, s *corev1.Secret) {
	t.Helper()
	if _, err := client.CoreV1().Secrets(s.Namespace).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
