package e2e

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/internal/proxy/istioca"
	"github.com/weftmesh/weft/test/demo"
	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/test/lab"
)

// meshCA is the mesh's own authority, as an attacker would love to have it.
func meshCA(t *testing.T) tls.Certificate {
	t.Helper()
	part := func(key string) []byte {
		b, err := base64.StdEncoding.DecodeString(kubectl(t, "get", "secret", "-n", "weft-system", "weft-ca", "-o", `jsonpath={.data.`+strings.ReplaceAll(key, ".", `\.`)+`}`))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	pair, err := tls.X509KeyPair(part("ca-cert.pem"), part("ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// foreignCA is an authority that says that it is another one.
func foreignCA(t *testing.T, as *x509.Certificate) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: as.SerialNumber, Subject: as.Subject, NotBefore: as.NotBefore, NotAfter: as.NotAfter, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: as.SubjectKeyId}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// forge makes a certificate of an authority and its key, in PEM.
func forge(t *testing.T, ca tls.Certificate, id string, from, until time.Duration) string {
	t.Helper()
	uri, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	key, now := newKey(t), time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(from), NotAfter: now.Add(until), URIs: []*url.URL{uri},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, ca.Leaf, key.Public(), ca.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	return out.String()
}

// A Pod without a sidecar tries what it can to be let in by a Pod that is STRICT. With the certificate that it should not have it gets in, so the attempts
// fail for what is wrong with each of them.
func TestStrictWithstandsAttacks(t *testing.T) {
	shop(t)
	ca := meshCA(t)
	const storefront, scraper = "spiffe://cluster.local/ns/bookshop/sa/storefront", "spiffe://cluster.local/ns/bookshop/sa/scraper"
	good := forge(t, ca, storefront, -time.Hour, time.Hour)
	_, _, ip := shopPod(t, "reviews", "v1")
	at := net.JoinHostPort(ip, "9080")
	for _, c := range []struct {
		name, pem string
		args      []string
		want      string // "": no answer at all
	}{
		{"the storefront's own certificate", good, nil, "200 reviews/v1<-" + storefront + " from spiffe://cluster.local/ns/bookshop/sa/reviews"},
		{"no protocol of Istio's with it", good, []string{"-alpn", ""}, "200 reviews/v1<-" + storefront},
		{"TLS 1.2 with it", good, []string{"-max", "1.2"}, "200 reviews/v1<-" + storefront},
		{"TLS 1.1 with it", good, []string{"-max", "1.1"}, ""},
		{"no certificate", "", nil, ""},
		{"no certificate, and HTTP's own protocols", "", []string{"-alpn", "h2,http/1.1"}, ""},
		{"another authority of the same name", forge(t, foreignCA(t, ca.Leaf), storefront, -time.Hour, time.Hour), nil, ""},
		{"an expired certificate", forge(t, ca, storefront, -2*time.Hour, -time.Hour), nil, ""},
		{"a certificate of tomorrow", forge(t, ca, storefront, 24*time.Hour, 25*time.Hour), nil, ""},
		{"another identity of the mesh", forge(t, ca, scraper, -time.Hour, time.Hour), nil, "403 RBAC: access denied"},
		{"the account's name in another namespace", forge(t, ca, "spiffe://cluster.local/ns/elsewhere/sa/storefront", -time.Hour, time.Hour), nil, "403 RBAC: access denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := cluster.ExecWith(t.Context(), c.pem, lab.Pod("elsewhere", "stranger"), "bookshop", append(append([]string{"tls", "-path", "/reviews/1"}, c.args...), at)...)
			if c.want == "" && err == nil || c.want != "" && !strings.HasPrefix(out, c.want) {
				t.Errorf("want %q, got %q, %v", c.want, out, err)
			}
		})
	}
	// The trust domain is part of the identity.
	out, _ := cluster.ExecWith(t.Context(), forge(t, ca, "spiffe://elsewhere.example/ns/bookshop/sa/storefront", -time.Hour, time.Hour), lab.Pod("elsewhere", "stranger"),
		"bookshop", "tls", "-path", "/reviews/1", at)
	if strings.HasPrefix(out, "200") {
		t.Errorf("another trust domain's storefront was answered: %q", out)
	}
}

// The mesh's authority signs for the Pod that a token is bound to, for as long as that Pod is there, and for nobody else.
func TestTokensOfOthers(t *testing.T) {
	shop(t)
	apply(t, demo.Shop, `
apiVersion: v1
kind: Pod
metadata: {name: gone}
spec:
  serviceAccountName: scraper
  terminationGracePeriodSeconds: 0
  containers:
  - {name: bookshop, image: "weft-examples/bookshop:dev", imagePullPolicy: Never, args: [sleep]}`)
	kubectl(t, "wait", "-n", demo.Shop, "--for=condition=Ready", "--timeout=1m", "pod/gone")
	token := func(args ...string) string {
		return kubectl(t, append([]string{"create", "token", "-n", demo.Shop, "scraper"}, args...)...)
	}
	bound := []string{"--bound-object-kind=Pod", "--bound-object-name=gone"}
	own := token(append(bound, "--audience=istio-ca")...)
	ask := certifier(t)

	for name, other := range map[string]string{
		"no token":         "",
		"a forged one":     own[:strings.LastIndex(own, ".")+1] + "AAAA",
		"another audience": token(append(bound, "--audience=vault")...),
	} {
		t.Run(name, func(t *testing.T) {
			if id, err := ask(other, "spiffe://cluster.local/ns/bookshop/sa/scraper"); err == nil {
				t.Errorf("it was given a certificate for %s", id)
			}
		})
	}
	if id, err := ask(own, "spiffe://cluster.local/ns/bookshop/sa/scraper"); err != nil || id != "spiffe://cluster.local/ns/bookshop/sa/scraper" {
		t.Fatalf("with its own token the Pod is %q, %v", id, err)
	}
	if id, err := ask(own, "spiffe://cluster.local/ns/bookshop/sa/storefront"); err == nil && id != "spiffe://cluster.local/ns/bookshop/sa/scraper" {
		t.Errorf("a CSR for the storefront was answered with %s", id)
	}
	kubectl(t, "delete", "pod", "-n", demo.Shop, "gone", "--wait")
	eventually(t, time.Minute, func() error { // API servers remember for ten seconds that a token was good
		if id, err := ask(own, "spiffe://cluster.local/ns/bookshop/sa/scraper"); err == nil {
			return fmt.Errorf("the token of a Pod that is gone is good for %s", id)
		}
		return nil
	})
}

// certifier gives what asks the mesh's authority for a certificate, and whose it is.
func certifier(t *testing.T) func(token, id string) (string, error) {
	t.Helper()
	local := freeport.Hold(t)
	at := kubectl(t, "get", "service", "-n", "weft-system", "weft-control", "-o", "jsonpath={.spec.clusterIP}")
	if _, err := cluster.Run(t.Context(), "tunnel", "--background", fmt.Sprintf("%d:%s:15012", local.Port(), at)); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(meshCA(t).Leaf)
	conn, err := grpc.NewClient(local.String(), grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, "weft-control.weft-system.svc")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return func(token, id string) (string, error) {
		uri, err := url.Parse(id)
		if err != nil {
			return "", err
		}
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{}, URIs: []*url.URL{uri}}, newKey(t))
		if err != nil {
			return "", err
		}
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		}
		answer, err := istioca.Call(ctx, conn, &istioca.Request{CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))})
		if err != nil {
			return "", err
		}
		block, _ := pem.Decode([]byte(answer.Chain[0]))
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", err
		}
		return cert.URIs[0].String(), nil
	}
}
