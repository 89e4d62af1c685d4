package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
	"github.com/weftmesh/weft/internal/store"
)

// through follows a connection to a Service with addresses of its own.
func through(m *compose.Model, q Question, svc *model.Service, addr netip.Addr, t *Trail) Trail {
	if svc.Unproxied {
		t.reject("service", svc.Origin.At("metadata.labels"), "the Service is labelled as another proxy's, or as headless")
		return t.answer("weft leaves the connection alone")
	}
	nodePort := q.Host == ""
	at := slices.IndexFunc(svc.Ports, func(p model.Port) bool {
		return p.Protocol == q.Protocol && (p.Port == q.Port && !nodePort || p.NodePort == q.Port && nodePort)
	})
	if at < 0 {
		t.reject("port", svc.Origin.At("spec.ports"), "the Service has %s", ports(svc))
		return t.answer("refused at once: %s has no port %v %d", svc.Origin, q.Protocol, q.Port)
	}
	port := svc.Ports[at]
	t.step("port", port.Origin, "port %d leads to targetPort %s", port.Port, port.Target)

	eps := m.Endpoints.Read(store.Key(svc.Name))
	here := plan.Here{Node: q.Node}
	if n := m.Nodes.Read(store.Key{Name: q.Node}); n != nil {
		here.Zone = n.Zone
	}
	planned := plan.Of(svc, eps, here)
	var front *plan.Frontend
	for _, f := range planned.Frontends {
		if f.PortName != port.Name || f.Protocol != port.Protocol || f.NodePort() != nodePort {
			continue
		}
		if addr.IsValid() && f.Addr == addr || !addr.IsValid() && (nodePort || f.Kind == plan.ClusterIP) {
			front = f
			break
		}
	}
	if front == nil {
		t.reject("address", svc.Origin, "nothing is carried at %v for this Service", Place(addr, q.Protocol, q.Port))
		return t.answer("not carried: see the findings of %s", svc.Origin)
	}
	t.Frontend, t.Found = front.Key, true
	if !nodePort {
		t.step("address", svc.Origin, "%s %v", front.Kind, front.Addr)
	}
	chosen, empty := policy(q, svc, front, t)
	list(eps, port, front.Family, chosen, q.Node, t)
	if len(chosen) == 0 {
		if empty == plan.Drop {
			return t.answer("dropped: the traffic policy allows only endpoints of node %s, and there is none", q.Node)
		}
		return t.answer("refused at once: no endpoint is ready")
	}
	return t.answer("goes to one of %d endpoints: %s", len(chosen), join(chosen))
}

// policy names the fields that choose among endpoints, and gives those that are left.
func policy(q Question, svc *model.Service, f *plan.Frontend, t *Trail) ([]netip.AddrPort, plan.Verdict) {
	if f.SourceRanges != nil {
		t.step("policy", svc.Origin.At("spec.loadBalancerSourceRanges"), "only clients in %v", f.SourceRanges)
	}
	if f.Affinity > 0 {
		t.step("policy", svc.Origin.At("spec.sessionAffinity"), "a client address keeps its endpoint for %v after its last new connection", f.Affinity)
	}
	if f.Kind == plan.ClusterIP {
		if svc.InternalLocal {
			t.step("policy", svc.Origin.At("spec.internalTrafficPolicy"), "Local: only endpoints on node %s", q.Node)
		}
		return f.Endpoints, f.OnEmpty
	}
	switch {
	case !f.ExternalLocal:
		if q.Outside {
			t.step("policy", svc.Origin.At("spec.externalTrafficPolicy"), "Cluster: any endpoint, which sees the node's address as the client's")
		}
	case q.Outside:
		t.step("policy", svc.Origin.At("spec.externalTrafficPolicy"), "Local: only endpoints on node %s, which see the client's own address", q.Node)
		return f.Local, f.OnEmptyLocal
	default:
		t.step("policy", svc.Origin.At("spec.externalTrafficPolicy"), "Local, which does not bind clients inside the cluster")
	}
	return f.Endpoints, f.OnEmpty
}

// list shows every endpoint of the port and family, and why those that are not used are not.
func list(eps *model.Endpoints, port model.Port, family plan.Family, chosen []netip.AddrPort, node string, t *Trail) {
	for _, e := range eps.Of(port.Name, port.Protocol) {
		if plan.FamilyOf(e.AddrPort.Addr()) != family {
			continue
		}
		text := e.AddrPort.String()
		if e.Workload != "" {
			text += " Pod " + e.Workload
		}
		if e.Node != "" {
			text += " on " + e.Node
		}
		if slices.Contains(chosen, e.AddrPort) {
			if !e.Ready {
				text += ", terminating, used because none is ready"
			}
			t.step("endpoint", e.Origin, "%s", text)
			continue
		}
		t.reject("endpoint", e.Origin, "%s: %s", text, unused(e, node))
	}
}

func unused(e model.Endpoint, node string) string {
	switch {
	case e.AddrPort.Port() == 0:
		return "has no port"
	case e.Ready && (e.HintNodes != "" || e.HintZones != ""):
		return "hinted for clients of " + strings.Trim(e.HintNodes+","+e.HintZones, ",")
	case e.Ready && e.Node != node:
		return "not on node " + node
	case e.Terminating && e.Serving:
		return "terminating"
	case e.Terminating:
		return "terminating and not serving"
	}
	return "not ready"
}

// headless follows a connection to a Service whose name leads to its endpoints.
func headless(m *compose.Model, q Question, svc *model.Service, t *Trail) Trail {
	t.step("service", svc.Origin.At("spec.clusterIP"), "headless: DNS answers with the endpoints' addresses, and the client dials them itself")
	var ready []string
	seen := map[netip.Addr]bool{}
	if eps := m.Endpoints.Read(store.Key(svc.Name)); eps != nil {
		for _, p := range eps.Ports {
			for _, e := range p.Endpoints {
				if seen[e.AddrPort.Addr()] {
					continue
				}
				seen[e.AddrPort.Addr()] = true
				if e.Ready || svc.PublishNotReady {
					t.step("endpoint", e.Origin, "%v", e.AddrPort.Addr())
					ready = append(ready, e.AddrPort.Addr().String())
				} else {
					t.reject("endpoint", e.Origin, "%v: %s", e.AddrPort.Addr(), unused(e, e.Node))
				}
			}
		}
	}
	if len(ready) == 0 {
		return t.answer("no endpoint is ready: the name has no address")
	}
	return t.answer("the client connects to port %d of one of %s", q.Port, strings.Join(ready, ", "))
}

func ports(svc *model.Service) string {
	var out []string
	for _, p := range svc.Ports {
		s := fmt.Sprintf("%v %d", p.Protocol, p.Port)
		if p.NodePort != 0 {
			s += fmt.Sprintf(" (node port %d)", p.NodePort)
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return "no ports"
	}
	return strings.Join(out, ", ")
}

func join(list []netip.AddrPort) string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}
