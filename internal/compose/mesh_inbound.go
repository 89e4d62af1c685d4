package compose

import (
	"slices"
	"strconv"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// inboundOf finds the ports of a Pod that Services lead to.
func (m *Mesh) inboundOf(r *derive.Reader, s model.Sidecar) *model.Inbound {
	out := &model.Inbound{Sidecar: s, Guard: m.e.guard(r, s.Namespace, s.Labels)}
	if m.e.o.Peers != nil {
		out.Peers = m.e.o.Peers(r, s.Namespace, s.Labels)
	}
	for _, k := range m.e.m.ServicesIn.Get(r, s.Namespace) {
		selector := m.e.m.Selectors.Get(r, k)
		if selector == "" || !s.Labels.Match(selector) {
			continue
		}
		m.inboundOfService(r, k, out)
	}
	slices.SortFunc(out.Ports, func(a, b model.InboundPort) int { return int(a.Port) - int(b.Port) })
	return out
}

func (m *Mesh) inboundOfService(r *derive.Reader, k store.Key, out *model.Inbound) {
	s := m.e.m.Services.Get(r, k)
	if s == nil {
		return
	}
	for _, p := range s.Ports {
		target := targetOf(&p, out.Sidecar.Ports)
		if p.Protocol != model.TCP || target == 0 {
			continue
		}
		port := model.InboundPort{
			Port: target, Protocol: protocolOf(p.AppProtocol, p.Name), Service: s.Name, Host: s.Name.Name + "." + s.Name.Namespace + ".svc." + m.e.o.Domain, Origin: p.Origin,
		}
		i := slices.IndexFunc(out.Ports, func(o model.InboundPort) bool { return o.Port == target })
		switch {
		case i < 0:
			out.Ports = append(out.Ports, port)
		case out.Ports[i].Protocol == model.ProtocolAuto && port.Protocol != model.ProtocolAuto:
			out.Ports[i] = port // who says more goes first
		}
	}
}

// targetOf gives the number of the Pod's port that a Service's port leads to; 0 if its containers have no port of that name.
func targetOf(p *model.Port, named model.Labels) uint16 {
	target := p.Target
	if target == "" || target == "0" {
		return p.Port
	}
	if v, ok := named.Get(target); ok {
		target = v
	}
	n, err := strconv.ParseUint(target, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}
