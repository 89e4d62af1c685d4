package compose

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// clusterOf says how a destination is reached.
func (e *Edge) clusterOf(r *derive.Reader, k ClusterKey) *model.Cluster {
	if shared := e.Shared(r, k); shared != k {
		return e.Clusters.Get(r, shared)
	}
	h := e.hosts.Get(r, hostKey{k.From, k.Host})
	if h == nil {
		return nil
	}
	port, ok := h.port(k.Port)
	if !ok {
		return nil
	}
	c := &model.Cluster{Destination: k.Destination, Host: h.service, ByDNS: h.byDNS, Service: h.origin, HTTP2: port.protocol == model.ProtocolHTTP2, Protocol: port.protocol}
	rule := e.policies.Get(r, k.clients())
	subset := subsetOf(rule, k.Subset)
	if k.Subset != "" && subset == nil {
		return nil
	}
	if h.byDNS {
		c.Names = e.namesOf(r, h, k, port, subset)
	}
	if rule != nil {
		c.Rule = rule.Origin
		c.Policy = policyFor(rule.Policy, rule.Ports, k.Port)
	}
	if subset != nil {
		c.Rule = subset.Origin
		if i := slices.IndexFunc(subset.Ports, func(p model.PortPolicy) bool { return p.Port == k.Port }); i >= 0 {
			c.Policy = subset.Ports[i].Policy
		} else {
			c.Policy = subset.Policy.Over(c.Policy)
		}
	}
	if h.entry != nil && h.entry.Resolution == model.ResolveNone {
		c.Policy.LoadBalancer = &model.LoadBalancer{Balance: model.Passthrough} // only sidecars can be led there: they know where the client wants to go
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
	case t.Mode != model.TLSDisable && len(t.SANs) == 0 && !t.Insecure:
		with := *t
		with.SANs = e.serversOf(r, h, k, t.Mode)
		c.Policy.TLS = &with
	}
	return c
}

// serversOf gives the names of which a server's certificate must have one, where the rule for the host says none; nil if nobody says any. By the mesh's
// TLS it may be the workloads' own identities too.
func (e *Edge) serversOf(r *derive.Reader, h *host, k ClusterKey, mode model.ClientTLSMode) (out []string) {
	if h.entry != nil {
		out = slices.Clone(h.entry.SANs)
	}
	if mode != model.TLSMesh {
		return out
	}
	out = append(out, e.identities.Get(r, hostKey{k.From, k.Host})...)
	for _, w := range e.declared(r, h, "") {
		if w.ServiceAccount != "" {
			out = append(out, e.identity(w.Origin.Namespace, w.ServiceAccount))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// namesOf lists what is resolved to find the endpoints of a host: what is declared for it, or else its own name.
func (e *Edge) namesOf(r *derive.Reader, h *host, k ClusterKey, port hostPort, subset *model.Subset) (out []model.NamedEndpoint) {
	switch {
	case h.entry == nil:
		return []model.NamedEndpoint{{Host: h.alias, Port: k.Port}}
	case len(h.entry.Endpoints) == 0 && h.entry.Selector == "":
		if subset != nil && subset.Labels != "" { // the host itself has no labels
			return nil
		}
		return []model.NamedEndpoint{{Host: k.Host, Port: port.target}}
	}
	var labels model.Labels
	if subset != nil {
		labels = subset.Labels
	}
	for _, w := range e.declared(r, h, labels) {
		one := model.NamedEndpoint{Host: w.Host, Port: w.PortFor(port.name, port.target), Weight: w.Weight}
		if w.Addr.IsValid() {
			one.Host = w.Addr.String()
		}
		out = append(out, one)
	}
	slices.SortStableFunc(out, func(a, b model.NamedEndpoint) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	return slices.CompactFunc(out, func(a, b model.NamedEndpoint) bool { return a.Host == b.Host && a.Port == b.Port })
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
	if shared := e.Shared(r, k); shared != k {
		return e.Endpoints.Get(r, shared)
	}
	h := e.hosts.Get(r, hostKey{k.From, k.Host})
	if h == nil || h.byDNS {
		return nil
	}
	port, ok := h.port(k.Port)
	if !ok {
		return nil
	}
	var labels model.Labels
	if k.Subset != "" {
		s := subsetOf(e.policies.Get(r, k.clients()), k.Subset)
		if s == nil {
			return nil
		}
		labels = s.Labels
	}
	out := &model.ClusterEndpoints{Destination: k.Destination}
	if h.entry != nil {
		out.Endpoints = e.declaredEndpoints(r, h, port, labels)
	} else {
		out.Endpoints = e.serviceEndpoints(r, h, port, labels)
	}
	slices.SortFunc(out.Endpoints, func(a, b model.ClusterEndpoint) int { return a.Compare(b.Endpoint) })
	out.Endpoints = slices.CompactFunc(out.Endpoints, func(a, b model.ClusterEndpoint) bool { return a.AddrPort == b.AddrPort })
	return out
}

func sameEndpoints(a, b *model.ClusterEndpoints) bool {
	return a == b || a != nil && b != nil && a.Destination == b.Destination && slices.Equal(a.Endpoints, b.Endpoints)
}

func (e *Edge) serviceEndpoints(r *derive.Reader, h *host, port hostPort, labels model.Labels) (out []model.ClusterEndpoint) {
	s := h.service
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
	out = append(out, e.declaredEndpoints(r, h, port, labels)...)
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

// declared lists the endpoints of a host that are declared one by one and have these labels.
func (e *Edge) declared(r *derive.Reader, h *host, labels model.Labels) (out []*model.EntryEndpoint) {
	add := func(w *model.EntryEndpoint) {
		if w.Labels.Match(labels) {
			out = append(out, w)
		}
	}
	if h.entry != nil {
		for i := range h.entry.Endpoints {
			add(&h.entry.Endpoints[i])
		}
	}
	if e.o.Workloads == nil {
		return out
	}
	namespace, selector := h.service.Namespace, model.Labels("")
	if h.entry != nil {
		namespace, selector = h.entry.Origin.Namespace, h.entry.Selector
	} else {
		selector = e.m.Selectors.Get(r, store.Key(h.service))
	}
	for _, w := range e.o.Workloads(r, namespace, selector) {
		add(w)
	}
	return out
}

// declaredEndpoints are those of them whose address is known.
func (e *Edge) declaredEndpoints(r *derive.Reader, h *host, port hostPort, labels model.Labels) (out []model.ClusterEndpoint) {
	for _, w := range e.declared(r, h, labels) {
		if !w.Addr.IsValid() {
			report(r, w.Origin, finding.Warning, "no-address", fmt.Sprintf("%v needs addresses, and %s is a name; it is left out there", h.origin, w.Host))
			continue
		}
		out = append(out, model.ClusterEndpoint{Weight: w.Weight, Endpoint: model.Endpoint{
			AddrPort: netip.AddrPortFrom(w.Addr, w.PortFor(port.name, port.target)), Workload: w.Name.Name, Ready: true, Serving: true, Origin: w.Origin,
		}})
	}
	return out
}

// clusterKeysOf collects where a fleet's routes lead.
func (e *Edge) clusterKeysOf(r *derive.Reader, f model.Fleet) (out []ClusterKey) {
	seen := map[ClusterKey]bool{}
	add := func(d model.Destination) {
		d.PortName = ""
		k := ClusterKey{From: f.Namespace, Destination: d}
		if d.Port == 0 || seen[k] {
			return
		}
		seen[k] = true
		k.Labels = f.Labels
		k = e.Shared(r, k)
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
