package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/model"
)

// ConnectionQuestion is a connection that a Pod with a sidecar opens.
type ConnectionQuestion struct {
	Host string // a name as the client writes it, or an address
	Port uint16
	SNI  string // the name that the client begins TLS with; "": no TLS
}

// String reads "tcp db:5432".
func (q ConnectionQuestion) String() string {
	s := "tcp " + q.Host + ":" + strconv.Itoa(int(q.Port))
	if q.SNI != "" {
		s += " with TLS for " + q.SNI
	}
	return s
}

// ConnectionFrom follows a connection that a Pod opens through the model, as its sidecar leads it if it is carried as bytes.
func ConnectionFrom(m *compose.Mesh, e *compose.Edge, from FromPod, q ConnectionQuestion) (Trail, Decision) {
	r := &request{e: e, t: &Trail{Question: q.String() + " from " + from.Pod.Origin.String()}, port: q.Port, host: strings.ToLower(strings.Trim(q.Host, "[]"))}
	r.q.Fleet = model.Fleet{Namespace: from.Pod.Name.Namespace, Labels: from.Pod.Labels}
	r.d.Kind = None
	r.t.step("sidecar", from.Pod.Origin, "takes the Pod's outgoing connections")
	h := r.meshHost(m.Hosts.Read(r.q.Fleet.Namespace), from.Domain)
	if h == nil {
		return r.t.answer("the mesh does not know %s: the connection goes where the client wants to go, or is refused if unknown destinations are", q.Host), r.d
	}
	r.t.step("host", h.Origin, "%s is %s", q.Host, h.Host)
	i := slices.IndexFunc(h.Ports, func(p model.MeshPort) bool { return p.Port == q.Port })
	if i < 0 {
		r.t.reject("port", h.Origin, "has no port %d", q.Port)
		return r.t.answer("%s has no port %d: the connection goes where the client wants to go", h.Host, q.Port), r.d
	}
	r.t.step("port", h.Origin, "%d speaks %s", q.Port, h.Ports[i].Protocol)
	switch h.Ports[i].Protocol {
	case model.ProtocolHTTP, model.ProtocolHTTP2:
		return r.t.answer("each request goes its own way: weft explain GET http://%s:%d/ --from %v says which", q.Host, q.Port, from.Pod.Name), r.d
	case model.ProtocolAuto:
		r.t.step("protocol", h.Origin, "found out: what follows is of what is not HTTP")
	}
	r.connection(m, from, h, h.Ports[i].Protocol, strings.ToLower(q.SNI))
	return *r.t, r.d
}

// connection follows a connection to a host that is carried as bytes.
func (r *request) connection(m *compose.Mesh, from FromPod, h *model.MeshHost, protocol model.AppProtocol, sni string) {
	k := compose.MeshTableKey{Namespace: r.q.Fleet.Namespace, Labels: compose.SidecarLabels(from.Pod.Labels), Port: r.port, Host: h.Host}
	at, _ := netip.ParseAddr(r.host)
	if !at.IsValid() && len(h.Addresses) > 0 {
		at = h.Addresses[0]
	}
	to := []model.Weighted{{Destination: model.Destination{Host: h.Host, Port: r.port}, Origin: h.Origin}}
	if h.Ruled {
		rules := m.Connections.Read(k)
		rule := model.RuleFor(rules, at, sni)
		r.candidates(m.Said.Read(compose.ClientsOf{Namespace: k.Namespace, Host: h.Host}), k, protocol, rule, at, sni)
		switch {
		case rule != nil:
			to = rule.To
		case len(rules) > 0:
			r.d.Kind = None
			r.t.answer("no rule takes the connection: it goes where the client wants to go, or is refused if unknown destinations are")
			return
		}
	}
	r.d.Kind = Forward
	r.destinations(to)
	if r.conclude(); r.d.Status == 503 {
		r.d.Kind, r.d.Status = None, 0
		r.t.answer("the connection is closed: there is nothing to send it to")
		return
	}
	r.judged(m, from)
}

// candidates says of each rule for connections to a host why it does not take this one, or that it does.
func (r *request) candidates(sets []*model.RouteSet, k compose.MeshTableKey, protocol model.AppProtocol, winner *model.ConnectionRule, at netip.Addr, sni string) {
	for _, set := range sets {
		for _, list := range []struct {
			rules []model.L4Route
			tls   bool
		}{{set.TLS, true}, {set.TCP, false}} {
			for i := range list.rules {
				rule := &list.rules[i]
				if winner != nil && rule.Origin == winner.Origin {
					r.t.step("rule", rule.Origin, "takes the connection")
					r.d.Rule = rule.Origin.String()
					continue
				}
				r.t.reject("rule", rule.Origin, "%s", whyNot(rule, list.tls, k, protocol, at, sni))
			}
		}
	}
	if winner != nil && r.d.Rule == "" {
		r.t.step("rule", winner.Origin, "none takes the connection: it goes to the host itself")
	}
}

// whyNot says what keeps a rule from taking a connection.
func whyNot(rule *model.L4Route, tls bool, k compose.MeshTableKey, protocol model.AppProtocol, at netip.Addr, sni string) string {
	switch {
	case tls && protocol != model.ProtocolTLS:
		return "it is by the name that TLS begins with, and the port is not declared to speak TLS"
	case !tls && protocol == model.ProtocolTLS:
		return "where TLS is declared only rules by its name count"
	}
	why := ""
	for i := range rule.Matches {
		m := &rule.Matches[i]
		fails := compose.ConnectionMatch(m, k)
		switch {
		case fails != "":
		case len(m.SNI) > 0 && specificity(m.SNI, sni) < 0:
			fails = fmt.Sprintf("%q is none of %s", sni, strings.Join(m.SNI, ", "))
		case len(m.Subnets) > 0 && !slices.ContainsFunc(m.Subnets, func(p netip.Prefix) bool { return p.Contains(at) }):
			fails = fmt.Sprintf("%v is in none of %v", at, m.Subnets)
		default:
			return "another rule has the better right"
		}
		if why == "" {
			why = fails
		}
	}
	if why == "" {
		return "another rule has the better right"
	}
	return why
}
