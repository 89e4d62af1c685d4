package istio

import (
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// The reach of a policy: nil for one that is for nobody, for all of its namespace, or for workloads of every namespace.

// PeerReach is the reach of a PeerAuthentication.
func (l *Lowered) PeerReach(r *derive.Reader, k store.Key) *model.Reach {
	p := l.peers.each.Get(r, k)
	if p == nil || p.selector == "" {
		return nil
	}
	return &model.Reach{Namespace: k.Namespace, Selector: p.selector, Origin: p.origin.At("spec.selector"), Ports: p.ports}
}

// AuthorizationReach is the reach of an AuthorizationPolicy.
func (l *Lowered) AuthorizationReach(r *derive.Reader, k store.Key) *model.Reach {
	a := l.authorizations.each.Get(r, k)
	if a == nil {
		return nil
	}
	out := l.reach(&a.target, a.policy.Origin)
	if out != nil {
		out.Authorization = &a.policy
	}
	return out
}

// AuthenticationReach is the reach of a RequestAuthentication.
func (l *Lowered) AuthenticationReach(r *derive.Reader, k store.Key) *model.Reach {
	a := l.authentications.each.Get(r, k)
	if a == nil {
		return nil
	}
	return l.reach(&a.target, a.policy.Origin)
}

func (l *Lowered) reach(t *target, o model.Origin) *model.Reach {
	if t.byGateway || t.selector == "" || t.namespace == l.opts.RootNamespace {
		return nil
	}
	return &model.Reach{Namespace: t.namespace, Selector: t.selector, Origin: o.At("spec.selector")}
}
