package explain

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/model"
)

// JudgedWorkload is what the proxy of a workload that a request may reach makes of it. Workloads that ask for the same are judged once.
type JudgedWorkload struct {
	Workload string `json:"workload"` // the first of them
	Port     uint16 `json:"port"`
	Allowed  bool   `json:"allowed"`
	Reason   string `json:"reason"`
	Rule     string `json:"rule,omitempty"` // the origin of what decided
}

// judged asks the workloads that the request may reach what they make of it.
func (r *request) judged(m *compose.Mesh, from FromPod) {
	if from.Named == nil {
		return
	}
	seen := map[string]bool{}
	for _, d := range r.d.Destinations {
		k := compose.ClusterKey{From: r.q.Fleet.Namespace, Destination: model.Destination{Host: d.Host, Port: d.Port, Subset: d.Subset}, Labels: r.q.Fleet.Labels}
		c, ends := r.e.Clusters.Read(k), r.e.Endpoints.Read(k)
		if c == nil || ends == nil {
			continue
		}
		for i := range ends.Endpoints {
			e := &ends.Endpoints[i]
			pod := from.Named(model.ObjectName{Namespace: c.Host.Namespace, Name: e.Workload})
			if pod == nil || !pod.Injected {
				continue
			}
			shape := model.Sidecar{Namespace: pod.Name.Namespace, Labels: compose.SidecarLabels(pod.Labels), ServiceAccount: pod.ServiceAccount, Ports: pod.Ports}
			if key := fmt.Sprint(shape, e.AddrPort.Port()); !seen[key] {
				seen[key] = true
				r.judge(m.Inbound.Read(shape), pod, e, c.Mesh != nil && e.MeshTLS, from)
			}
		}
	}
	var refused []string
	for _, j := range r.d.Judged {
		if !j.Allowed {
			refused = append(refused, j.Workload+": "+j.Reason)
		}
	}
	if len(refused) > 0 {
		r.t.answer("%s; not let in by %s", r.t.Answer, strings.Join(refused, "; "))
	}
}

// judge adds what one workload makes of the request.
func (r *request) judge(in *model.Inbound, pod *model.Workload, e *model.ClusterEndpoint, mutual bool, from FromPod) {
	port := e.AddrPort.Port()
	r.t.step("workload", pod.Origin, "its proxy judges what comes to port %d", port)
	j := Admit(r.t, in.Peers, port, mutual)
	if j.Allowed {
		for _, a := range in.Guard.Authentications {
			r.t.step("token", a.Origin, "a token is believed by %d rules; what follows is of a request without one", len(a.Rules))
		}
		approach := Approach{To: e.AddrPort}
		if mutual {
			approach.Principal = from.Trust + "/ns/" + from.Pod.Name.Namespace + "/sa/" + from.Pod.ServiceAccount
		}
		if speaksHTTP(in, port) {
			path, _, _ := strings.Cut(r.d.Path, "?")
			q := &ApproachingRequest{Method: r.d.Method, Host: r.d.Authority, Path: path, Headers: map[string][]string{}}
			for name, value := range r.headers {
				q.Headers[name] = []string{value}
			}
			approach.Request = q
		}
		j = Authorize(r.t, in.Guard.Authorizations, approach)
	}
	out := JudgedWorkload{Workload: pod.Name.String(), Port: port, Allowed: j.Allowed, Reason: j.Reason}
	if j.Rule != (model.Origin{}) {
		out.Rule = j.Rule.String()
	}
	r.d.Judged = append(r.d.Judged, out)
}

// speaksHTTP tells whether the proxy of a workload looks at the requests that come to a port.
func speaksHTTP(in *model.Inbound, port uint16) bool {
	for _, p := range in.Ports {
		if p.Port == port {
			return p.Protocol != model.ProtocolTCP && p.Protocol != model.ProtocolTLS
		}
	}
	return true
}
