package compose

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// clusterOf says how a destination is reached.
func (e *Edge) clusterOf(r *derive.Reader, k ClusterKey) *model.Cluster {
	h := e.hosts.Get(r, hostKey{k.From, k.Host})
	if h == nil {
		return nil
	}
	port, ok := h.port(k.Port)
	if !ok {
		return nil
	}
	c := &model.Cluster{Destination: k.Destination, Host: h.service, DNS: h.dns, Service: h.origin, HTTP2: port.protocol == model.ProtocolHTTP2, Protocol: port.protocol}
	if h.entry != nil && h.entry.Resolution == model.ResolveNone {
		c.Policy.LoadBalancer = &model.LoadBalancer{Balance: model.Passthrough} // only sidecars can be led there: they know where the client wants to go
		return c
	}
	rule := e.policies.Get(r, hostKey{k.From, k.Host})
	subset := subsetOf(rule, k.Subset)
	if k.Subset != "" && subset == nil {
		return nil
	}
	if rule == nil {
		c.Mesh = e.meshTLS(r, k)
		return c
	}
	c.Rule = rule.Origin
	c.Policy = policyFor(rule.Policy, rule.Ports, k.Port)
	if subset != nil {
		c.Rule = subset.Origin
		if i := slices.IndexFunc(subset.Ports, func(p model.PortPolicy) bool { return p.Port == k.Port }); i >= 0 {
			c.Policy = subset.Ports[i].Policy
		} else {
			c.Policy = subset.Policy.Over(c.Policy)
		}
	}
	if c.Policy.Connections != nil && c.Policy.Connections.HTTP2 == model.HTTP2Always {
		c.HTTP2 = true
	}
	if t := c.Policy.TLS; t != nil && t.Credential != nil && t.Credential.Namespace == "" {
		with := *t
		with.Credential = &model.ObjectName{Namespace: k.From, Name: t.Credential.Name}
		c.Policy.TLS = &with
	}
	switch t := c.Policy.TLS; {
	case t == nil: // otherwise somebody says how it is spoken to
		c.Mesh = e.meshTLS(r, k)
	case t.Mode == model.TLSMesh && len(t.SANs) == 0:
		with := *t
		with.SANs = e.identities.Get(r, hostKey{k.From, k.Host})
		c.Policy.TLS = &with
	}
	return c
}

// policyFor gives what holds for a port: its own policy as a whole, or else the one for all.
func policyFor(all model.TrafficPolicy, ports []model.PortPolicy, port uint16) model.TrafficPolicy {
	for _, p := range ports {
		if p.Port == port {
			return p.Policy
		}
	}
	return all
}

// endpointsOf lists the endpoints of a cluster that take requests: those that are ready, or if none is, those that serve while they end.
func (e *Edge) endpointsOf(r *derive.Reader, k ClusterKey) *model.ClusterEndpoints {
	h := e.hosts.Get(r, hostKey{k.From, k.Host})
	if h == nil || h.dns != "" {
		return nil
	}
	port, ok := h.port(k.Port)
	if !ok {
		return nil
	}
	var labels model.Labels
	if k.Subset != "" {
		s := subsetOf(e.policies.Get(r, hostKey{k.From, k.Host}), k.Subset)
		if s == nil {
			return nil
		}
		labels = s.Labels
	}
	out := &model.ClusterEndpoints{Destination: k.Destination}
	if h.entry != nil {
		out.Endpoints = e.entryEndpoints(r, h.entry, port, labels)
	} else {
		out.Endpoints = e.serviceEndpoints(r, h.service, port, labels)
	}
	slices.SortFunc(out.Endpoints, func(a, b model.ClusterEndpoint) int { return a.Compare(b.Endpoint) })
	out.Endpoints = slices.CompactFunc(out.Endpoints, func(a, b model.ClusterEndpoint) bool { return a.AddrPort == b.AddrPort })
	return out
}

func sameEndpoints(a, b *model.ClusterEndpoints) bool {
	return a == b || a != nil && b != nil && a.Destination == b.Destination && slices.Equal(a.Endpoints, b.Endpoints)
}

func (e *Edge) serviceEndpoints(r *derive.Reader, s model.ServiceName, port hostPort, labels model.Labels) (out []model.ClusterEndpoint) {
	var ending []model.ClusterEndpoint
	for _, ep := range e.m.Endpoints.Get(r, store.Key(s)).Of(port.name, model.TCP) {
		if ep.AddrPort.Port() == 0 || !ep.Ready && !(ep.Terminating && ep.Serving) {
			continue
		}
		w := e.pod(r, s.Namespace, ep.Workload)
		if labels != "" && (w == nil || !w.Labels.Match(labels)) { // an endpoint that is no Pod has no labels
			continue
		}
		one := model.ClusterEndpoint{Endpoint: ep}
		if w != nil {
			one.Owner, one.MeshTLS = w.Owned(), e.takesMeshTLS(r, w, ep.AddrPort.Port())
		}
		if ep.Ready {
			out = append(out, one)
		} else {
			ending = append(ending, one)
		}
	}
	if e.o.Workloads != nil {
		target := port.number
		if n, err := strconv.ParseUint(port.target, 10, 16); err == nil && n != 0 {
			target = uint16(n)
		}
		for _, w := range e.o.Workloads(r, s.Namespace, e.m.Selectors.Get(r, store.Key(s))) {
			if ep, ok := entryEndpoint(w, port.name, target); ok && w.Labels.Match(labels) {
				out = append(out, ep)
			}
		}
	}
	if len(out) == 0 {
		return ending
	}
	return out
}

// pod gives what runs in a Pod; nil if nobody knows.
func (e *Edge) pod(r *derive.Reader, namespace, name string) *model.Workload {
	if name == "" || e.o.Pod == nil {
		return nil
	}
	return e.o.Pod(r, model.ObjectName{Namespace: namespace, Name: name})
}

func (e *Edge) entryEndpoints(r *derive.Reader, entry *model.HostEntry, port hostPort, labels model.Labels) (out []model.ClusterEndpoint) {
	target := port.number
	for _, p := range entry.Ports {
		if p.Port == port.number && p.Target != 0 {
			target = p.Target
		}
	}
	add := func(w *model.EntryEndpoint) {
		if ep, ok := entryEndpoint(w, port.name, target); ok && w.Labels.Match(labels) {
			out = append(out, ep)
		}
	}
	for i := range entry.Endpoints {
		add(&entry.Endpoints[i])
	}
	if entry.Selector == "" {
		return out
	}
	if e.o.Workloads != nil {
		for _, w := range e.o.Workloads(r, entry.Origin.Namespace, entry.Selector) {
			add(w)
		}
	}
	return out
}

func entryEndpoint(w *model.EntryEndpoint, name string, target uint16) (model.ClusterEndpoint, bool) {
	return model.ClusterEndpoint{Endpoint: model.Endpoint{
		AddrPort: netip.AddrPortFrom(w.Addr, w.PortFor(name, target)), Workload: w.Name.Name, Ready: true, Serving: true, Origin: w.Origin,
	}}, w.Addr.IsValid()
}

// clusterKeysOf collects where a fleet's routes lead.
func (e *Edge) clusterKeysOf(r *derive.Reader, f model.Fleet) (out []ClusterKey) {
	seen := map[ClusterKey]bool{}
	add := func(d model.Destination) {
		d.PortName = ""
		k := ClusterKey{f.Namespace, d}
		if d.Port == 0 || seen[k] {
			return
		}
		seen[k] = true
		if e.exists(r, k) {
			out = append(out, k)
		}
	}
	listeners := e.Listeners.Get(r, f)
	for i := range listeners {
		for j := range listeners[i].Chains {
			for _, to := range listeners[i].Chains[j].To {
				add(to.Destination)
			}
		}
	}
	for _, name := range TableNames(listeners) {
		t := e.Tables.Get(r, TableKey{f, name})
		if t == nil {
			continue
		}
		for _, h := range t.Hosts {
			for i := range h.Routes {
				for _, to := range h.Routes[i].To {
					add(to.Destination)
				}
				for _, m := range h.Routes[i].Mirrors {
					add(m.Destination)
				}
			}
		}
	}
	slices.SortFunc(out, ClusterKey.Compare)
	return out
}

// exists tells whether a cluster does, without depending on what is said of it.
func (e *Edge) exists(r *derive.Reader, k ClusterKey) bool {
	res := e.resolved.Get(r, resolveKey{From: k.From, Destination: k.Destination})
	return res.code == "" || res.doubt
}
