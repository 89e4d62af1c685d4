package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestReplicasShareOneCA(t *testing.T) {
	client := fake.NewClientset()
	a, err := SharedCA(t.Context(), client, "weft-system")
	if err != nil {
		t.Fatal(err)
	}
	b, err := SharedCA(t.Context(), client, "weft-system")
	if err != nil {
		t.Fatal(err)
	}
	if string(a.Root()) != string(b.Root()) {
		t.Error("two authorities")
	}
	for range 2 {
		if err := b.Publish(t.Context(), client, "gateways"); err != nil {
			t.Fatal(err)
		}
	}
	m, err := client.CoreV1().ConfigMaps("gateways").Get(t.Context(), RootConfigMap, metav1.GetOptions{})
	if err != nil || m.Data[RootKey] != string(a.Root()) {
		t.Errorf("%v %v", m, err)
	}
	other, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Publish(t.Context(), client, "gateways"); err != nil {
		t.Fatal(err)
	}
	if m, err = client.CoreV1().ConfigMaps("gateways").Get(t.Context(), RootConfigMap, metav1.GetOptions{}); err != nil || m.Data[RootKey] != string(other.Root()) {
		t.Errorf("%v %v", m, err)
	}
}

func TestBadSecretIsAnError(t *testing.T) {
	client := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "weft-system", Name: SecretName}, Data: map[string][]byte{certKey: []byte("x")}})
	if _, err := SharedCA(t.Context(), client, "weft-system"); err == nil {
		t.Error("no error")
	}
}

// A server is believed by those who have the root, and goes on being so.
func TestServerConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := NewCA()
		if err != nil {
			t.Fatal(err)
		}
		config := ca.ServerConfig("weft-control.weft-system.svc", "127.0.0.1")
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca.Root())
		serials := map[string]bool{}
		for range 4 {
			for _, name := range []string{"weft-control.weft-system.svc", "127.0.0.1"} {
				here, there := net.Pipe()
				s, c := tls.Server(there, config), tls.Client(here, &tls.Config{RootCAs: roots, ServerName: name, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
				go func() { _ = s.Handshake() }()
				if err := c.HandshakeContext(t.Context()); err != nil {
					t.Errorf("%s: %v", name, err)
				} else {
					serials[c.ConnectionState().PeerCertificates[0].SerialNumber.String()] = true
				}
				here.Close()
				there.Close()
			}
			time.Sleep(11 * time.Hour)
		}
		if len(serials) != 2 {
			t.Errorf("%d certificates in 33 hours, want 2", len(serials))
		}
	})
}

func TestTokens(t *testing.T) {
	good := authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{Audience}, User: authenticationv1.UserInfo{
		Username: "system:serviceaccount:weft-system:weft-gateway",
		Extra:    map[string]authenticationv1.ExtraValue{podNameKey: {"gateway-1"}, podUIDKey: {"u1"}},
	}}
	edit := func(fn func(*authenticationv1.TokenReviewStatus)) authenticationv1.TokenReviewStatus {
		s := *good.DeepCopy()
		fn(&s)
		return s
	}
	for _, c := range []struct {
		name     string
		status   authenticationv1.TokenReviewStatus
		want     Account
		rejected bool
	}{
		{"of a Pod", good, Account{"weft-system", "weft-gateway", "gateway-1", "u1"}, false},
		{"of no Pod", edit(func(s *authenticationv1.TokenReviewStatus) { s.User.Extra = nil }), Account{"weft-system", "weft-gateway", "", ""}, false},
		{"not believed", edit(func(s *authenticationv1.TokenReviewStatus) { s.Authenticated, s.Error = false, "expired" }), Account{}, true},
		{"for others", edit(func(s *authenticationv1.TokenReviewStatus) { s.Audiences = []string{"https://kubernetes"} }), Account{}, true},
		{"for nobody in particular", edit(func(s *authenticationv1.TokenReviewStatus) { s.Audiences = nil }), Account{}, true},
		{"of a person", edit(func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "jane" }), Account{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				client := fake.NewClientset()
				client.PrependReactor("create", "tokenreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
					asked++
					return true, &authenticationv1.TokenReview{Status: c.status}, nil
				})
				tokens := NewTokens(client.AuthenticationV1())
				for range 3 {
					got, err := tokens.Verify(context.Background(), "token")
					if errors.Is(err, ErrRejected) != c.rejected || (err != nil) != c.rejected {
						t.Fatal(err)
					}
					if d := cmp.Diff(c.want, got); d != "" {
						t.Error(d)
					}
				}
				if want := map[bool]int{false: 1, true: 3}[c.rejected]; asked != want {
					t.Errorf("asked %d times", asked)
				}
				time.Sleep(rememberFor)
				before := asked
				_, _ = tokens.Verify(context.Background(), "token")
				if asked == before {
					t.Error("a token is believed for ever")
				}
			})
		})
	}
}
