package istio

import (
	"slices"

	typev1beta1 "istio.io/api/type/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// workloadKey is a workload as policies pick it: all workloads of a namespace with the same labels have the same policies.
type workloadKey struct {
	namespace string
	labels    model.Labels
}

// policies is what the objects of one kind of policy mean, each by itself and those of a namespace together.
type policies[V any] struct {
	each *derive.Query[store.Key, *V]
	in   *derive.Query[string, []*V] // of a namespace, the oldest first
	tell func()
}

// definePolicies declares the queries over a kind's objects. settle, if any, puts together those of a namespace.
func definePolicies[T, V any, P interface {
	*T
	metav1.Object
}](db *derive.DB, table *store.Table[T], name string, lower func(r *derive.Reader, o *T) *V, settle func(r *derive.Reader, list []*V) []*V) policies[V] {
	byNamespace := store.NewIndex(table, "namespace", func(o *T) []string { return []string{P(o).GetNamespace()} })
	each := derive.Define(db, "lower/istio/"+name, same[V], func(r *derive.Reader, k store.Key) *V {
		if o := table.Get(r, k); o != nil {
			return lower(r, o)
		}
		return nil
	})
	in := derive.Define(db, "lower/istio/"+name+" of namespace", sameList, func(r *derive.Reader, namespace string) (out []*V) {
		for _, k := range bySeniority[T, P](table.Kind(), byNamespace.List(r, namespace)) {
			if v := each.Get(r, k); v != nil {
				out = append(out, v)
			}
		}
		if settle != nil {
			out = settle(r, out)
		}
		return out
	})
	return policies[V]{each: each, in: in, tell: func() {
		derive.Each(each, table.KeySet())
		derive.Each(in, byNamespace.KeySet())
	}}
}

// selector reads which workloads of its namespace a policy is for; ok is false if it can be for none.
func (s spot) selector(in *typev1beta1.WorkloadSelector) (labels model.Labels, ok bool) {
	if in == nil {
		return "", true
	}
	at := s.in("selector")
	if len(in.MatchLabels) == 0 {
		at.warnf(codeNoEffect, "without labels it picks every workload")
	}
	return at.labels("matchLabels", in.MatchLabels)
}

// GuardFor gives what is asked of requests and connections to a workload.
func (l *Lowered) GuardFor(r *derive.Reader, namespace string, labels model.Labels) model.Guard {
	return model.Guard{Authorizations: l.AuthorizationsFor(r, namespace, labels), Authentications: l.RequestAuthenticationsFor(r, namespace, labels)}
}

// target is which workloads a policy is for.
type target struct {
	selector  model.Labels // "": all, if byGateway is false
	byGateway bool
	namespace string   // of the policy
	gateways  []string // of the Gateway API, in namespace: for their proxies only
}

// gatewayLabel names the Gateway of the Gateway API that a Pod is a proxy of.
const gatewayLabel = "gateway.networking.k8s.io/gateway-name"

func (t *target) picks(w workloadKey) bool {
	if !t.byGateway {
		return w.labels.Match(t.selector)
	}
	name, ok := w.labels.Get(gatewayLabel)
	return ok && w.namespace == t.namespace && slices.Contains(t.gateways, name)
}

// targeted is what says which workloads it is for.
type targeted interface {
	GetSelector() *typev1beta1.WorkloadSelector
	GetTargetRef() *typev1beta1.PolicyTargetReference
	GetTargetRefs() []*typev1beta1.PolicyTargetReference
}

// target reads what a policy is for; ok is false if it can be for nothing. One with references is never for anything else, as in Istio.
func (s spot) target(namespace string, in targeted) (t target, ok bool) {
	t.namespace = namespace
	refs, place := in.GetTargetRefs(), func(i int) spot { return s.at("targetRefs", i) }
	if len(refs) == 0 && in.GetTargetRef() != nil {
		refs, place = []*typev1beta1.PolicyTargetReference{in.GetTargetRef()}, func(int) spot { return s.in("targetRef") }
	}
	if len(refs) == 0 {
		t.selector, ok = s.selector(in.GetSelector())
		return t, ok
	}
	t.byGateway = true
	if in.GetSelector() != nil {
		s.in("selector").errorf(codeConflict, "has no effect beside a reference to a target")
	}
	for i, ref := range refs {
		at := place(i)
		switch {
		case ref.GetNamespace() != "" && ref.GetNamespace() != namespace:
			at.in("namespace").errorf(codeUnsupported, "a target must be in the policy's own namespace; the reference has no effect")
		case ref.GetGroup() != "gateway.networking.k8s.io" || ref.GetKind() != "Gateway":
			at.in("kind").errorf(codeUnsupported, "a target can only be a Gateway of the group gateway.networking.k8s.io; the reference has no effect")
		case ref.GetName() == "":
			at.in("name").errorf(codeMissing, "is needed; the reference has no effect")
		default:
			t.gateways = append(t.gateways, ref.Name)
		}
	}
	return t, len(t.gateways) > 0
}
