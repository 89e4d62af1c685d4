package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/admin"
	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/identity"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy/istioca"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds"
	"github.com/weftmesh/weft/internal/xds/resource"
)

// discovery is weft control's service for proxies: every replica serves.
type discovery struct {
	w      *world
	client kubernetes.Interface
	edge   *compose.Edge
	tokens *identity.Tokens
	server *xds.Server
	ca     *identity.Authority
	system string // namespace of weft
}

// issuerFlags say what certificates of workloads are like.
type issuerFlags struct {
	trustDomain   string
	life, maxLife time.Duration
}

func (f *issuerFlags) define(fs *pflag.FlagSet) {
	fs.StringVar(&f.trustDomain, "trust-domain", "cluster.local", "trust domain of the identities that workloads are given, spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT")
	fs.DurationVar(&f.life, "workload-cert-ttl", 24*time.Hour, "how long the certificate of a workload is good that does not ask for another time")
	fs.DurationVar(&f.maxLife, "max-workload-cert-ttl", 90*24*time.Hour, "how long the certificate of a workload may be good at most")
}

func newDiscovery(w *world, client kubernetes.Interface, t traffic, o resource.Options, system string, registry prometheus.Registerer, certificates issuerFlags) (*discovery, error) {
	db := w.store.DB()
	res := xds.DefineResources(db, t.edge, o)
	d := &discovery{
		w: w, client: client, edge: t.edge, system: system, tokens: identity.NewTokens(client.AuthenticationV1()), ca: identity.NewAuthority(client, system, w.log),
	}
	issuer, err := identity.NewIssuer(identity.IssuerOptions{
		Authority: d.ca, Tokens: d.tokens, TrustDomain: certificates.trustDomain, Life: certificates.life, MaxLife: certificates.maxLife,
		Log: w.log, Registerer: registry,
	})
	if err != nil {
		return nil, err
	}
	d.server, err = xds.New(xds.Options{
		Services: func(r grpc.ServiceRegistrar) { istioca.Register(r, issuer) },
		DB:       db, Resources: res, Mesh: xds.DefineMesh(db, t.mesh, res, meshKeys(w.tables), o),
		Authenticate: d.authenticate, Identifier: "weft " + Version() + " " + instance(), Log: w.log, Registerer: registry,
	})
	return d, err
}

// authenticate finds out which Pod a proxy is, by its token and by what the API server says of that Pod: nothing else that it says counts.
func (d *discovery) authenticate(ctx context.Context) (c xds.Client, err error) {
	token, err := identity.Bearer(ctx)
	if err != nil {
		return c, err
	}
	account, err := d.tokens.Verify(ctx, token)
	switch {
	case errors.Is(err, identity.ErrRejected):
		return c, err
	case err != nil:
		return c, status.Error(codes.Unavailable, err.Error())
	case account.Pod == "":
		return c, fmt.Errorf("the token of %s/%s is not bound to a Pod", account.Namespace, account.ServiceAccount)
	}
	pod := d.w.tables.Pods.Peek(store.Key{Namespace: account.Namespace, Name: account.Pod})
	if pod == nil || account.PodUID != "" && string(pod.UID) != account.PodUID {
		return c, status.Errorf(codes.Unavailable, "Pod %s/%s is not known yet", account.Namespace, account.Pod)
	}
	c = xds.Client{Fleet: fleetOf(pod.Namespace, pod.Labels), Pod: pod.Name, ServiceAccount: account.ServiceAccount}
	if w := d.w.workloads.Pods.Read(store.Key{Namespace: pod.Namespace, Name: pod.Name}); w != nil && w.Injected {
		c.Sidecar = &model.Sidecar{Namespace: pod.Namespace, Labels: c.Fleet.Labels, ServiceAccount: account.ServiceAccount, Ports: w.Ports}
	}
	return c, nil
}

// fleetOf gives the fleet of a Pod.
func fleetOf(namespace string, labels map[string]string) model.Fleet {
	return model.Fleet{Namespace: namespace, Labels: compose.SidecarLabels(model.MakeLabels(labels))}
}

// run serves proxies until ctx ends, once there is something to serve.
func (d *discovery) run(ctx context.Context, l net.Listener) error {
	defer l.Close()
	if d.w.store.Wait(ctx) != nil { // what is not read yet would be taken away from proxies that come back
		return nil
	}
	if d.authority(ctx) != nil { // ctx has ended
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { d.ca.Run(ctx) })
	service := "weft-control." + d.system
	names := []string{service + ".svc", service, service + ".svc.cluster.local", "weft-control", "localhost", "127.0.0.1", "::1"}
	return d.server.Serve(ctx, l, grpc.Creds(credentials.NewTLS(d.ca.ServerConfig(names...))))
}

// authority finds the CA that all replicas share and tells the namespace of weft of it, trying until it succeeds.
func (d *discovery) authority(ctx context.Context) error {
	for {
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := d.ca.Load(try)
		if err == nil {
			err = d.ca.CA().Publish(try, d.client, d.system)
		}
		cancel()
		if err == nil {
			return nil
		}
		d.w.log.Warn("proxies cannot be served yet, trying again", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
}

// observe follows all that a fleet carries, so that what is wrong with objects is found on every replica, also where no proxy is connected.
func (d *discovery) observe(ctx context.Context, f model.Fleet) {
	feed := d.w.store.DB().NewFeed()
	followed := map[any]func(){}
	defer func() {
		for _, stop := range followed {
			stop()
		}
	}()
	tables := func(l derive.Delta[model.Fleet, []model.Listener]) {
		want := map[compose.TableKey]bool{}
		for _, name := range compose.TableNames(l.Value) {
			want[compose.TableKey{Fleet: f, Name: name}] = true
		}
		followKeys(feed, followed, d.edge.Tables, want)
	}
	clusters := func(keys derive.Delta[model.Fleet, []compose.ClusterKey]) {
		want := map[compose.ClusterKey]bool{}
		for _, k := range keys.Value {
			want[k] = true
		}
		followKeys(feed, followed, d.edge.Clusters, want)
	}
	secrets := func(names derive.Delta[model.Fleet, []model.ObjectName]) {
		want := map[model.ObjectName]bool{}
		for _, n := range names.Value {
			want[n] = true
		}
		followKeys(feed, followed, d.edge.Secrets, want)
	}
	defer d.edge.Listeners.Subscribe(feed, f, tables)()
	defer d.edge.ClusterKeys.Subscribe(feed, f, clusters)()
	defer d.edge.SecretNames.Subscribe(feed, f, secrets)()
	for {
		feed.Drain()
		select {
		case <-ctx.Done():
			return
		case <-feed.Wake():
		}
	}
}

// followKeys subscribes to exactly these keys of a query, whose values nobody here looks at.
func followKeys[K comparable, V any](feed *derive.Feed, followed map[any]func(), q *derive.Query[K, V], want map[K]bool) {
	for k := range want {
		if followed[k] == nil {
			followed[k] = q.Subscribe(feed, k, func(derive.Delta[K, V]) {})
		}
	}
	for k, stop := range followed {
		if key, ours := k.(K); ours && !want[key] {
			stop()
			delete(followed, k)
		}
	}
}

// authoritySection tells who signs the certificates of workloads.
func authoritySection(s identity.AuthorityStatus) []admin.Section {
	out := admin.Section{Name: "certificates", Origin: admin.FromNobody, Error: s.Error}
	if s.Secret != "" {
		out.Origin = admin.FromLive
		out.Facts = []admin.Fact{{Name: "signed by", Value: "Secret " + s.Secret}, {Name: "until", Value: s.Until.UTC().Format(time.RFC3339)}}
	}
	return []admin.Section{out}
}

// proxySections tell of each proxy what it should have and what it says it uses.
func proxySections(proxies []xds.ProxyStatus) (out []admin.Section) {
	for _, p := range proxies {
		s := admin.Section{Name: "proxy " + p.Proxy, Origin: admin.FromLive, Changed: p.Since}
		var wrong []string
		for _, t := range p.Types {
			value := fmt.Sprintf("%d at %.8s", t.Acked, t.Uses)
			switch {
			case !t.Synced():
				value = fmt.Sprintf("%d at %.8s, wanted %d at %.8s", t.Acked, none(t.Uses), t.Wanted, none(t.Version))
			case t.Wanted == 0:
				value = "none"
			}
			s.Facts = append(s.Facts, admin.Fact{Name: t.Type, Value: value})
			if t.Pushed.After(s.Changed) {
				s.Changed = t.Pushed
			}
			for _, r := range t.Rejected {
				wrong = append(wrong, fmt.Sprintf("%s %s is rejected: %s", t.Type, r.Name, r.Text))
			}
		}
		s.Error = strings.Join(wrong, "; ")
		out = append(out, s)
	}
	return out
}

func none(version string) string {
	if version == "" {
		return "nothing"
	}
	return version
}
