package sds

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/internal/proxy/agent/credential"
)

// served has a source that renews every second or two, and gives a client of it.
func served(t *testing.T) secretv3.SecretDiscoveryServiceClient {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	source := credential.New(credential.Options{Ask: func(_ context.Context, request string, _ time.Duration) ([]string, error) {
		block, _ := pem.Decode([]byte(request))
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return nil, err
		}
		leaf := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(3 * time.Second),
			URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/shop/sa/web"}}}
		signed, err := x509.CreateCertificate(rand.Reader, leaf, root, csr.PublicKey, key)
		return []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}, err
	}})
	path := filepath.Join(t.TempDir(), "socket")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // what a container before has left
		t.Fatal(err)
	}
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	ctx, stop := context.WithCancel(context.Background())
	renewed, ended := make(chan struct{}), make(chan error, 1)
	go func() { defer close(renewed); source.Run(ctx) }()
	go func() { ended <- New(source, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		stop()
		<-renewed
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return secretv3.NewSecretDiscoveryServiceClient(conn)
}

// A client that asks by the older variant gets what it names, and a new certificate when there is one; the roots, which stay, are not sent again.
func TestStateOfTheWorld(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	g, err := served(t).StreamSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	request := &discoveryv3.DiscoveryRequest{TypeUrl: secretType, ResourceNames: []string{Certificate, Roots}}
	versions := map[string]bool{}
	for i := range 3 {
		if err := g.Send(request); err != nil {
			t.Fatal(err)
		}
		m, err := g.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 2, false: 1}[i == 0]; len(m.GetResources()) != want {
			t.Errorf("response %d has %d Secrets, want %d", i, len(m.GetResources()), want)
		}
		versions[m.GetVersionInfo()] = true
		request = &discoveryv3.DiscoveryRequest{TypeUrl: secretType, ResourceNames: []string{Certificate, Roots}, ResponseNonce: m.GetNonce(), VersionInfo: m.GetVersionInfo()}
	}
	if len(versions) < 2 {
		t.Errorf("versions %v", versions)
	}
}

// The variant that names what changes: what is not there is said to be so, what a client has already is not sent.
func TestDelta(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := served(t)
	g, err := client.DeltaSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: secretType, ResourceNamesSubscribe: []string{Roots, "other"}}); err != nil {
		t.Fatal(err)
	}
	m, err := g.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.GetResources()) != 1 || m.GetResources()[0].GetName() != Roots {
		t.Errorf("%v", m.GetResources())
	}
	if d := cmp.Diff([]string{"other"}, m.GetRemovedResources()); d != "" {
		t.Error(d)
	}
	again, err := client.DeltaSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: secretType, ResourceNamesSubscribe: []string{Roots, Certificate}, InitialResourceVersions: map[string]string{Roots: m.GetResources()[0].GetVersion()}}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is a renewal
		if m, err = again.Recv(); err != nil {
			t.Fatal(err)
		}
		if len(m.GetResources()) != 1 || m.GetResources()[0].GetName() != Certificate {
			t.Errorf("%v", m.GetResources())
		}
	}
}

// What is no request for Secrets, or for too many, is refused.
func TestOtherRequests(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := served(t)
	for _, c := range []struct {
		r    *discoveryv3.DiscoveryRequest
		want codes.Code
	}{
		{&discoveryv3.DiscoveryRequest{TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster"}, codes.InvalidArgument},
		{&discoveryv3.DiscoveryRequest{ResourceNames: make([]string, 1)}, codes.DeadlineExceeded},
		{&discoveryv3.DiscoveryRequest{ResourceNames: names(maxNames + 1)}, codes.ResourceExhausted},
	} {
		within := ctx
		if c.want == codes.DeadlineExceeded { // a name that is nothing is waited for
			var cancel context.CancelFunc
			within, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
		}
		g, err := client.StreamSecrets(within)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Send(c.r); err != nil {
			t.Fatal(err)
		}
		if m, err := g.Recv(); status.Code(err) != c.want {
			t.Errorf("%v %v, want %v", m, err, c.want)
		}
	}
}

func names(n int) (out []string) {
	for i := range n {
		out = append(out, string(rune('a'+i)))
	}
	return out
}
