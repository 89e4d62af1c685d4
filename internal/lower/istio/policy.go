package istio

import (
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

func (l *Lowered) definePolicies(db *derive.DB) {
	byHost := store.NewIndex(l.objects.DestinationRules, "host", func(d *networkingv1.DestinationRule) []hostKey {
		return []hostKey{{d.Namespace, l.opts.qualify(d.Spec.Host, d.Namespace)}}
	})
	l.Policies = derive.Define(db, "lower/istio/policy", same[model.DestinationPolicy], func(r *derive.Reader, k store.Key) *model.DestinationPolicy {
		return l.opts.lowerDestinationRule(l.objects.DestinationRules.Get(r, k), r.Report)
	})
	l.policies = derive.Define(db, "lower/istio/policies for host", samePolicies, func(r *derive.Reader, k hostKey) []*model.DestinationPolicy {
		var list []*model.DestinationPolicy
		for _, d := range bySeniority[networkingv1.DestinationRule](kindDestinationRule, byHost.List(r, k)) {
			if p := l.Policies.Get(r, d); p != nil {
				list = append(list, p)
			}
		}
		return mergePolicies(list, r.Report)
	})
}

func samePolicies(a, b []*model.DestinationPolicy) bool {
	return slices.EqualFunc(a, b, same[model.DestinationPolicy])
}

// PoliciesFor gives what holds for a fully qualified host in the eyes of the clients of a namespace. Those with a Selector, which are for some of
// the clients, come first: the first whose Selector the client's labels match is the client's.
//
// They are of one namespace: the clients' own, or else the host's, or else the root namespace, whichever has rules that match the host
// and are exported to the clients. Of several matching hosts the most specific counts.
func (l *Lowered) PoliciesFor(r *derive.Reader, host, namespace string) []*model.DestinationPolicy {
	own := func(p *model.DestinationPolicy) bool { return visible(p.Exported, namespace) }
	if namespace == l.opts.RootNamespace { // what the root namespace says to all is looked at last, also by its own clients
		own = isPrivate
	}
	if list := l.mostSpecific(r, host, namespace, own); len(list) > 0 {
		return list
	}
	for _, of := range []string{l.namespaceOf(r, host, namespace), l.opts.RootNamespace} {
		if of == "" {
			continue
		}
		exported := l.mostSpecific(r, host, of, func(p *model.DestinationPolicy) bool { return !isPrivate(p) })
		exported = slices.DeleteFunc(exported, func(p *model.DestinationPolicy) bool { return !visible(p.Exported, namespace) })
		if len(exported) > 0 {
			return exported
		}
	}
	return nil
}

// isPrivate tells whether a policy is for its own namespace alone.
func isPrivate(p *model.DestinationPolicy) bool {
	return len(p.Exported) == 1 && p.Exported[0] == p.Name.Namespace
}

// namespaceOf gives the namespace that declares a host, "" if nobody does.
func (l *Lowered) namespaceOf(r *derive.Reader, host, client string) string {
	if ns := l.opts.serviceNamespace(host); ns != "" {
		return ns
	}
	if e := l.EntryFor(r, host, client); e != nil {
		return e.Name.Namespace
	}
	return ""
}

// mostSpecific gives the eligible policies of one namespace for the most specific of the hosts that match. The slice is the caller's.
func (l *Lowered) mostSpecific(r *derive.Reader, host, namespace string, eligible func(*model.DestinationPolicy) bool) (out []*model.DestinationPolicy) {
	for _, pattern := range patterns(host) {
		for _, p := range l.policies.Get(r, hostKey{namespace, pattern}) {
			if eligible(p) {
				out = append(out, p)
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}

// mergePolicies puts together what one namespace says of one host, given the oldest first. Those for the same clients become one: the subsets of
// all of them, and the oldest policy. Those for some of the clients come first.
func mergePolicies(list []*model.DestinationPolicy, say func(finding.Finding)) (out []*model.DestinationPolicy) {
	for _, p := range list {
		i := slices.IndexFunc(out, func(o *model.DestinationPolicy) bool {
			return o.Selector == p.Selector && slices.Equal(o.Exported, p.Exported)
		})
		if i < 0 {
			out = append(out, p)
			continue
		}
		out[i] = mergePolicy(out[i], p, specOf(p.Origin, say))
	}
	slices.SortStableFunc(out, func(a, b *model.DestinationPolicy) int {
		switch {
		case (a.Selector == "") == (b.Selector == ""):
			return 0
		case a.Selector != "":
			return -1
		}
		return 1
	})
	return out
}

// mergePolicy adds to a policy what another, younger one says besides.
func mergePolicy(older, younger *model.DestinationPolicy, s spot) *model.DestinationPolicy {
	out := *older
	out.Subsets = slices.Clone(older.Subsets)
	for _, sub := range younger.Subsets {
		if slices.ContainsFunc(out.Subsets, func(o model.Subset) bool { return o.Name == sub.Name }) {
			spot{s.say, sub.Origin}.errorf(codeSubset, "%v, which is older, has a subset %q for the same host; this one has no effect", older.Origin.Object, sub.Name)
			continue
		}
		out.Subsets = append(out.Subsets, sub)
	}
	policy := "and its trafficPolicy is used, as the older one has none"
	switch {
	case saysNothing(younger):
		policy = "and there is no more to it"
	case saysNothing(older):
		out.Policy, out.Ports = younger.Policy, younger.Ports
	default:
		policy = "and its trafficPolicy has no effect"
	}
	s.in("host").warnf(codeMerged, "%v, which is older, is for the same host; the subsets of this one are added to its, %s", older.Origin.Object, policy)
	return &out
}

func saysNothing(p *model.DestinationPolicy) bool {
	return p.Policy == (model.TrafficPolicy{}) && len(p.Ports) == 0
}
