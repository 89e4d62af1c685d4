package istio

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	security "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

const kindPeerAuthentication = "PeerAuthentication"

// peerPolicy is what one PeerAuthentication says.
type peerPolicy struct {
	selector model.Labels // of the workloads it is for; "": all
	declared bool         // mode was said
	mode     model.MTLSMode
	ports    []model.PortMTLS // for which another mode was said, sorted by number
	origin   model.Origin
}

func (l *Lowered) definePeers(db *derive.DB) {
	l.peers = definePolicies(db, l.objects.PeerAuthentications, "peer policy", l.opts.lowerPeerAuthentication, settlePeers)
	l.peer = derive.Define(db, "lower/istio/peer policy for workload", same[model.PeerAuthentication], l.peerAuthentication)
}

// PeerAuthenticationFor gives what connections to a workload must be; nil if nobody says anything of it, which means PERMISSIVE. What is said for
// the workload goes before what is said for its namespace, and that before what the root namespace says; what is left UNSET is said by the next.
func (l *Lowered) PeerAuthenticationFor(r *derive.Reader, namespace string, labels model.Labels) *model.PeerAuthentication {
	return l.peer.Get(r, workloadKey{namespace, labels})
}

func (l *Lowered) peerAuthentication(r *derive.Reader, w workloadKey) *model.PeerAuthentication {
	out := model.PeerAuthentication{}
	say := func(p *peerPolicy) {
		if p.declared {
			out.Mode, out.Origin = p.mode, p.origin.At("spec.mtls")
		}
	}
	for _, p := range l.peers.in.Get(r, l.opts.RootNamespace) {
		say(p)
	}
	if w.namespace == l.opts.RootNamespace {
		return declaredPeer(out)
	}
	list := l.peers.in.Get(r, w.namespace)
	for _, p := range list {
		if p.selector == "" {
			say(p)
		}
	}
	var own *peerPolicy
	for _, p := range list {
		switch {
		case p.selector == "" || !w.labels.Match(p.selector):
		case own == nil:
			own = p
			say(p)
			out.Ports = p.ports
		default:
			spot{r.Report, p.origin}.in("selector").warnf(codeOlder, "%v, which is older, picks some of the same workloads; this one has no effect on them", own.origin.Object)
		}
	}
	return declaredPeer(out)
}

// declaredPeer gives nil if nobody has said anything.
func declaredPeer(p model.PeerAuthentication) *model.PeerAuthentication {
	if p.Origin == (model.Origin{}) && len(p.Ports) == 0 {
		return nil
	}
	return &p
}

// settlePeers leaves of the policies of one namespace that are for all its workloads only the oldest.
func settlePeers(r *derive.Reader, list []*peerPolicy) (out []*peerPolicy) {
	var whole *peerPolicy
	for _, p := range list {
		if p.selector == "" && whole != nil {
			spot{r.Report, p.origin.At("spec")}.errorf(codeOlder, "%v, which is older, is for the whole namespace too; this one has no effect", whole.origin.Object)
			continue
		}
		if p.selector == "" {
			whole = p
		}
		out = append(out, p)
	}
	return out
}

// lowerPeerAuthentication gives nil for a policy that is for no workload.
func (o Options) lowerPeerAuthentication(r *derive.Reader, in *securityv1.PeerAuthentication) *peerPolicy {
	s := specOf(origin(kindPeerAuthentication, in), r.Report)
	out := &peerPolicy{origin: s.where}
	var ok bool
	if out.selector, ok = s.selector(in.Spec.Selector); !ok {
		return nil
	}
	if in.Namespace == o.RootNamespace && out.selector != "" {
		s.in("selector").errorf(codeNoEffect, "what namespace %s says is for the whole mesh, without a selector; the policy has no effect", o.RootNamespace)
		return nil
	}
	out.mode, out.declared = s.in("mtls").mode(in.Spec.Mtls)
	if len(in.Spec.PortLevelMtls) > 0 && out.selector == "" {
		s.in("portLevelMtls").errorf(codeNoEffect, "has an effect only beside a selector, whose workloads' ports are meant")
		return out
	}
	for _, number := range slices.Sorted(maps.Keys(in.Spec.PortLevelMtls)) {
		at := s.key("portLevelMtls", strconv.FormatUint(uint64(number), 10))
		port := at.port(number)
		if mode, said := at.mode(in.Spec.PortLevelMtls[number]); said && port != 0 {
			out.ports = append(out.ports, model.PortMTLS{Port: port, Mode: mode, Origin: at.where})
		}
	}
	slices.SortFunc(out.ports, func(a, b model.PortMTLS) int { return cmp.Compare(a.Port, b.Port) })
	return out
}

// mode reads whether mutual TLS is asked for; said is false if that is left to who speaks for more workloads.
func (s spot) mode(in *security.PeerAuthentication_MutualTLS) (mode model.MTLSMode, said bool) {
	switch in.GetMode() {
	case security.PeerAuthentication_MutualTLS_UNSET:
		return 0, false
	case security.PeerAuthentication_MutualTLS_DISABLE:
		return model.MTLSDisable, true
	case security.PeerAuthentication_MutualTLS_PERMISSIVE:
		return model.MTLSPermissive, true
	case security.PeerAuthentication_MutualTLS_STRICT:
		return model.MTLSStrict, true
	}
	s.in("mode").errorf(codeValue, "%d is no mode that is known; STRICT is used", in.Mode)
	return model.MTLSStrict, true
}
