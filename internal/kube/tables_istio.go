package kube

import (
	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weftmesh/weft/internal/store"
)

// istioTables are the kinds of networking.istio.io and security.istio.io that are read. Whatever version an object was declared in, its row is of version v1. Rows
// have no status.
type istioTables struct {
	Gateways         *store.Table[networkingv1.Gateway]
	VirtualServices  *store.Table[networkingv1.VirtualService]
	DestinationRules *store.Table[networkingv1.DestinationRule]
	ServiceEntries   *store.Table[networkingv1.ServiceEntry]
	WorkloadEntries  *store.Table[networkingv1.WorkloadEntry]

	PeerAuthentications    *store.Table[securityv1.PeerAuthentication]
	AuthorizationPolicies  *store.Table[securityv1.AuthorizationPolicy]
	RequestAuthentications *store.Table[securityv1.RequestAuthentication]
}

// istioKinds are how they are filled. None need be installed.
type istioKinds struct {
	Gateway, VirtualService, DestinationRule, ServiceEntry, WorkloadEntry *Kind

	PeerAuthentication, AuthorizationPolicy, RequestAuthentication *Kind
}

// The versions of Istio's APIs: those of one API have the same fields.
var (
	istioNetworking = []schema.GroupVersion{
		{Group: "networking.istio.io", Version: "v1"}, {Group: "networking.istio.io", Version: "v1beta1"}, {Group: "networking.istio.io", Version: "v1alpha3"},
	}
	istioSecurity = []schema.GroupVersion{{Group: "security.istio.io", Version: "v1"}, {Group: "security.istio.io", Version: "v1beta1"}}
)

func (t *Tables) addIstio(s *store.Store) {
	t.Gateways, t.Kind.Gateway = istioKind(s, istioNetworking, "Gateway", "gateways", func(o *networkingv1.Gateway) proto.Message { return &o.Spec })
	t.VirtualServices, t.Kind.VirtualService = istioKind(s, istioNetworking, "VirtualService", "virtualservices",
		func(o *networkingv1.VirtualService) proto.Message { return &o.Spec })
	t.DestinationRules, t.Kind.DestinationRule = istioKind(s, istioNetworking, "DestinationRule", "destinationrules",
		func(o *networkingv1.DestinationRule) proto.Message { return &o.Spec })
	t.ServiceEntries, t.Kind.ServiceEntry = istioKind(s, istioNetworking, "ServiceEntry", "serviceentries",
		func(o *networkingv1.ServiceEntry) proto.Message { return &o.Spec })
	t.WorkloadEntries, t.Kind.WorkloadEntry = istioKind(s, istioNetworking, "WorkloadEntry", "workloadentries",
		func(o *networkingv1.WorkloadEntry) proto.Message { return &o.Spec })
	t.PeerAuthentications, t.Kind.PeerAuthentication = istioKind(s, istioSecurity, "PeerAuthentication", "peerauthentications",
		func(o *securityv1.PeerAuthentication) proto.Message { return &o.Spec })
	t.AuthorizationPolicies, t.Kind.AuthorizationPolicy = istioKind(s, istioSecurity, "AuthorizationPolicy", "authorizationpolicies",
		func(o *securityv1.AuthorizationPolicy) proto.Message { return &o.Spec })
	t.RequestAuthentications, t.Kind.RequestAuthentication = istioKind(s, istioSecurity, "RequestAuthentication", "requestauthentications",
		func(o *securityv1.RequestAuthentication) proto.Message { return &o.Spec })
}

func istioKind[T any, P pointer[T]](
	s *store.Store, versions []schema.GroupVersion, kind, resource string, spec func(*T) proto.Message,
) (*store.Table[T], *Kind) {
	table := newProtoTable[T, P](s, kind, spec)
	k := NewKind[T, P](table, Spec[T]{
		Resource: resource, Versions: versions, Optional: true, Scheme: declarations(versions, kind), Convert: fromDeclaration[T, P](spec),
	})
	k.spec = spec(new(T)).ProtoReflect().Descriptor()
	return table, k
}
