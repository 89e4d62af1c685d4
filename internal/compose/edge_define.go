package compose

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
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

// routeSets gives the route sets that are bound to a Gateway, of those that a fleet's namespace sees, in the order of [before].
func (e *Edge) routeSets(r *derive.Reader, f model.Fleet, g model.GatewayName) (out []*model.RouteSet) {
	for _, s := range e.o.Sources {
		for _, set := range s.RouteSetsFor(r, g) {
			if !visible(set.Exported, f.Namespace) {
				at := set.Origin
				at.Field = "spec.exportTo"
				report(r, at, finding.Info, "not-exported", fmt.Sprintf("the proxies of %v in namespace %s do not see it", g, f.Namespace))
				continue
			}
			out = append(out, set)
		}
	}
	slices.SortStableFunc(out, func(a, b *model.RouteSet) int { return before(a, b, f.Namespace) })
	return out
}

// before is the order in which Istio looks through what is said to the proxies of a namespace: what only that namespace sees, then what some namespaces do, then
// the rest, the oldest first.
func before(a, b *model.RouteSet, namespace string) int {
	return cmp.Or(cmp.Compare(publicity(a, namespace), publicity(b, namespace)), a.Seniority.Compare(b.Seniority))
}

func publicity(s *model.RouteSet, namespace string) int {
	switch {
	case slices.Contains(s.Exported, "*"):
		return 2
	case s.Seniority.Name.Namespace != namespace:
		return 1
	}
	return 0
}

// visible tells whether what is exported so can be seen in a namespace.
func visible(exported []string, namespace string) bool {
	return slices.Contains(exported, "*") || slices.Contains(exported, namespace)
}
