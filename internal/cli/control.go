package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/address"
	"github.com/weftmesh/weft/internal/admin"
	"github.com/weftmesh/weft/internal/control"
	"github.com/weftmesh/weft/internal/identity"
	"github.com/weftmesh/weft/internal/install"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/xds/resource"
)

type controlFlags struct {
	sourceFlags
	pools        string
	reserved     []string
	classOnly    bool
	adminAddress string
	xdsAddress   string
	domain       string
	outbound     string
	accessLog    bool
	certificates issuerFlags
	tracing      tracingFlags
	admission    admissionFlags
}

// proxies says what proxies are told besides what objects say.
func (f *controlFlags) proxies(t resource.Tracing) resource.Options {
	return resource.Options{AccessLog: true, SidecarLog: f.accessLog, Domain: f.domain, RegistryOnly: f.outbound == install.OutboundRegistryOnly, Tracing: t}
}

const (
	outboundHelp   = "what sidecars do with destinations that the mesh does not know: ALLOW_ANY or REGISTRY_ONLY"
	sidecarLogHelp = "have sidecars write a line of JSON for each request and connection to standard output, as gateways do"
)

func controlCommand(g *globals) *cobra.Command {
	f := controlFlags{}
	cmd := &cobra.Command{
		Use:   "control",
		Short: "Tell proxies what to carry, give addresses to LoadBalancer Services, and tell objects what is wrong with them",
		Long: `Runs the control plane: serves gateways their configuration (xDS), gives addresses of the pools to Services of type LoadBalancer and publishes
them, and tells each object's Events what is wrong or doubtful with it. All replicas run and serve; one of them, which holds the Lease, writes.`,
		Example: `  weft control --lb-pool 192.0.2.100-192.0.2.199,2001:db8::/120`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runControl(cmd.Context(), g, f) },
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&f.apiServers, "api-server", nil, "address of the API server, used instead of the configured one; several are tried in turn")
	fs.StringVar(&f.pools, "lb-pool", "", "addresses for LoadBalancer Services: FIRST-LAST, a prefix or one address, separated by commas")
	fs.StringSliceVar(&f.reserved, "lb-reserved", nil, "ranges that are never given out, though a pool contains them")
	fs.BoolVar(&f.classOnly, "lb-class-only", false, "leave Services without loadBalancerClass to somebody else; ours is "+address.Class)
	fs.StringVar(&f.adminAddress, "admin-address", ":15014", "where metrics and status are shown")
	fs.StringVar(&f.xdsAddress, "xds-address", ":15012", "where proxies get their configuration; empty: nowhere")
	fs.StringVar(&f.domain, "cluster-domain", "cluster.local", "the cluster's DNS domain")
	f.certificates.define(fs)
	f.admission.define(fs)
	fs.StringVar(&f.outbound, "outbound-policy", install.OutboundAllowAny, outboundHelp)
	fs.BoolVar(&f.accessLog, "access-log", false, sidecarLogHelp)
	f.tracing.define(fs)
	return cmd
}

func runControl(ctx context.Context, g *globals, f controlFlags) error {
	if f.outbound != install.OutboundAllowAny && f.outbound != install.OutboundRegistryOnly {
		return badUsage("--outbound-policy %q: want %s or %s", f.outbound, install.OutboundAllowAny, install.OutboundRegistryOnly)
	}
	w, err := newWorld(g, "control", f.sourceFlags, func(t *kube.Tables) []*kube.Kind {
		kinds := []*kube.Kind{t.Kind.Service, t.Kind.EndpointSlice, t.Kind.Node}
		if f.xdsAddress != "" {
			kinds = append(edgeKinds(t), t.Kind.Node)
		}
		return kinds
	})
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(w.config)
	if err != nil {
		return err
	}
	tracing, err := f.tracing.parse()
	if err != nil {
		return err
	}
	addresses := address.Options{ClassOnly: f.classOnly, Reserved: map[netip.Prefix]string{}}
	var reserved []netip.Prefix
	if err := parsePrefixes("--lb-reserved", f.reserved, &reserved); err != nil {
		return err
	}
	for _, p := range reserved {
		addresses.Reserved[p] = "the reserved range " + p.String()
	}
	pools, poolFindings := address.ParsePools(f.pools)
	addresses.Pools = pools
	registry := newRegistry()
	t := newTraffic(w, f.domain, f.certificates.trustDomain)
	edge := t.edge
	fleet := model.Fleet{Namespace: g.system, Labels: defaultFleet}
	d, err := newDiscovery(w, client, t, f.proxies(tracing), g.system, registry, f.certificates)
	if err != nil {
		return err
	}
	c, err := control.New(control.Options{
		Ingress: &control.IngressOptions{Edge: edge, Fleet: fleet, Service: model.ServiceName{Namespace: g.system, Name: "weft-gateway"}},
		Beside:  identity.NewPublisher(client, d.ca, w.log).Run,
		Client:  client, Store: w.store, Model: w.model, Addresses: addresses, PoolFindings: poolFindings,
		Identity: instance(), Namespace: g.system, Log: w.log, Registerer: registry,
	})
	if err != nil {
		return err
	}
	i, err := newInjection(w, client, &f, g.system, d.ca, func() bool { return c.Status().Leading }, registry)
	if err != nil {
		return err
	}
	a := admin.New(admin.Options{Component: "control", Instance: instance(), Node: os.Getenv("NODE_NAME"), Version: Version(), Registry: registry, Status: func() admin.Status {
		return admin.Status{Sources: w.sources(), Sections: slices.Concat(controlSections(c.Status()), authoritySection(d.ca.Status()), i.sections(), proxySections(d.server.Status())),
			Findings: slices.Concat(w.findings(), c.Findings(), i.findings(), edge.Expired(fleet, time.Now()))}
	}})
	a.Check("objects", admin.Readyz, func(context.Context) error {
		if !c.Status().Following {
			return firstError(w.store.Wait(expired()), errors.New("the objects are being read"))
		}
		return nil
	})
	a.Handle("/debug/derive", deriveHandler(w.store.DB()))
	listeners, err := listenAll(ctx, map[string]http.Handler{f.adminAddress: a.Handler()})
	if err != nil {
		return err
	}
	keys := newFetcher(w, t)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return keys.Run(ctx) })
	if f.xdsAddress != "" {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.xdsAddress)
		if err != nil {
			return fmt.Errorf("--xds-address: %w", err)
		}
		group.Go(func() error { return d.run(ctx, l) })
		group.Go(func() error { d.observe(ctx, fleet); return nil })
		if i != nil {
			a.Check("webhook", admin.Readyz, i.check)
			group.Go(func() error { return i.run(ctx) })
		}
	}
	group.Go(func() error { return admin.Serve(ctx, w.log, listeners...) })
	group.Go(func() error { return w.run(ctx) })
	group.Go(func() error { w.store.DB().Maintain(ctx, time.Minute); return nil })
	group.Go(func() error { return c.Run(ctx) })
	return group.Wait()
}

func controlSections(s control.Status) []admin.Section {
	role := "follows " + s.Leader
	switch {
	case s.Leading:
		role = "writes"
	case s.Leader == "":
		role = "nobody leads"
	}
	out := admin.Section{Name: "addresses", Origin: admin.FromNobody, Revision: s.Revision, Changed: s.Writer.LastWrite, Error: cmp.Or(s.LeaseError, s.Writer.LastError), Facts: []admin.Fact{
		{Name: "role", Value: role}, {Name: "LoadBalancer Services", Value: strconv.Itoa(s.Services)},
	}}
	if s.Following {
		out.Origin = admin.FromLive
	}
	for _, p := range s.Pools {
		out.Facts = append(out.Facts, admin.Fact{Name: "pool " + p.Name, Value: fmt.Sprintf("%d used, %d free", p.Used, p.Free)})
	}
	return []admin.Section{out}
}
