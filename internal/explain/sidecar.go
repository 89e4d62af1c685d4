package explain

import (
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/model"
)

// FromPod is who asks for something in the mesh.
type FromPod struct {
	Pod    *model.Workload
	Domain string // the cluster's, as in "cluster.local"
	Trust  string // the mesh's trust domain, as in "cluster.local"

	// Named gives a Pod by its name; nil if there is none. Without it nobody is asked what they make of the request.
	Named func(model.ObjectName) *model.Workload
}

// RequestFrom follows an HTTP request that a Pod makes through the model, as its sidecar leads it. The question's Fleet counts for nothing.
func RequestFrom(m *compose.Mesh, e *compose.Edge, from FromPod, q RequestQuestion) (Trail, Decision) {
	q.Fleet = model.Fleet{Namespace: from.Pod.Name.Namespace, Labels: from.Pod.Labels}
	r := &request{e: e, q: q, t: &Trail{Question: q.Method + " " + q.URL + " from " + from.Pod.Origin.String()}}
	if err := r.read(); err != nil {
		r.d.Kind = None
		return r.t.answer("this is no request: %v", err), r.d
	}
	if !from.Pod.Injected {
		r.t.reject("sidecar", from.Pod.Origin, "the Pod has none")
		r.d.Kind = None
		return r.t.answer("the request leaves the Pod as it is: only a sidecar knows the mesh; weft explain tcp says where the connection goes"), r.d
	}
	r.t.step("sidecar", from.Pod.Origin, "takes the Pod's outgoing connections")
	h := r.meshHost(m.Hosts.Read(r.q.Fleet.Namespace), from.Domain)
	if h == nil {
		r.d.Kind = None
		return r.t.answer("the mesh does not know %s: the request goes where the client wants to go, or is refused if unknown destinations are", r.host), r.d
	}
	r.t.step("host", h.Origin, "%s is %s", r.host, h.Host)
	i := slices.IndexFunc(h.Ports, func(p model.MeshPort) bool { return p.Port == r.port })
	switch {
	case i < 0 && len(h.Ports) > 0:
		r.t.reject("port", h.Origin, "has no port %d", r.port)
		r.d.Kind = None
		return r.t.answer("%s has no port %d: the request goes where the client wants to go", h.Host, r.port), r.d
	case i >= 0:
		r.t.step("port", h.Origin, "%d speaks %s", r.port, h.Ports[i].Protocol)
		if p := h.Ports[i].Protocol; p == model.ProtocolTCP || p == model.ProtocolTLS || r.encrypted && p == model.ProtocolAuto {
			sni := ""
			if r.encrypted {
				r.t.step("tls", from.Pod.Origin, "the application speaks it itself: the sidecar does not look inside")
				sni = r.host
			}
			r.connection(m, from, h, h.Ports[i].Protocol, sni)
			return *r.t, r.d
		}
	}
	if r.encrypted {
		r.d.Kind = None
		return r.t.answer("the application speaks TLS itself: the sidecar does not look inside"), r.d
	}
	labels := compose.SidecarLabels(from.Pod.Labels)
	r.routes(m.Tables.Read(compose.MeshTableKey{Namespace: r.q.Fleet.Namespace, Labels: labels, Port: r.port, Host: h.Host}))
	r.judged(m, from)
	return *r.t, r.d
}

// meshHost finds the host that a request names: by one of its names, or by a wildcard that stands for it.
func (r *request) meshHost(hosts []*model.MeshHost, domain string) *model.MeshHost {
	name := strings.TrimSuffix(r.host, ".")
	var best *model.MeshHost
	rank := -1
	for _, h := range hosts {
		if n := specificity(h.Names(r.q.Fleet.Namespace, domain), name); n > rank {
			best, rank = h, n
		}
	}
	return best
}

// routes follows the routes of a host at a port.
func (r *request) routes(table *model.RouteTable) {
	if table == nil || len(table.Hosts) == 0 {
		r.respond(404, "")
		r.t.answer("404: there are no routes for %s", r.host)
		return
	}
	r.rules(table.Hosts[0], r.host+" at port "+strconv.Itoa(int(r.port)))
}
