package ingress

import (
	"reflect"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// Kind is the kind of the Gateways that Ingresses imply.
const Kind = "Ingress"

// Controller is what spec.controller of an IngressClass says whose Ingresses weft carries.
const Controller = "weftmesh.github.io/ingress"

// DefaultFleet is the labels of the gateways that carry Ingresses, those of Istio's meshConfig.ingressSelector.
const DefaultFleet model.Labels = "istio=ingressgateway"

// Objects is what is lowered.
type Objects struct {
	Ingresses *store.Table[networkingv1.Ingress]
	Classes   *store.Table[networkingv1.IngressClass]
}

// Options say whose Ingresses are meant and where they go.
type Options struct {
	Controller    string       // "": [Controller]
	ClassNames    []string     // classes that are ours without an IngressClass that says so
	FleetSelector model.Labels // "": [DefaultFleet]
	Domain        string       // of the cluster: "cluster.local"

	// Folder says that there is no cluster: if no IngressClass is declared at all, every class is ours, and so is an Ingress without a class unless
	// the default class is somebody else's.
	Folder bool
}

// Lowered is the queries over the objects.
type Lowered struct {
	o       Objects
	opt     Options
	all     *derive.Query[struct{}, []*model.Gateway]
	gateway *derive.Query[store.Key, *model.Gateway]
	sets    *derive.Query[store.Key, []*model.RouteSet] // that hold on an Ingress's gateway
	set     *derive.Query[hostKey, *model.RouteSet]
	class   *derive.Query[string, classFact]
	byHost  *store.Index[string, networkingv1.Ingress]
	canary  *store.Index[pathKey, networkingv1.Ingress] // canaries by what they take from
	isDflt  *store.Index[bool, networkingv1.IngressClass]
}

// hostKey is what an Ingress says of one host; "*" is any.
type hostKey struct {
	ingress store.Key
	host    string
}

// Define declares the queries in db. The tables must still be empty: indexes are added to them.
func Define(db *derive.DB, o Objects, opt Options) *Lowered {
	if opt.Controller == "" {
		opt.Controller = Controller
	}
	if opt.FleetSelector == "" {
		opt.FleetSelector = DefaultFleet
	}
	l := &Lowered{o: o, opt: opt}
	l.byHost = store.NewIndex(o.Ingresses, "host", hostsOf)
	l.canary = store.NewIndex(o.Ingresses, "canary", canaryPaths)
	l.isDflt = store.NewIndex(o.Classes, "default", func(c *networkingv1.IngressClass) []bool {
		return []bool{c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"}
	})
	l.class = derive.Define(db, "lower/ingress/class", derive.Equal, l.classOf)
	l.gateway = derive.Define(db, "lower/ingress/gateway", same[*model.Gateway], func(r *derive.Reader, k store.Key) *model.Gateway {
		in := o.Ingresses.Get(r, k)
		if in == nil || !l.ours(r, in, r.Report) {
			return nil
		}
		return l.lowerGateway(in, r.Report)
	})
	l.all = derive.Define(db, "lower/ingress/gateways", slices.Equal, func(r *derive.Reader, _ struct{}) (out []*model.Gateway) {
		for _, k := range o.Ingresses.Keys(r) {
			if g := l.gateway.Get(r, k); g != nil {
				out = append(out, g)
			}
		}
		return out
	})
	l.set = derive.Define(db, "lower/ingress/routes", same[*model.RouteSet], func(r *derive.Reader, k hostKey) *model.RouteSet {
		in := o.Ingresses.Get(r, k.ingress)
		if in == nil || !l.ours(r, in, mute) {
			return nil
		}
		return l.lowerHost(r, in, k.host)
	})
	l.sets = derive.Define(db, "lower/ingress/bound", slices.Equal, l.bound)
	return l
}

// GatewaysFor gives the Gateways of a fleet: those of all Ingresses that are ours, or none.
func (l *Lowered) GatewaysFor(r *derive.Reader, f model.Fleet) []*model.Gateway {
	if !f.Labels.Match(l.opt.FleetSelector) {
		return nil
	}
	return l.all.Get(r, struct{}{})
}

// RouteSetsFor gives the route sets that hold on the gateway of an Ingress: its own, and what other Ingresses say of the hosts for which it has a
// certificate. So the paths of a host may be spread over Ingresses, and one of them holds the certificate.
func (l *Lowered) RouteSetsFor(r *derive.Reader, g model.GatewayName) []*model.RouteSet {
	if g.Kind != Kind {
		return nil
	}
	return l.sets.Get(r, store.Key(g.Name))
}

func (l *Lowered) bound(r *derive.Reader, k store.Key) (out []*model.RouteSet) {
	in := l.o.Ingresses.Get(r, k)
	if in == nil || l.gateway.Get(r, k) == nil {
		return nil
	}
	add := func(k hostKey) {
		if s := l.set.Get(r, k); s != nil {
			out = append(out, s)
		}
	}
	for _, host := range hostsOf(in) {
		add(hostKey{k, host})
	}
	for _, host := range encryptedHosts(in) {
		for _, other := range l.byHost.List(r, host) {
			if key := (store.Key{Namespace: other.Namespace, Name: other.Name}); key != k {
				add(hostKey{key, host})
			}
		}
	}
	return out
}

// same is the equality of values that hold no Kubernetes types and no times.
func same[T any](a, b T) bool { return reflect.DeepEqual(a, b) }

func mute(finding.Finding) {}
