package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/internal/admin"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/dns"
	"github.com/weftmesh/weft/internal/dns/forward"
	"github.com/weftmesh/weft/internal/dns/zone"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

type dnsFlags struct {
	sourceFlags
	listen        []string
	domain        string
	reverse       []string
	ttl           time.Duration
	forward       string
	resolvConf    string
	healthAddress string
	readyAddress  string
	adminAddress  string
	lameDuck      time.Duration
	stateDir      string
}

func dnsCommand(g *globals) *cobra.Command {
	f := dnsFlags{}
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Answer for the cluster's names",
		Long: `Answers for the cluster's names as the Kubernetes DNS specification 1.1.0 says, and forwards all others.

It is ready when it knows every Service; until then it answers SERVFAIL for the cluster's names rather than deny them.`,
		Example: `  weft dns --forward 192.0.2.53,192.0.2.54
  weft dns -f manifests/ --listen 127.0.0.1:5353`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDNS(cmd.Context(), g, f) },
	}
	fs := cmd.Flags()
	f.define(fs)
	fs.StringSliceVar(&f.listen, "listen", []string{":53"}, "addresses to answer on, UDP and TCP")
	fs.StringVar(&f.domain, "cluster-domain", "cluster.local", "the cluster's DNS domain")
	fs.StringSliceVar(&f.reverse, "reverse", nil, "address ranges of Services and Pods: an address in them that has no name does not exist, others are forwarded")
	fs.DurationVar(&f.ttl, "ttl", 5*time.Second, "how long an answer for a name of the cluster may be kept")
	fs.StringVar(&f.forward, "forward", "", "resolvers for all other names, as ADDRESS[:PORT],… (default: those of --resolv-conf)")
	fs.StringVar(&f.resolvConf, "resolv-conf", "/etc/resolv.conf", "where resolvers are read from; empty: nowhere, other names are refused")
	fs.StringVar(&f.healthAddress, "health-address", ":8080", "where /health is answered")
	fs.StringVar(&f.readyAddress, "ready-address", ":8181", "where /ready is answered")
	fs.StringVar(&f.adminAddress, "admin-address", ":9153", "where metrics and status are shown")
	fs.StringVar(&f.stateDir, "state-dir", "", "where the objects are kept for a start while the API server is away; empty: nowhere")
	fs.DurationVar(&f.lameDuck, "lame-duck", 5*time.Second, "how long to go on answering after being told to stop, so that nobody who was still sent here is left without an answer")
	return cmd
}

func runDNS(ctx context.Context, g *globals, f dnsFlags) error {
	upstreams, err := f.upstreams()
	if err != nil {
		return err
	}
	kinds := func(t *kube.Tables) []*kube.Kind {
		return []*kube.Kind{t.Kind.Service, t.Kind.EndpointSlice, t.Kind.Namespace}
	}
	w, err := newWorld(g, "dns", f.sourceFlags, kinds)
	if err != nil {
		return err
	}
	var reverse []netip.Prefix
	if err := parsePrefixes("--reverse", f.reverse, &reverse); err != nil {
		return err
	}
	z, err := zone.New(zone.Config{Domain: f.domain, TTL: f.ttl, Reverse: reverse})
	if err != nil {
		return err
	}
	forwarder := forward.New(forward.Config{Upstreams: upstreams, Logger: w.log})
	server, err := dns.Listen(ctx, dns.Config{Addresses: f.listen, Zone: z, Forwarder: forwarder, Logger: w.log})
	if err != nil {
		return err
	}
	registry := newRegistry()
	if err := server.Register(registry); err != nil {
		return err
	}
	a := admin.New(admin.Options{Component: "dns", Instance: instance(), Node: os.Getenv("NODE_NAME"), Version: Version(), Registry: registry, Status: func() admin.Status {
		return admin.Status{Sources: w.sources(), Sections: dnsSections(server.Stats()), Findings: w.findings()}
	}})
	// Whoever is told to stop says so first, and answers on for a moment.
	stopping := ctx
	a.Check("names", admin.Readyz, func(context.Context) error {
		if stopping.Err() != nil {
			return errors.New("stopping")
		}
		if !server.Ready() {
			return firstError(w.store.Wait(expired()), errors.New("the names are being read"))
		}
		return nil
	})
	a.Handle("/debug/derive", deriveHandler(w.store.DB()))
	listeners, err := listenAll(ctx, map[string]http.Handler{
		f.adminAddress:  a.Handler(),
		f.healthAddress: pathHandler("/health", a.Probe(admin.Livez)),
		f.readyAddress:  pathHandler("/ready", a.Probe(admin.Readyz)),
	})
	if err != nil {
		return err
	}

	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(f.lameDuck, stop) })
	group, serving := errgroup.WithContext(serving)
	db := w.store.DB()
	group.Go(func() error { return server.Serve(serving) })
	group.Go(func() error { forwarder.Run(serving); return nil })
	group.Go(func() error { return admin.Serve(serving, w.log, listeners...) })
	group.Go(func() error { return w.run(serving) })
	group.Go(func() error { db.Maintain(serving, time.Minute); return nil })
	if f.stateDir != "" && w.config != nil {
		snapshot := kube.NewSnapshot(filepath.Join(f.stateDir, "objects"), w.store, w.log, 2*time.Second, kinds(w.tables)...)
		group.Go(func() error { snapshot.Run(serving, w.markFull); return nil })
	}
	group.Go(func() error {
		namespaces := derive.Define(db, "dns/namespace", derive.Equal, func(r *derive.Reader, k store.Key) bool { return w.tables.Namespaces.Get(r, k) != nil })
		follow(serving, w, derive.Each(namespaces, w.tables.Namespaces.KeySet()), func(_ derive.Rev, deltas []derive.Delta[store.Key, bool]) {
			for _, d := range deltas {
				if d.Gone {
					z.DeleteNamespace(d.Key.Name)
				} else {
					z.SetNamespace(d.Key.Name)
				}
			}
		}, func() {})
		return nil
	})
	group.Go(func() error {
		follow(serving, w, zone.Follow(db, w.model, f.domain), func(_ derive.Rev, deltas []derive.Delta[store.Key, *zone.Records]) {
			for _, d := range deltas {
				z.Set(model.ServiceName(d.Key), d.Value)
			}
		}, server.MarkReady)
		return nil
	})
	return group.Wait()
}

func (f *dnsFlags) upstreams() ([]netip.AddrPort, error) {
	if f.forward != "" {
		list, err := forward.ParseUpstreams(f.forward)
		if err != nil {
			return nil, badUsage("--forward: %w", err)
		}
		return list, nil
	}
	if f.resolvConf == "" {
		return nil, nil
	}
	file, err := os.Open(f.resolvConf)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--resolv-conf: %w", err)
	}
	defer file.Close()
	return forward.ResolvConf(file)
}

func dnsSections(s dns.Stats) []admin.Section {
	names := admin.Section{Name: "names", Origin: admin.FromNobody, Revision: s.Zone.Revision, Changed: s.Zone.Changed, Facts: []admin.Fact{
		{Name: "domain", Value: s.Zone.Domain}, {Name: "services", Value: strconv.Itoa(s.Zone.Services)}, {Name: "records", Value: strconv.Itoa(s.Zone.Records)},
		{Name: "answered", Value: strconv.FormatUint(s.Requests, 10)},
	}}
	if s.Ready {
		names.Origin = admin.FromLive
	}
	upstreams := admin.Section{Name: "upstreams", Origin: admin.FromLive}
	var down []string
	for _, u := range s.Forward.Upstreams {
		state := "answers"
		if !u.Healthy {
			state = "does not answer"
			down = append(down, u.Address)
		}
		if u.Looped {
			state = "leads back here, so it is not asked"
		}
		upstreams.Facts = append(upstreams.Facts, admin.Fact{Name: u.Address, Value: state})
	}
	switch {
	case len(s.Forward.Upstreams) == 0:
		upstreams.Origin = admin.FromNobody
		upstreams.Facts = []admin.Fact{{Name: "none", Value: "names outside the cluster are refused"}}
	case len(down) > 0:
		upstreams.Error = "no answer from " + strings.Join(down, ", ")
	}
	return []admin.Section{names, upstreams}
}

func pathHandler(path string, h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(path, h)
	return mux
}

// expired is a context that is over: for asking what would be waited for.
func expired() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	return ctx
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
