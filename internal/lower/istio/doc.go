// Package istio lowers Istio's networking API (Gateway, VirtualService, DestinationRule, ServiceEntry, WorkloadEntry) and its security API
// (PeerAuthentication, AuthorizationPolicy, RequestAuthentication) to the model, and says what is wrong with those objects. What the fields mean, what they default to and what is refused is Istio's to say: its API reference, and where
// that is silent, what its control plane does.
//
// A bad element costs only itself. A rule of a VirtualService that cannot be carried out as written stays in its place as one that does nothing
// ([model.Route] says that it answers 500), so that no later rule takes requests that were not meant for it; a destination that is none is
// answered 503. Only a rule that cannot be matched at all is left out, and one whose delegate cannot be had, as in Istio. What was meant to be
// encrypted, verified or hidden is closed rather than opened.
//
// It never asks whether a host, a port or a subset exists, nor who else wants a host: that is for compose, which knows the other APIs.
package istio

import (
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// Objects is what is lowered.
type Objects struct {
	Gateways         *store.Table[networkingv1.Gateway]
	VirtualServices  *store.Table[networkingv1.VirtualService]
	DestinationRules *store.Table[networkingv1.DestinationRule]
	ServiceEntries   *store.Table[networkingv1.ServiceEntry]
	WorkloadEntries  *store.Table[networkingv1.WorkloadEntry]

	PeerAuthentications   *store.Table[securityv1.PeerAuthentication]
	AuthorizationPolicies *store.Table[securityv1.AuthorizationPolicy]

	RequestAuthentications *store.Table[securityv1.RequestAuthentication]
	KeySets                *store.Table[model.KeySet] // what was fetched of what they ask for; nil: nothing is
}

// Options are what Istio's mesh configuration says. The zero value of a field has the default that is named.
type Options struct {
	Domain        string // of the cluster: "cluster.local"
	RootNamespace string // whose DestinationRules hold where nobody has one of their own, and whose policies are for the whole mesh: "istio-system"
	TrustDomain   string // of the mesh: "cluster.local"
}

// Lowered is the queries over the objects. Each gives nil for what does not exist, and for what has no effect. A value that means what it meant
// is the same pointer as before.
type Lowered struct {
	Gateways  *derive.Query[store.Key, *model.Gateway]
	RouteSets *derive.Query[store.Key, *model.RouteSet]          // of VirtualServices with hosts; delegates are resolved
	Policies  *derive.Query[store.Key, *model.DestinationPolicy] // of each DestinationRule, by itself
	Entries   *derive.Query[store.Key, *model.HostEntry]
	Workloads *derive.Query[store.Key, *model.EntryEndpoint] // of WorkloadEntries

	// KeySources is where the keys are to be had that a RequestAuthentication asks for.
	KeySources *derive.Query[store.Key, []model.KeySource]

	opts        Options
	objects     Objects
	gateways    *derive.Query[model.Fleet, []*model.Gateway]
	exists      *derive.Query[store.Key, bool]                    // whether there is such a Gateway
	bound       *derive.Query[model.GatewayName, []store.Key]     // the VirtualServices of a gateway
	connections *store.Index[string, networkingv1.VirtualService] // the VirtualServices with rules for connections of sidecars, by host
	boundHosts  *derive.Query[string, []store.Key]                // the VirtualServices of sidecars that name a host
	delegates   *derive.Query[store.Key, *delegate]
	policies    *derive.Query[hostKey, []*model.DestinationPolicy] // of one namespace's DestinationRules
	declared    *derive.Query[string, []store.Key]                 // the ServiceEntries that name a host
	members     *derive.Query[string, []store.Key]                 // the WorkloadEntries of a namespace

	peers policies[peerPolicy]
	peer  *derive.Query[workloadKey, *model.PeerAuthentication]

	authorizations policies[authorization]
	authorized     *derive.Query[workloadKey, []*model.AuthorizationPolicy]

	authentications policies[authentication]
	authenticated   *derive.Query[workloadKey, []*model.RequestAuthentication]
}

// hostKey is a host as the DestinationRules of one namespace name it.
type hostKey struct{ namespace, host string }

// kindGateway is the kind of the Gateways that this API declares, in names.
const kindGateway = "Gateway"

func origin(kind string, o metav1.Object) model.Origin {
	return model.Origin{Object: finding.Object{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}}
}

// seniorityOf is what an object's right is measured by. One that was never in an API server has no age.
func seniorityOf(kind string, o metav1.Object) model.Seniority {
	out := model.Seniority{Kind: kind, Name: model.ObjectName{Namespace: o.GetNamespace(), Name: o.GetName()}}
	if t := o.GetCreationTimestamp(); !t.IsZero() {
		out.Created = t.Unix()
	}
	return out
}

func keyOf(o metav1.Object) store.Key {
	return store.Key{Namespace: o.GetNamespace(), Name: o.GetName()}
}
