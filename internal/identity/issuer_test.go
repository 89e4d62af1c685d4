package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/weftmesh/weft/internal/proxy/istioca"
)

// apiServer knows the tokens "web" (of shop/web), "other" (made for somebody else) and "down" (it cannot be asked).
func apiServer() *fake.Clientset {
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		r.Status = authenticationv1.TokenReviewStatus{
			Authenticated: r.Spec.Token == "web" || r.Spec.Token == "other", Audiences: []string{Audience},
			User: authenticationv1.UserInfo{Username: "system:serviceaccount:shop:web", Extra: map[string]authenticationv1.ExtraValue{podNameKey: {"web-1"}, podUIDKey: {"u1"}}},
		}
		switch r.Spec.Token {
		case "other":
			r.Status.Audiences = []string{"vault"}
		case "down":
			return true, nil, apierrors.NewServiceUnavailable("for a moment")
		}
		return true, r, nil
	})
	return client
}

func newIssuer(t *testing.T, client *fake.Clientset, r prometheus.Registerer) *Issuer {
	t.Helper()
	a := NewAuthority(client, "weft-system", slog.New(slog.DiscardHandler))
	if err := a.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	i, err := NewIssuer(IssuerOptions{Authority: a, Tokens: NewTokens(client.AuthenticationV1()), MaxLife: 48 * time.Hour, Registerer: r, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func with(ctx context.Context, token string) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+token))
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func csr(t testing.TB, key crypto.Signer, template x509.CertificateRequest) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func spiffe(t testing.TB, text string) []*url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return []*url.URL{u}
}

// What a workload gets is good for both ends of a connection, is its own key's, and says who it is by its token.
func TestCertificates(t *testing.T) {
	client := apiServer()
	i := newIssuer(t, client, nil)
	key := newKey(t)
	for _, c := range []struct {
		name    string
		csr     string
		seconds int64
		life    time.Duration
	}{
		{"as weft asks", csr(t, key, x509.CertificateRequest{}), 0, 24 * time.Hour},
		{"as Istio asks", csr(t, key, x509.CertificateRequest{Subject: pkix.Name{Organization: []string{"x"}}, URIs: spiffe(t, "spiffe://cluster.local/ns/shop/sa/web")}), 60, time.Minute},
		{"for a subject that is not believed", csr(t, key, x509.CertificateRequest{Subject: pkix.Name{CommonName: "spiffe://cluster.local/ns/kube-system/sa/admin"}}), 60, time.Minute},
		{"for longer than there is", csr(t, key, x509.CertificateRequest{}), 1 << 62, 48 * time.Hour},
		{"for less than nothing", csr(t, key, x509.CertificateRequest{}), -5, 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := i.CreateCertificate(with(t.Context(), "web"), &istioca.Request{CSR: c.csr, ValiditySeconds: c.seconds})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Chain) != 2 || r.Chain[1] != string(i.o.Authority.CA().Root()) {
				t.Fatalf("%d elements, the last %q", len(r.Chain), r.Chain[len(r.Chain)-1])
			}
			leaf := parse(t, r.Chain[0])
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM([]byte(r.Chain[1]))
			for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
				if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
					t.Error(err)
				}
			}
			if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://cluster.local/ns/shop/sa/web" || len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 {
				t.Errorf("it is for %v %v", leaf.URIs, leaf.DNSNames)
			}
			if leaf.IsCA || leaf.Subject.String() != "" || !key.PublicKey.Equal(leaf.PublicKey) {
				t.Errorf("CA %v, subject %q, key %v", leaf.IsCA, leaf.Subject, leaf.PublicKey)
			}
			if got := time.Until(leaf.NotAfter); got > c.life || got < c.life-time.Minute {
				t.Errorf("good for %v, want %v", got, c.life)
			}
		})
	}
}

func parse(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	all, err := certificates([]byte(text))
	if err != nil || len(all) != 1 {
		t.Fatalf("%d certificates, %v", len(all), err)
	}
	return all[0]
}

func extension(t *testing.T, id []int, value any) []pkix.Extension {
	t.Helper()
	der, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return []pkix.Extension{{Id: id, Value: der}}
}

// Whoever asks for what it is not gets nothing, is told why, and shows in the metrics.
func TestRefusals(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	good := csr(t, key, x509.CertificateRequest{})
	block, _ := pem.Decode([]byte(good))
	forged := append([]byte(nil), block.Bytes...)
	forged[len(forged)-1] ^= 1
	metadata, err := structpb.NewStruct(map[string]any{"ImpersonatedIdentity": "spiffe://cluster.local/ns/kube-system/sa/admin"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, token string
		request     istioca.Request
		reason      reason
		code        codes.Code
		says        string
	}{
		{"no token", "", istioca.Request{CSR: good}, unauthenticated, codes.Unauthenticated, "bearer token"},
		{"a token nobody knows", "nobody", istioca.Request{CSR: good}, unauthenticated, codes.Unauthenticated, "rejected"},
		{"a token for another audience", "other", istioca.Request{CSR: good}, unauthenticated, codes.Unauthenticated, "not made for istio-ca"},
		{"an API server that is away", "down", istioca.Request{CSR: good}, unavailable, codes.Unavailable, "token review"},
		{"nothing", "web", istioca.Request{}, malformed, codes.InvalidArgument, "PEM"},
		{"garbage", "web", istioca.Request{CSR: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"}, malformed, codes.InvalidArgument, "csr:"},
		{"a certificate", "web", istioca.Request{CSR: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, malformed, codes.InvalidArgument, "no certificate request"},
		{"two requests", "web", istioca.Request{CSR: good + good}, malformed, codes.InvalidArgument, "follows"},
		{"too much", "web", istioca.Request{CSR: good + strings.Repeat("\n", maxCSRBytes)}, malformed, codes.InvalidArgument, "the most"},
		{"another's key", "web", istioca.Request{CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: forged}))}, malformed, codes.InvalidArgument, "does not hold the key"},
		{"another's identity", "web", istioca.Request{CSR: csr(t, key, x509.CertificateRequest{URIs: spiffe(t, "spiffe://cluster.local/ns/shop/sa/bank")})}, anothers, codes.PermissionDenied,
			`"spiffe://cluster.local/ns/shop/sa/bank", and the token is that of spiffe://cluster.local/ns/shop/sa/web`},
		{"its own and another's", "web", istioca.Request{CSR: csr(t, key, x509.CertificateRequest{URIs: append(spiffe(t, "spiffe://cluster.local/ns/shop/sa/web"), spiffe(t, "spiffe://cluster.local/ns/bank/sa/web")...)})}, anothers, codes.PermissionDenied, "bank"},
		{"another trust domain", "web", istioca.Request{CSR: csr(t, key, x509.CertificateRequest{URIs: spiffe(t, "spiffe://elsewhere/ns/shop/sa/web")})}, anothers, codes.PermissionDenied, "elsewhere"},
		{"a name", "web", istioca.Request{CSR: csr(t, key, x509.CertificateRequest{DNSNames: []string{"weft-control.weft-system.svc"}})}, anothers, codes.PermissionDenied, "names"},
		{"an address", "web", istioca.Request{CSR: csr(t, key, x509.CertificateRequest{IPAddresses: []net.IP{{10, 0, 0, 1}}})}, anothers, codes.PermissionDenied, "names"},
		{"a short RSA key", "web", istioca.Request{CSR: csr(t, weak, x509.CertificateRequest{})}, weakKey, codes.InvalidArgument, "1024 bits"},
		{"a small curve", "web", istioca.Request{CSR: csr(t, small, x509.CertificateRequest{})}, weakKey, codes.InvalidArgument, "P-224"},
		{"to be an authority", "web", istioca.Request{CSR: csr(t, key, x509.CertificateRequest{ExtraExtensions: extension(t, []int{2, 5, 29, 19}, struct{ IsCA bool }{true})})}, wantsAuthority, codes.PermissionDenied, "CA:TRUE"},
		{"to sign", "web", istioca.Request{CSR: csr(t, key, x509.CertificateRequest{ExtraExtensions: extension(t, []int{2, 5, 29, 15}, asn1.BitString{Bytes: []byte{4}, BitLength: 6})})}, wantsAuthority, codes.PermissionDenied, "keyUsage"},
		{"to be a node's proxy", "web", istioca.Request{CSR: good, Metadata: metadata}, unsupported, codes.InvalidArgument, "ImpersonatedIdentity"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := newIssuer(t, apiServer(), nil)
			ctx := t.Context()
			if c.token != "" {
				ctx = with(ctx, c.token)
			}
			r, err := i.CreateCertificate(ctx, &c.request)
			if r != nil || status.Code(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v %v, want %v with %q", r, err, c.code, c.says)
			}
			if n := testutil.ToFloat64(i.refuse.WithLabelValues(string(c.reason))); n != 1 {
				t.Errorf("counted %v times as %s", n, c.reason)
			}
			if testutil.ToFloat64(i.issued) != 0 {
				t.Error("counted as issued")
			}
		})
	}
}

// A Pod that asks again and again is held up; others are not.
func TestAskingTooOften(t *testing.T) {
	registry := prometheus.NewRegistry()
	i := newIssuer(t, apiServer(), registry)
	request := &istioca.Request{CSR: csr(t, newKey(t), x509.CertificateRequest{})}
	for n := range askedPodAtOnce + 1 {
		_, err := i.CreateCertificate(with(t.Context(), "web"), request)
		if want := map[bool]codes.Code{false: codes.OK, true: codes.ResourceExhausted}[n == askedPodAtOnce]; status.Code(err) != want {
			t.Fatalf("%d: %v", n, err)
		}
	}
	if !i.pods.Allow("u2") {
		t.Error("another Pod is held up as well")
	}
	if n := testutil.ToFloat64(i.issued); n != askedPodAtOnce {
		t.Errorf("%v issued", n)
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 2+len(reasons()) {
		t.Errorf("%d series, %v", n, err)
	}
}

// Who has no token at all uses nothing of what there is for all.
func TestStrangersUseNothingUp(t *testing.T) {
	i := newIssuer(t, apiServer(), nil)
	before := i.all.Tokens()
	for range askedAtOnce {
		if _, err := i.CreateCertificate(t.Context(), &istioca.Request{}); status.Code(err) != codes.Unauthenticated {
			t.Fatal(err)
		}
	}
	if after := i.all.Tokens(); after < before {
		t.Errorf("of %v there are %v left", before, after)
	}
}

// Bytes from outside are refused or understood, and never end the process.
func FuzzCSR(f *testing.F) {
	id := ID("cluster.local", "shop", "web")
	f.Add(csr(f, newKey(f), x509.CertificateRequest{URIs: []*url.URL{id}}))
	f.Add("-----BEGIN CERTIFICATE REQUEST-----\nMIIBADCB\n-----END CERTIFICATE REQUEST-----")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		public, err := readCSR(text, id)
		if (public == nil) == (err == nil) {
			t.Errorf("%v %v", public, err)
		}
		block, _ := pem.Decode([]byte(text))
		if block == nil { // the bytes themselves are tried as well: nobody guesses base64
			_, _ = readCSR(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte(text)})), id)
		}
	})
}
