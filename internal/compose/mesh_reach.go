package compose

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// TellReach looks whether policies reach anybody, and tells of those that do not, for as long as there are any. reach gives whom one is for.
func (m *Mesh) TellReach(db *derive.DB, kind string, keys *derive.KeySet[store.Key], reach func(*derive.Reader, store.Key) *model.Reach) {
	derive.Each(derive.Define(db, "compose/mesh/reach of "+kind, derive.Equal, func(r *derive.Reader, k store.Key) struct{} {
		if of := reach(r, k); of != nil {
			m.checkReach(r, of)
		}
		return struct{}{}
	}), keys)
}

// shapesOf lists what Pods of a namespace look like to policies.
func (m *Mesh) shapesOf(r *derive.Reader, namespace string) (out []model.Sidecar) {
	if m.o.PodsIn == nil || m.e.o.Pod == nil {
		return nil
	}
	for _, k := range m.o.PodsIn(r, namespace) {
		if w := m.e.o.Pod(r, model.ObjectName(k)); w != nil {
			out = append(out, model.Sidecar{Namespace: namespace, Labels: SidecarLabels(w.Labels), ServiceAccount: w.ServiceAccount, Ports: w.Ports})
		}
	}
	slices.SortFunc(out, func(a, b model.Sidecar) int {
		return cmp.Or(cmp.Compare(a.Labels, b.Labels), cmp.Compare(a.ServiceAccount, b.ServiceAccount), cmp.Compare(a.Ports, b.Ports))
	})
	return slices.Compact(out)
}

func (m *Mesh) checkReach(r *derive.Reader, of *model.Reach) {
	var ports []model.InboundPort
	shapes, picked := m.shapes.Get(r, of.Namespace), false
	if len(shapes) == 0 {
		return // manifests without Pods, or a namespace that is not in use yet
	}
	for _, s := range shapes {
		if s.Labels.Match(of.Selector) {
			picked = true
			ports = append(ports, m.Inbound.Get(r, s).Ports...)
		}
	}
	if !picked {
		report(r, of.Origin, finding.Warning, "no-workload", fmt.Sprintf("no Pod of namespace %s has these labels; it has no effect", of.Namespace))
		return
	}
	for _, p := range of.Ports {
		if !slices.ContainsFunc(ports, func(o model.InboundPort) bool { return o.Port == p.Port }) {
			report(r, p.Origin, finding.Warning, "no-port", fmt.Sprintf("no Service leads to port %d of the Pods that are picked", p.Port))
		}
	}
	if of.Authorization != nil {
		checkTCP(r, of.Authorization, ports)
	}
}

// checkTCP looks for rules that ask what only HTTP has, where something else is spoken.
func checkTCP(r *derive.Reader, p *model.AuthorizationPolicy, ports []model.InboundPort) {
	bytes := slices.DeleteFunc(slices.Clone(ports), func(p model.InboundPort) bool {
		return p.Protocol != model.ProtocolTCP && p.Protocol != model.ProtocolTLS
	})
	if len(bytes) == 0 {
		return
	}
	for i := range p.Rules {
		rule := &p.Rules[i]
		switch {
		case !rule.HTTP():
		case p.Action == model.AuthorizationDeny && rule.OnlyHTTP():
			report(r, rule.Origin, finding.Warning, "denies-tcp", fmt.Sprintf("it asks only for what HTTP has: every connection to port %d, where HTTP is not spoken, is denied", bytes[0].Port))
		case p.Action == model.AuthorizationAllow && len(bytes) == len(ports):
			report(r, rule.Origin, finding.Warning, "no-effect", fmt.Sprintf("it asks for what only HTTP has, which is not spoken at port %d: it never matches", bytes[0].Port))
		}
	}
}
