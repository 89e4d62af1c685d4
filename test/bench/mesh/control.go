package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/weftmesh/weft/internal/identity"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy/istioca"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds"
	"github.com/weftmesh/weft/test/bench/controlplane"
)

// controlPort is where a Pod finds the control plane, on its own loopback: there is no way out of it.
const controlPort = "15012"

// control configures sidecars and signs their certificates.
type control struct {
	*controlplane.Plane
	tokens    *identity.Tokens
	authority *identity.Authority
	issuer    *identity.Issuer
	server    *xds.Server
	serving   sync.WaitGroup
}

// newControl makes one that knows the objects.
func newControl(dir string) (*control, error) {
	quiet := slog.New(slog.DiscardHandler)
	client := apiServer()
	c := &control{Plane: controlplane.New(), tokens: identity.NewTokens(client.AuthenticationV1()), authority: identity.NewAuthority(client, "weft-system", quiet)}
	if err := c.authority.Load(context.Background()); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "objects.yaml")
	if err := os.WriteFile(file, []byte(objects), 0o600); err != nil {
		return nil, err
	}
	files, err := kube.ReadFiles(file)
	if err != nil {
		return nil, err
	}
	k := &c.Tables.Kind
	if found := kube.Load(c.Source, files, k.Service, k.EndpointSlice, k.Pod, k.DestinationRule, k.PeerAuthentication, k.AuthorizationPolicy); len(found) > 0 {
		return nil, fmt.Errorf("%v", found)
	}
	if c.issuer, err = identity.NewIssuer(identity.IssuerOptions{Authority: c.authority, Tokens: c.tokens, Log: quiet}); err != nil {
		return nil, err
	}
	c.server, err = xds.New(xds.Options{
		DB: c.DB, Resources: c.Resources, Mesh: c.Sidecars, Authenticate: c.authenticate, Log: quiet,
		Services: func(r grpc.ServiceRegistrar) { istioca.Register(r, c.issuer) },
	})
	return c, err
}

// apiServer keeps the Secret of the authority, and believes every token: it is the name of its Pod's account.
func apiServer() kubernetes.Interface {
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		r.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{identity.Audience}, User: authenticationv1.UserInfo{
			Username: "system:serviceaccount:" + namespace + ":" + r.Spec.Token,
			Extra:    map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/pod-name": {podName(r.Spec.Token)}},
		}}
		return true, r, nil
	})
	return client
}

// podName is what the Pod of an account is called.
func podName(account string) string { return account + "-1" }

// authenticate says which Pod's sidecar shows a token, as weft control does.
func (c *control) authenticate(ctx context.Context) (out xds.Client, err error) {
	token, err := identity.Bearer(ctx)
	if err != nil {
		return out, err
	}
	account, err := c.tokens.Verify(ctx, token)
	if err != nil {
		return out, err
	}
	w := c.Workloads.Pods.Read(store.Key{Namespace: account.Namespace, Name: account.Pod})
	if w == nil || !w.Injected {
		return out, errors.New("no Pod with a sidecar")
	}
	return xds.Client{
		Fleet: model.Fleet{Namespace: account.Namespace, Labels: w.Labels}, Pod: account.Pod, ServiceAccount: account.ServiceAccount,
		Sidecar: &model.Sidecar{Namespace: account.Namespace, Labels: w.Labels, ServiceAccount: account.ServiceAccount, Ports: w.Ports},
	}, nil
}

// serve answers on a listener until ctx ends.
func (c *control) serve(ctx context.Context, l net.Listener) {
	c.serving.Go(func() {
		if err := c.server.Serve(ctx, l, grpc.Creds(credentials.NewTLS(c.authority.ServerConfig("127.0.0.1")))); err != nil {
			slog.Error("the control plane serves no more", "error", err)
		}
	})
}

func (c *control) wait() { c.serving.Wait() }
