package compose

import (
	"reflect"
	"slices"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// DefineEdge declares the queries of the edge in db.
func DefineEdge(db *derive.DB, m *Model, o EdgeOptions) *Edge {
	if o.Domain == "" {
		o.Domain = "cluster.local"
	}
	if o.TrustDomain == "" {
		o.TrustDomain = "cluster.local"
	}
	e := &Edge{o: o, m: m}
	e.Gateways = derive.Define(db, "compose/edge/gateways", slices.Equal, e.gatewaysOf)
	e.ports = derive.Define(db, "compose/edge/ports", equal[[]*portServers], e.portsOf)
	e.Listeners = derive.Define(db, "compose/edge/listeners", equal[[]model.Listener], e.listenersOf)

	e.Tables = derive.Define(db, "compose/edge/table", sameTable, e.tableOf)
	e.links = derive.Define(db, "compose/edge/link", nil, func(_ *derive.Reader, l link) *link { return &l })
	e.vhosts = derive.Define(db, "compose/edge/virtual host", equal[*model.VirtualHost], e.virtualHostOf)

	e.hosts = derive.Define(db, "compose/edge/host", equal[*host], e.hostOf)
	e.policies = derive.Define(db, "compose/edge/policy", equal[*model.DestinationPolicy], e.policyOf)
	e.ForSome = derive.Define(db, "compose/edge/policy for some", derive.Equal, func(r *derive.Reader, k ClientsOf) bool {
		return e.o.Policies != nil && slices.ContainsFunc(e.o.Policies(r, k.Host, k.Namespace), func(p *model.DestinationPolicy) bool { return p.Selector != "" })
	})
	e.resolved = derive.Define(db, "compose/edge/destination", derive.Equal, e.resolve)
	e.identities = derive.Define(db, "compose/edge/identities", slices.Equal, e.identitiesOf)
	e.Clusters = derive.Define(db, "compose/edge/cluster", equal[*model.Cluster], e.clusterOf)
	e.ClusterKeys = derive.Define(db, "compose/edge/clusters", slices.Equal, e.clusterKeysOf)
	e.Endpoints = derive.Define(db, "compose/edge/endpoints", sameEndpoints, e.endpointsOf)

	e.Secrets = derive.Define(db, "compose/edge/secret", derive.Equal, func(r *derive.Reader, n model.ObjectName) *model.Secret { return m.Secrets.Get(r, store.Key(n)) })
	e.credential = derive.Define(db, "compose/edge/credential", derive.Equal, e.credentialOf)
	e.SecretNames = derive.Define(db, "compose/edge/secrets", slices.Equal, e.secretNamesOf)
	return e
}

// equal is the equality of values that hold nothing but what they mean.
func equal[T any](a, b T) bool { return reflect.DeepEqual(a, b) }

func (e *Edge) gatewaysOf(r *derive.Reader, f model.Fleet) (out []*model.Gateway) {
	for _, s := range e.o.Sources {
		out = append(out, s.GatewaysFor(r, f)...)
	}
	slices.SortFunc(out, func(a, b *model.Gateway) int { return a.Seniority.Compare(b.Seniority) })
	return out
}

// routeSets gives the route sets that are bound to a Gateway, the oldest first.
func (e *Edge) routeSets(r *derive.Reader, g model.GatewayName) (out []*model.RouteSet) {
	for _, s := range e.o.Sources {
		out = append(out, s.RouteSetsFor(r, g)...)
	}
	slices.SortStableFunc(out, func(a, b *model.RouteSet) int { return a.Seniority.Compare(b.Seniority) })
	return out
}
