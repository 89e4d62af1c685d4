package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/xds/resource"
)

// Resource is one resource as it is sent. It is shared by all who are sent it and never changes.
type Resource struct {
	Name    string
	Version string // of the content: equal on every replica
	Body    *anypb.Any

	// eds says that it is a cluster whose endpoints the client will ask for; secrets are the names of what it wants from SDS.
	eds     bool
	secrets []string
}

func (r *Resource) equal(o *Resource) bool {
	return r == o || r != nil && o != nil && r.Name == o.Name && r.Version == o.Version
}

// newResource names a resource by its content.
func newResource(name, typeURL string, body []byte) *Resource {
	return withVersion(name, typeURL, body, sha256.Sum256(body))
}

// versionBytes is how much of the hash is the version: enough that no two contents ever share one by chance.
const versionBytes = 12

func withVersion(name, typeURL string, body []byte, sum [sha256.Size]byte) *Resource {
	return &Resource{Name: name, Version: hex.EncodeToString(sum[:versionBytes]), Body: &anypb.Any{TypeUrl: typeURL, Value: body}}
}

// Resources are the resources of every fleet as queries over the edge.
type Resources struct {
	listeners *derive.Query[fleetKey, []*Resource] // sorted by name
	clusters  *derive.Query[compose.ClusterKey, *Resource]
	endpoints *derive.Query[compose.ClusterKey, *Resource]
	tables    *derive.Query[compose.TableKey, *Resource]
	secrets   *derive.Query[secretKey, *Resource]

	edge        *compose.Edge
	tracers     *Resource // the cluster of who takes spans; nil if nobody does
	clusterKeys *derive.Query[model.Fleet, []compose.ClusterKey]
	secretNames *derive.Query[model.Fleet, []model.ObjectName]
}

// fleetKey is a fleet, told what only weft's own proxies know or not.
type fleetKey struct {
	model.Fleet
	own bool
}

// hostKey is a virtual host as it is: one that changes is another pointer.
type hostKey struct {
	namespace string       // of the clients
	labels    model.Labels // theirs; "" where no policy asks for them
	host      *model.VirtualHost
}

// String names the host for explanations.
func (k hostKey) String() string {
	return fmt.Sprintf("%s/%s@%p for %s", k.namespace, k.host.Name, k.host, k.labels)
}

// hostBytes is a virtual host, marshalled; empty if nothing can be said of it.
type hostBytes struct {
	bytes []byte
	sum   [sha256.Size]byte
}

// secretKey is a Secret under the name that a client asked for.
type secretKey struct {
	name   string
	object model.ObjectName
	ca     bool
}

// DefineResources declares the queries in db.
func DefineResources(db *derive.DB, edge *compose.Edge, o resource.Options) *Resources {
	d := definer{db: db, edge: edge, o: o}
	var tracers *Resource
	if c := resource.Tracers(o); c != nil {
		tracers = newResource(c.Name, resource.ClusterType, resource.Marshal(c))
	}
	return &Resources{
		tracers: tracers, listeners: d.listeners(), clusters: d.clusters(), endpoints: d.endpoints(), tables: d.tables(), secrets: d.secrets(),
		edge: edge, clusterKeys: edge.ClusterKeys, secretNames: edge.SecretNames,
	}
}

type definer struct {
	db   *derive.DB
	edge *compose.Edge
	o    resource.Options
}

func (d definer) listeners() *derive.Query[fleetKey, []*Resource] {
	equal := func(a, b []*Resource) bool { return slices.EqualFunc(a, b, (*Resource).equal) }
	return derive.Define(d.db, "xds/listeners", equal, func(r *derive.Reader, k fleetKey) (out []*Resource) {
		o := forOwn(d.o, k.own)
		listeners := d.edge.Listeners.Get(r, k.Fleet)
		for i := range listeners {
			l, problems := resource.Listener(k.Fleet, &listeners[i], o)
			report(r, problems)
			if l != nil {
				out = append(out, newResource(l.Name, resource.ListenerType, resource.Marshal(l)))
			}
		}
		slices.SortFunc(out, func(a, b *Resource) int { return strings.Compare(a.Name, b.Name) })
		return slices.CompactFunc(out, func(a, b *Resource) bool { return a.Name == b.Name })
	})
}

func (d definer) clusters() (q *derive.Query[compose.ClusterKey, *Resource]) {
	q = derive.Define(d.db, "xds/cluster", (*Resource).equal, func(r *derive.Reader, k compose.ClusterKey) *Resource {
		if shared := d.edge.Shared(r, k); shared != k {
			return q.Get(r, shared)
		}
		c := d.edge.Clusters.Get(r, k)
		if c == nil {
			return nil
		}
		m, problems := resource.Cluster(k.From, c, d.o)
		report(r, problems)
		if m == nil {
			return nil
		}
		out := newResource(m.Name, resource.ClusterType, resource.Marshal(m))
		out.eds = m.GetEdsClusterConfig() != nil
		if t := c.Policy.TLS; t != nil && t.Mode != model.TLSDisable && t.Credential != nil {
			out.secrets = []string{resource.SecretName(*t.Credential, k.From, true)}
			if t.Mode == model.TLSMutual {
				out.secrets = append(out.secrets, resource.SecretName(*t.Credential, k.From, false))
			}
		}
		return out
	})
	return q
}

func (d definer) endpoints() (q *derive.Query[compose.ClusterKey, *Resource]) {
	q = derive.Define(d.db, "xds/endpoints", (*Resource).equal, func(r *derive.Reader, k compose.ClusterKey) *Resource {
		if shared := d.edge.Shared(r, k); shared != k {
			return q.Get(r, shared)
		}
		e := d.edge.Endpoints.Get(r, k)
		if e == nil {
			return nil
		}
		name := resource.ClusterName(k.Destination)
		return newResource(name, resource.EndpointType, resource.Marshal(resource.Endpoints(name, e)))
	})
	return q
}

func (d definer) tables() *derive.Query[compose.TableKey, *Resource] {
	hosts := d.hosts("xds/host")
	return derive.Define(d.db, "xds/routes", (*Resource).equal, func(r *derive.Reader, k compose.TableKey) *Resource {
		t := d.edge.Tables.Get(r, k)
		if t == nil {
			return nil
		}
		bodies := make([][]byte, 0, len(t.Hosts))
		sum := sha256.New()
		sum.Write(resource.RouteTable(k.Name, nil)) // what all tables of this version of weft say
		for _, h := range t.Hosts {
			b := hosts.Get(r, hostKey{k.Fleet.Namespace, k.Fleet.Labels, h})
			if len(b.bytes) > 0 {
				bodies = append(bodies, b.bytes)
				sum.Write(b.sum[:])
			}
		}
		return withVersion(k.Name, resource.RouteType, resource.RouteTable(k.Name, bodies), [sha256.Size]byte(sum.Sum(nil)))
	})
}

// hosts marshals each virtual host once, however large the tables are that it stands in.
func (d definer) hosts(name string) *derive.Query[hostKey, hostBytes] {
	equal := func(a, b hostBytes) bool { return a.sum == b.sum }
	return derive.Define(d.db, name, equal, func(r *derive.Reader, k hostKey) hostBytes {
		h, problems := resource.VirtualHost(k.host, d.policy(r, k.namespace, k.labels))
		report(r, problems)
		if h == nil {
			return hostBytes{}
		}
		b := resource.Marshal(h)
		return hostBytes{b, sha256.Sum256(b)}
	})
}

// policy gives what holds for a destination in the eyes of some clients.
func (d definer) policy(r *derive.Reader, namespace string, labels model.Labels) resource.Policies {
	return func(to model.Destination) *model.TrafficPolicy {
		c := d.edge.Clusters.Get(r, d.edge.Shared(r, compose.ClusterKey{From: namespace, Destination: to, Labels: labels}))
		if c == nil {
			return nil
		}
		return &c.Policy
	}
}

func (d definer) secrets() *derive.Query[secretKey, *Resource] {
	return derive.Define(d.db, "xds/secret", (*Resource).equal, func(r *derive.Reader, k secretKey) *Resource {
		s := resource.Secret(k.name, d.edge.Secrets.Get(r, k.object), k.ca)
		if s == nil {
			return nil
		}
		return newResource(k.name, resource.SecretType, resource.Marshal(s))
	})
}

// report makes findings of what cannot be said.
func report(r *derive.Reader, problems []resource.Problem) {
	for _, p := range problems {
		r.Report(finding.Finding{Object: p.Origin.Object, Field: p.Origin.Field, Severity: finding.Error, Code: "cannot-be-sent", Message: p.Message})
	}
}
