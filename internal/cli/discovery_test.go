package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/weftmesh/weft/internal/identity"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds/resource"
)

// Proxies are served over TLS with the shared CA, and only if their token is that of a Pod that exists.
func TestProxiesAreAuthenticated(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		pod, known := map[string][]string{"good": {"gateway-1", "u1"}, "successor": {"gateway-1", "u2"}, "unbound": {"", ""}}[r.Spec.Token]
		r.Status = authenticationv1.TokenReviewStatus{Authenticated: known, Audiences: []string{identity.Audience}, User: authenticationv1.UserInfo{Username: "system:serviceaccount:weft-system:weft-gateway"}}
		if known && pod[0] != "" {
			r.Status.User.Extra = map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/pod-name": {pod[0]}, "authentication.kubernetes.io/pod-uid": {pod[1]}}
		}
		return true, r, nil
	})
	w := emptyWorld(slog.New(slog.DiscardHandler))
	d, err := newDiscovery(w, client, newTraffic(w, "cluster.local", ""), resource.Options{}, "weft-system", nil, issuerFlags{})
	if err != nil {
		t.Fatal(err)
	}
	src := w.store.Source("test")
	src.Expect("Pod")
	src.Commit(func(tx *store.Tx) {
		w.tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "weft-system", Name: "gateway-1", UID: "u1", Labels: map[string]string{"istio": "ingressgateway", "pod-template-hash": "x"}}})
	})
	src.MarkSynced("Pod")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	done := make(chan error, 1)
	go func() { done <- d.run(ctx, l) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	ca, err := identity.SharedCA(ctx, client, "weft-system")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Root())
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "weft-control.weft-system.svc", MinVersion: tls.VersionTLS12})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, c := range []struct {
		authorization string
		want          codes.Code
	}{
		{"", codes.Unauthenticated}, {"good", codes.Unauthenticated}, {"Bearer bad", codes.Unauthenticated}, {"Bearer unbound", codes.Unauthenticated},
		{"Bearer successor", codes.Unavailable}, {"Bearer good", codes.OK},
	} {
		out := ctx
		if c.authorization != "" {
			out = metadata.AppendToOutgoingContext(ctx, "authorization", c.authorization)
		}
		s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(out)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType})
		if _, err := s.Recv(); status.Code(err) != c.want {
			t.Errorf("%q: %v, want %v", c.authorization, err, c.want)
		}
	}
	p := d.server.Status()
	if len(p) != 1 || p[0].Proxy != "weft-system/gateway-1" || p[0].Fleet != "weft-system/istio=ingressgateway" {
		t.Errorf("%+v", p)
	}
	if sections := proxySections(p); len(sections) != 1 || sections[0].Name != "proxy weft-system/gateway-1" {
		t.Errorf("%+v", sections)
	}
}
