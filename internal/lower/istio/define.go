package istio

import (
	"reflect"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// Define declares the queries in db. It adds indexes to the tables.
func Define(db *derive.DB, o Objects, opts Options) *Lowered {
	if opts.Domain == "" {
		opts.Domain = "cluster.local"
	}
	if opts.RootNamespace == "" {
		opts.RootNamespace = "istio-system"
	}
	if opts.TrustDomain == "" {
		opts.TrustDomain = defaultTrustDomain
	}
	l := &Lowered{opts: opts, objects: o}
	l.defineGateways(db)
	l.defineRouteSets(db)
	l.definePolicies(db)
	l.defineEntries(db)
	l.definePeers(db)
	l.defineAuthorizations(db)
	l.defineAuthentications(db)
	return l
}

// Tell keeps up to date what every object means, also one that nobody asks for, so that what is wrong with it is told. Call it once, where
// findings are collected.
func (l *Lowered) Tell() {
	derive.Each(l.Gateways, l.objects.Gateways.KeySet())
	derive.Each(l.RouteSets, l.objects.VirtualServices.KeySet())
	derive.Each(l.Policies, l.objects.DestinationRules.KeySet())
	derive.Each(l.Entries, l.objects.ServiceEntries.KeySet())
	derive.Each(l.Workloads, l.objects.WorkloadEntries.KeySet())
	l.peers.tell()
	l.authorizations.tell()
	l.authentications.tell()
}

// same is the equality of what objects are lowered to: these are values without order or identity of their own.
func same[T any](a, b *T) bool { return a == b || reflect.DeepEqual(a, b) }

// sameList is the equality of lists of results, which keep their identity while they mean the same.
func sameList[E comparable](a, b []E) bool { return slices.Equal(a, b) }

// bySeniority gives the keys of objects, the one with the best right first.
func bySeniority[T any, P interface {
	*T
	metav1.Object
}](kind string, list []*T) (out []store.Key) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *T) int { return seniorityOf(kind, P(a)).Compare(seniorityOf(kind, P(b))) })
	for _, o := range list {
		out = append(out, keyOf(P(o)))
	}
	return out
}

func (l *Lowered) defineGateways(db *derive.DB) {
	l.Gateways = derive.Define(db, "lower/istio/gateway", same[model.Gateway], func(r *derive.Reader, k store.Key) *model.Gateway {
		return lowerGateway(l.objects.Gateways.Get(r, k), r.Report)
	})
	l.gateways = derive.Define(db, "lower/istio/gateways of fleet", sameList, func(r *derive.Reader, f model.Fleet) (out []*model.Gateway) {
		for _, k := range l.objects.Gateways.Keys(r) {
			if g := l.Gateways.Get(r, k); g != nil && f.Labels.Match(g.Selector) {
				out = append(out, g)
			}
		}
		slices.SortFunc(out, func(a, b *model.Gateway) int { return a.Seniority.Compare(b.Seniority) })
		return out
	})
	l.exists = derive.Define(db, "lower/istio/gateway exists", derive.Equal, func(r *derive.Reader, k store.Key) bool {
		return l.objects.Gateways.Get(r, k) != nil
	})
}

// GatewaysFor gives the Gateways whose selector picks a fleet, the one with the best right first.
func (l *Lowered) GatewaysFor(r *derive.Reader, f model.Fleet) []*model.Gateway {
	return l.gateways.Get(r, f)
}

func (l *Lowered) defineRouteSets(db *derive.DB) {
	byGateway := store.NewIndex(l.objects.VirtualServices, "gateway", boundTo)
	l.RouteSets = derive.Define(db, "lower/istio/routes", same[model.RouteSet], l.lowerVirtualService)
	l.delegates = derive.Define(db, "lower/istio/delegate", same[delegate], l.lowerDelegate)
	byHost := store.NewIndex(l.objects.VirtualServices, "mesh host", l.opts.meshHosts)
	l.connections = store.NewIndex(l.objects.VirtualServices, "mesh host of connections", func(v *networkingv1.VirtualService) []string {
		if len(v.Spec.Tcp)+len(v.Spec.Tls) == 0 {
			return nil
		}
		return l.opts.meshHosts(v)
	})
	l.boundHosts = derive.Define(db, "lower/istio/mesh routes of host", sameList, func(r *derive.Reader, host string) []store.Key {
		return bySeniority[networkingv1.VirtualService](kindVirtualService, byHost.List(r, host))
	})
	l.bound = derive.Define(db, "lower/istio/bound to gateway", sameList, func(r *derive.Reader, g model.GatewayName) []store.Key {
		return bySeniority[networkingv1.VirtualService](kindVirtualService, byGateway.List(r, g))
	})
}

// RouteSetsFor gives what VirtualServices say of a gateway, the one with the best right first. {Kind: model.Mesh} is the sidecars.
func (l *Lowered) RouteSetsFor(r *derive.Reader, g model.GatewayName) (out []*model.RouteSet) {
	for _, k := range l.bound.Get(r, g) {
		if s := l.RouteSets.Get(r, k); s != nil {
			out = append(out, s)
		}
	}
	return out
}

// MeshConnectionSetsFor is MeshRouteSetsFor of VirtualServices that say something of connections which are carried as bytes, in any order.
func (l *Lowered) MeshConnectionSetsFor(r *derive.Reader, host string) (out []*model.RouteSet) {
	for _, v := range l.connections.List(r, host) {
		if s := l.RouteSets.Get(r, keyOf(v)); s != nil && slices.Contains(s.Hosts, host) && len(s.TCP)+len(s.TLS) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// MeshRouteSetsFor gives what VirtualServices say to sidecars of a host, or of the wildcard "*.suffix", as it is written: the one with the best right
// first.
func (l *Lowered) MeshRouteSetsFor(r *derive.Reader, host string) (out []*model.RouteSet) {
	for _, k := range l.boundHosts.Get(r, host) {
		if s := l.RouteSets.Get(r, k); s != nil && slices.Contains(s.Hosts, host) {
			out = append(out, s)
		}
	}
	return out
}
