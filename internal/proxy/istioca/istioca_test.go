package istioca_test

import (
	"context"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	securityv1 "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/internal/proxy/istioca"
)

// What this package writes, Istio's reads, and the other way round.
func TestMessagesAreIstios(t *testing.T) {
	metadata, err := structpb.NewStruct(map[string]any{"ClusterID": "Kubernetes", "CertSigner": ""})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []istioca.Request{{}, {CSR: "csr"}, {CSR: "csr", ValiditySeconds: 86400, Metadata: metadata}, {ValiditySeconds: -1}} {
		b, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		theirs := &securityv1.IstioCertificateRequest{}
		if err := proto.Unmarshal(b, theirs); err != nil {
			t.Fatal(err)
		}
		want := &securityv1.IstioCertificateRequest{Csr: r.CSR, ValidityDuration: r.ValiditySeconds, Metadata: r.Metadata}
		if d := cmp.Diff(want, theirs, protocmp.Transform()); d != "" {
			t.Error(d)
		}
		if b, err = proto.Marshal(want); err != nil {
			t.Fatal(err)
		}
		var back istioca.Request
		if err := back.Unmarshal(b); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, back, protocmp.Transform()); d != "" {
			t.Error(d)
		}
	}
	chain := []string{"leaf", "", "root"}
	theirs := &securityv1.IstioCertificateResponse{}
	if err := proto.Unmarshal((&istioca.Response{Chain: chain}).Marshal(), theirs); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(chain, theirs.GetCertChain()); d != "" {
		t.Error(d)
	}
}

type server struct{}

func (server) CreateCertificate(_ context.Context, r *istioca.Request) (*istioca.Response, error) {
	if r.CSR == "bad" {
		return nil, status.Error(codes.PermissionDenied, "no")
	}
	return &istioca.Response{Chain: []string{r.CSR, "root"}}, nil
}

// A server of this package serves Istio's client, and a client of this package the server.
func TestServiceIsIstios(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	istioca.Register(g, server{})
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	defer func() {
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	theirs, err := securityv1.NewIstioCertificateServiceClient(conn).CreateCertificate(t.Context(), &securityv1.IstioCertificateRequest{Csr: "csr", ValidityDuration: 60})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := istioca.Call(t.Context(), conn, &istioca.Request{CSR: "csr", ValiditySeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range [][]string{theirs.GetCertChain(), ours.Chain} {
		if d := cmp.Diff([]string{"csr", "root"}, got); d != "" {
			t.Error(d)
		}
	}
	if _, err := istioca.Call(t.Context(), conn, &istioca.Request{CSR: "bad"}); status.Code(err) != codes.PermissionDenied {
		t.Error(err)
	}
}

// Bytes from outside never harm, and what is read and written again means the same.
func FuzzRequest(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x0a\x03csr\x18\x3c"))
	f.Add([]byte("\x22\x0d\x0a\x0b\x0a\x01a\x12\x06\x1a\x04text\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte("\x0a\x02\xff\xfe"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r istioca.Request
		theirs := &securityv1.IstioCertificateRequest{}
		err, theirErr := r.Unmarshal(b), proto.Unmarshal(b, theirs)
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("here %v, by Istio's module %v", err, theirErr)
		}
		if err != nil {
			return
		}
		if r.CSR != theirs.GetCsr() || r.ValiditySeconds != theirs.GetValidityDuration() {
			t.Errorf("%+v, by Istio's module %v", r, theirs)
		}
		if _, err := r.Marshal(); err != nil {
			t.Error(err)
		}
		_ = (&istioca.Response{}).Unmarshal(b)
	})
}
