package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/internal/address"
	"github.com/weftmesh/weft/internal/admin"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/explain"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy"
	"github.com/weftmesh/weft/internal/serviceproxy/conntrack"
	"github.com/weftmesh/weft/internal/serviceproxy/nftables"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
	"github.com/weftmesh/weft/internal/store"
)

type nodeFlags struct {
	sourceFlags
	name              string
	stateDir          string
	domain            string
	clusterCIDRs      []string
	serviceCIDRs      []string
	nodePortAddresses []string
	masqueradeBit     uint8
	healthAddress     string
	adminAddress      string
	auditInterval     time.Duration
	announce          announceFlags
}

func nodeCommand(g *globals) *cobra.Command {
	f := nodeFlags{}
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Carry Services on this node, as its Service proxy",
		Long: `Programs the kernel of this node (nftables) so that Services are reached from it and through it, and keeps it in step.

What is programmed outlives the process. The last plan is kept on disk and used when the API server is away at start.`,
		Example: `  weft node --node-name "$NODE_NAME" --api-server https://10.0.0.1:6443 --cluster-cidr 10.244.0.0/16`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runNode(cmd.Context(), g, f) },
	}
	host, _ := os.Hostname() // asked for by flag if there is none
	if env := os.Getenv("NODE_NAME"); env != "" {
		host = env
	}
	fs := cmd.Flags()
	f.define(fs)
	fs.StringVar(&f.name, "node-name", host, "name of this node (default: $NODE_NAME, then the host's)")
	fs.StringVar(&f.stateDir, "state-dir", "/var/lib/weft", "where the last plan is kept; empty: nowhere")
	fs.StringVar(&f.domain, "cluster-domain", "cluster.local", "the cluster's DNS domain, for explanations")
	fs.StringSliceVar(&f.clusterCIDRs, "cluster-cidr", nil, "address ranges of Pods; what comes from elsewhere to a ClusterIP is masqueraded")
	fs.StringSliceVar(&f.serviceCIDRs, "service-cidr", nil, "address ranges of Services; what has no Service there is refused at once")
	fs.StringSliceVar(&f.nodePortAddresses, "nodeport-addresses", nil, "ranges of this node's addresses that node ports answer on (default: all but loopback)")
	fs.Uint8Var(&f.masqueradeBit, "masquerade-bit", 14, "bit of the packet mark that asks for masquerading")
	fs.StringVar(&f.healthAddress, "health-address", ":10256", "where /healthz and /livez are answered, as kube-proxy does")
	fs.StringVar(&f.adminAddress, "admin-address", ":10249", "where metrics and status are shown")
	fs.DurationVar(&f.auditInterval, "audit-interval", 10*time.Minute, "how often the kernel is compared with the plan for somebody else's edits; 0 is never")
	f.announce.define(fs)
	return cmd
}

func runNode(ctx context.Context, g *globals, f nodeFlags) error {
	if f.name == "" {
		return badUsage("--node-name: the host has no name, so give one")
	}
	config, err := f.plan()
	if err != nil {
		return err
	}
	w, err := newWorld(g, "node", f.sourceFlags, func(t *kube.Tables) []*kube.Kind {
		return []*kube.Kind{t.Kind.Service, t.Kind.EndpointSlice, t.Kind.Node}
	})
	if err != nil {
		return err
	}
	backend, err := nftables.New(config, nftables.Options{})
	if err != nil {
		return err
	}
	defer backend.Close()
	flows, err := conntrack.Open()
	if err != nil {
		return err
	}
	defer flows.Close()

	registry := newRegistry()
	options := serviceproxy.Options{Backend: backend, Flows: flows, DiskWait: 2 * time.Second, AuditInterval: f.auditInterval, Log: w.log, Registerer: registry}
	if f.stateDir != "" {
		options.PlanDir = filepath.Join(f.stateDir, "node")
	}
	refused, err := newRefusals(w, f.name, registry)
	if err != nil {
		return err
	}
	options.OnRefused = refused.set
	proxy, err := serviceproxy.New(options)
	if err != nil {
		return err
	}
	announcer, err := newAnnouncer(w, f.name, f.stateDir, f.announce, registry)
	if err != nil {
		return err
	}

	a := admin.New(admin.Options{Component: "node", Instance: instance(), Node: f.name, Version: Version(), Registry: registry, Status: func() admin.Status {
		return admin.Status{
			Sources:  w.sources(),
			Sections: append([]admin.Section{proxySection(proxy.Status())}, announcer.sections()...),
			Findings: append(w.findings(), refused.findings()...),
		}
	}})
	a.Check("programmed", admin.Readyz, func(context.Context) error {
		if s := proxy.Status(); s.Source == serviceproxy.SourceNone {
			return fmt.Errorf("nothing is programmed yet: %w", firstError(w.store.Wait(expired()), fmt.Errorf("%s", s.LastError)))
		}
		return nil
	})
	a.Handle("/explain", explainHandler(w, proxy, f.name, f.domain))
	a.Handle("/debug/derive", deriveHandler(w.store.DB()))
	listeners, err := listenAll(ctx, map[string]http.Handler{f.adminAddress: a.Handler(), f.healthAddress: proxy.HealthHandler()})
	if err != nil {
		return err
	}

	eligible := func(d derive.Delta[store.Key, *model.Node]) { proxy.SetEligible(d.Value == nil || !d.Value.Leaving) }
	plans := serviceproxy.Plans(w.store.DB(), w.model, f.name)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return admin.Serve(ctx, w.log, listeners...) })
	group.Go(func() error { return w.run(ctx) })
	group.Go(func() error { w.store.DB().Maintain(ctx, time.Minute); return nil })
	group.Go(func() error { return proxy.Run(ctx) })
	group.Go(func() error { refused.run(ctx); return nil })
	group.Go(func() error { return announcer.run(ctx) })
	group.Go(func() error {
		feed := w.store.DB().NewFeed()
		defer w.model.Nodes.Subscribe(feed, store.Key{Name: f.name}, eligible)()
		for {
			feed.Drain()
			select {
			case <-feed.Wake():
			case <-ctx.Done():
				return nil
			}
		}
	})
	group.Go(func() error {
		follow(ctx, w, plans, func(rev derive.Rev, deltas []derive.Delta[store.Key, *plan.Service]) {
			changes := make([]serviceproxy.Change, len(deltas))
			for i, d := range deltas {
				changes[i] = serviceproxy.Change{Name: model.ServiceName(d.Key), Service: d.Value}
			}
			proxy.Update(uint64(rev), changes)
		}, proxy.Full)
		return nil
	})
	return group.Wait()
}

// plan reads the flags that say what the node is.
func (f *nodeFlags) plan() (c plan.Config, err error) {
	if f.masqueradeBit > 31 {
		return c, badUsage("--masquerade-bit %d: a mark has 32 bits, 0 to 31", f.masqueradeBit)
	}
	c.MasqueradeMark = 1 << f.masqueradeBit
	for _, list := range []struct {
		flag string
		in   []string
		out  *[]netip.Prefix
	}{{"--cluster-cidr", f.clusterCIDRs, &c.ClusterCIDRs}, {"--service-cidr", f.serviceCIDRs, &c.VirtualRanges}, {"--nodeport-addresses", f.nodePortAddresses, &c.NodePortAddresses}} {
		if err := parsePrefixes(list.flag, list.in, list.out); err != nil {
			return c, err
		}
	}
	pools, _ := address.ParsePools(f.announce.pools) // what cannot be used of them is weft control's to report, once
	for _, p := range pools {
		for _, r := range p.Ranges {
			c.VirtualRanges = append(c.VirtualRanges, r.Prefixes()...)
		}
	}
	return c, nil
}

func parsePrefixes(flag string, in []string, out *[]netip.Prefix) error {
	for _, s := range in {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil {
			return badUsage("%s %q is no address range", flag, s)
		}
		*out = append(*out, p.Masked())
	}
	return nil
}

func proxySection(s serviceproxy.Status) admin.Section {
	origin := map[serviceproxy.Source]admin.Origin{serviceproxy.SourceLive: admin.FromLive, serviceproxy.SourceDisk: admin.FromDisk, serviceproxy.SourceNone: admin.FromNobody}
	out := admin.Section{Name: "nftables", Origin: origin[s.Source], Revision: s.Revision, Changed: s.LastFlush, Checked: s.LastFlush, Facts: []admin.Fact{
		{Name: "frontends", Value: strconv.Itoa(s.Frontends)}, {Name: "endpoints", Value: strconv.Itoa(s.Endpoints)},
	}}
	if s.Failures > 0 {
		out.Error = s.LastError
	}
	if n := len(s.Refused); n > 0 {
		out.Facts = append(out.Facts, admin.Fact{Name: "refused", Value: strconv.Itoa(n)})
	}
	return out
}

func explainHandler(w *world, proxy *serviceproxy.Proxy, node, domain string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		v := req.URL.Query()
		q := explain.Question{Host: v.Get("host"), Namespace: v.Get("namespace"), Node: node, Outside: v.Get("outside") == "true", Domain: domain}
		port, err := strconv.ParseUint(v.Get("port"), 10, 16)
		var known bool
		if q.Protocol, known = model.ParseProtocol(strings.ToUpper(v.Get("protocol"))); err != nil || !known {
			http.Error(rw, "want protocol=tcp|udp|sctp, host=NAME-OR-ADDRESS (none: a node port) and port=NUMBER", http.StatusBadRequest)
			return
		}
		q.Port = uint16(port)
		trail := explain.Connection(w.model, q)
		if trail.Found {
			if trail.Kernel, err = proxy.Lookup(req.Context(), trail.Frontend); err != nil {
				trail.Kernel = []string{"cannot be read: " + err.Error()}
			}
		}
		rw.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(rw).Encode(trail); err != nil {
			w.log.Debug("explanation not delivered", "error", err)
		}
	})
}

// deriveHandler shows why a result is what it is: ?query=plan/service&key=shop/web. Without a key it shows the statistics.
func deriveHandler(db *derive.DB) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		var v any = db.Stats()
		if q := req.URL.Query(); q.Has("key") {
			x, ok := db.Explain(q.Get("query"), q.Get("key"))
			if !ok {
				http.Error(rw, "nothing is remembered of that query and key", http.StatusNotFound)
				return
			}
			v = x
		}
		rw.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(rw).Encode(v); err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
		}
	})
}

func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// listenAll opens every address, so that one that is taken is an error at start and not later.
func listenAll(ctx context.Context, handlers map[string]http.Handler) (out []admin.Listener, err error) {
	for addr, h := range handlers {
		l, err := admin.Listen(ctx, addr, h)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}
