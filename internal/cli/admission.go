package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/admin"
	"github.com/weftmesh/weft/internal/admission"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/identity"
	"github.com/weftmesh/weft/internal/inject"
)

// admissionFlags say how weft control puts sidecars into Pods.
type admissionFlags struct {
	address string
	sidecar *injectFlags
}

func (f *admissionFlags) define(fs *pflag.FlagSet) {
	f.sidecar = newInjectFlags()
	fs.StringVar(&f.address, "webhook-address", fmt.Sprintf(":%d", admission.Port), "where the API server asks about Pods that are to get a sidecar; empty: nowhere")
	f.sidecar.add(fs, "sidecar-")
}

// injection is weft control's part in putting sidecars into Pods: every replica answers, the one that writes keeps the webhook's configuration.
type injection struct {
	w       *world
	config  inject.Config // less what changes
	keeper  *admission.Keeper
	server  *admission.Server
	address string
	ca      *identity.Authority
	names   []string
}

// newInjection makes one, nil if no sidecar's image is named: then there is nothing to put into Pods.
func newInjection(w *world, client kubernetes.Interface, f *controlFlags, system string, ca *identity.Authority, leads func() bool, reg prometheus.Registerer) (*injection, error) {
	if f.admission.address == "" || f.admission.sidecar.c.Image == "" {
		return nil, nil
	}
	config, err := f.admission.sidecar.config(system)
	if err != nil {
		return nil, err
	}
	config.ClusterDomain, config.TrustDomain = f.domain, f.certificates.trustDomain
	service := admission.Service{Namespace: system, Name: "weft-control"}
	i := &injection{w: w, config: config, address: f.admission.address, ca: ca, names: []string{service.Name + "." + system + ".svc"}}
	i.keeper = admission.NewKeeper(admission.KeeperOptions{
		Client: client, Service: service, Excluded: config.Excluded(), Roots: i.roots, Writes: leads, Log: w.log,
	})
	i.server, err = admission.NewServer(i.current, w.log, reg)
	return i, err
}

func (i *injection) roots() []byte {
	if ca := i.ca.CA(); ca != nil {
		return ca.Root()
	}
	return nil
}

// current is how Pods are injected at this moment.
func (i *injection) current() inject.Config {
	c := i.config
	c.AnswersDefault = i.keeper.AnswersDefault()
	for _, n := range i.w.tables.Nodes.Snapshot() {
		c.NativeSidecars = c.NativeSidecars && knowsNativeSidecars(n)
	}
	return c
}

// knowsNativeSidecars tells whether a node's kubelet runs init containers that stay, which it does since Kubernetes 1.29.
func knowsNativeSidecars(n *corev1.Node) bool {
	v, err := version.ParseGeneric(strings.TrimPrefix(n.Status.NodeInfo.KubeletVersion, "v"))
	return err != nil || v.AtLeast(version.MustParseGeneric("1.29"))
}

// run answers until ctx ends. There is an authority once discovery has found it.
func (i *injection) run(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", i.address)
	if err != nil {
		return fmt.Errorf("--webhook-address: %w", err)
	}
	var keeping sync.WaitGroup
	defer keeping.Wait()
	keeping.Go(func() { i.keeper.Run(ctx) })
	return i.server.Serve(ctx, l, i.shown())
}

// shown is how the endpoint shows itself. When the authority changes, that is by the earlier one until the API server has been told of the new.
func (i *injection) shown() *tls.Config {
	var mu sync.Mutex
	var by *identity.CA
	var config *tls.Config
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		ca := i.ca.CA()
		if ca == nil {
			return nil, errors.New("the certificate authority is not known yet")
		}
		mu.Lock()
		if by == nil || by != ca && bytes.Equal(i.keeper.Published(), ca.Root()) {
			by, config = ca, ca.ServerConfig(i.names...)
		}
		current := config
		mu.Unlock()
		return current.GetCertificate(hello)
	}}
}

// check says why the API server had better ask another replica.
func (i *injection) check(context.Context) error {
	if i.ca.CA() == nil {
		return errors.New("the certificate authority is not known yet")
	}
	return nil
}

func (i *injection) findings() []finding.Finding {
	if i == nil {
		return nil
	}
	return i.keeper.Findings()
}

func (i *injection) sections() []admin.Section {
	if i == nil {
		return nil
	}
	s := i.keeper.Status()
	out := admin.Section{Name: "injection", Origin: admin.FromLive, Changed: s.Looked}
	switch {
	case s.Looked.IsZero():
		out.Origin = admin.FromNobody
	case !s.Kept:
		out.Facts = append(out.Facts, admin.Fact{Name: "webhook", Value: "not as it has to be"})
	default:
		out.Facts = append(out.Facts, admin.Fact{Name: "webhook", Value: "as it has to be"})
	}
	answers := []string{inject.NamespaceLabel + "=enabled", inject.RevisionLabel + "=" + inject.Revision}
	if len(s.Others) > 0 {
		answers = answers[1:]
	}
	out.Facts = append(out.Facts, admin.Fact{Name: "answers", Value: strings.Join(answers, " and ")})
	if s.Error != nil {
		out.Error = s.Error.Error()
	}
	return []admin.Section{out}
}
