package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/weftmesh/weft/internal/identity"
	"github.com/weftmesh/weft/internal/proxy/agent"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/proxy/istioca"
	"github.com/weftmesh/weft/internal/proxy/uplink"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds/resource"
	"github.com/weftmesh/weft/test/freeport"
)

// A gateway's agent gets its certificate and its configuration from weft control, with one token; what is asked for with it beside is refused.
func TestAgentOfAGateway(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		r.Status = authenticationv1.TokenReviewStatus{Authenticated: r.Spec.Token == "good", Audiences: []string{identity.Audience}, User: authenticationv1.UserInfo{
			Username: "system:serviceaccount:weft-system:weft-gateway",
			Extra:    map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/pod-name": {"gateway-1"}, "authentication.kubernetes.io/pod-uid": {"u1"}},
		}}
		return true, r, nil
	})
	w := emptyWorld(slog.New(slog.DiscardHandler))
	d, err := newDiscovery(w, client, newTraffic(w, "cluster.local", ""), resource.Options{}, "weft-system", nil, issuerFlags{trustDomain: "example.org", life: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	src := w.store.Source("test")
	src.Expect("Pod")
	src.Commit(func(tx *store.Tx) {
		w.tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "weft-system", Name: "gateway-1", UID: "u1", Labels: map[string]string{"istio": "ingressgateway"}}})
	})
	src.MarkSynced("Pod")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	control, carried := make(chan error, 1), make(chan error, 1)
	go func() { control <- d.run(ctx, l) }()
	if err := d.ca.Load(ctx); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"token": "good", "root-cert.pem": string(d.ca.CA().Root())} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := bootstrap.XDS{Address: l.Addr().String(), ServerName: "weft-control.weft-system.svc", CAFile: filepath.Join(dir, "root-cert.pem"), TokenFile: filepath.Join(dir, "token")}
	at := freeport.Hold(t)
	running, end := context.WithCancel(ctx)
	go func() {
		carried <- agent.Run(running, agent.Options{
			Node: bootstrap.Identity{Name: "gateway-1", Namespace: "weft-system"}.Node(), Control: server, CA: server, Namespace: "weft-system", ServiceAccount: "weft-gateway",
			RootFile: server.CAFile, Directory: dir, SDSSocket: filepath.Join(dir, "sds"), Health: at, Admin: netip.AddrPort{}, Drain: time.Second,
		})
	}()
	defer func() {
		end()
		if err := <-carried; err != nil {
			t.Error(err)
		}
		stop()
		if err := <-control; err != nil {
			t.Error(err)
		}
	}()
	for ready := false; !ready; time.Sleep(10 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatal("the gateway is not ready")
		}
		if resp, err := http.Get("http://" + at.String() + "/healthz/ready"); err == nil {
			ready = resp.StatusCode == http.StatusOK
			_ = resp.Body.Close()
		}
	}
	leaf := shown(ctx, t, filepath.Join(dir, "sds"))
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://example.org/ns/weft-system/sa/weft-gateway" || time.Until(leaf.NotAfter) > time.Minute {
		t.Errorf("%v until %v", leaf.URIs, leaf.NotAfter)
	}
	if p := d.server.Status(); len(p) != 1 || p[0].Proxy != "weft-system/gateway-1" {
		t.Errorf("%+v", p)
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{identity.ID("example.org", "weft-system", "weft-control")}}, key)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := uplink.Dial(&server, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = istioca.Call(ctx, conn, &istioca.Request{CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("control's identity, asked for by a gateway: %v", err)
	}
}

// shown is the certificate that an agent serves on its socket.
func shown(ctx context.Context, t *testing.T, socket string) *x509.Certificate {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s, err := secretv3.NewSecretDiscoveryServiceClient(conn).StreamSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{"default"}}); err != nil {
		t.Fatal(err)
	}
	m, err := s.Recv()
	if err != nil || len(m.GetResources()) != 1 {
		t.Fatalf("%v %v", m, err)
	}
	secret := &tlsv3.Secret{}
	if err := m.GetResources()[0].UnmarshalTo(secret); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(secret.GetTlsCertificate().GetCertificateChain().GetInlineBytes())
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}
