package compose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

// inTheMesh is the gateway that stands for sidecars.
var inTheMesh = model.GatewayName{Kind: model.Mesh}

// unaddressed tells whether the clients of an entry find it by nothing but its ports, and its name where TLS says one.
func unaddressed(entry *model.HostEntry) bool { return entry != nil && len(entry.Addresses) == 0 }

// ruled tells whether anything is said of connections to a host that is known by name or address.
func (m *Mesh) ruled(r *derive.Reader, h *model.MeshHost) bool {
	return len(m.connectionSets(r, h.Host)) > 0
}

// connectionSets gives what is said of connections to a host, in any order: by its name, by a wildcard around it, and if it is a wildcard itself of hosts in it.
func (m *Mesh) connectionSets(r *derive.Reader, host string) []*model.RouteSet {
	if m.o.ConnectionsFor == nil {
		return nil
	}
	if !strings.HasPrefix(host, "*") {
		return append(slices.Clip(m.o.ConnectionsFor(r, host)), m.above.Get(r, around(host))...)
	}
	out := slices.Clone(m.above.Get(r, host))
	if m.o.AllRoutes == nil || m.o.Routes == nil {
		return out
	}
	for _, k := range m.o.AllRoutes(r) {
		if set := m.o.Routes(r, k); set != nil && len(set.TCP)+len(set.TLS) > 0 && slices.Contains(set.Gateways, inTheMesh) &&
			slices.ContainsFunc(set.Hosts, func(of string) bool { return contains(host, of) }) {
			out = append(out, set)
		}
	}
	return out
}

func (m *Mesh) aboveOf(r *derive.Reader, wildcard string) []*model.RouteSet {
	out := m.o.ConnectionsFor(r, wildcard)
	if wildcard != "*" {
		out = append(slices.Clip(out), m.above.Get(r, around(wildcard))...)
	}
	return out
}

// around is the closest wildcard around a host or a wildcard.
func around(host string) string {
	_, rest, more := strings.Cut(strings.TrimPrefix(host, "*."), ".")
	if !more {
		return "*"
	}
	return "*." + rest
}

// connectionSetsFor gives what is said to the sidecars of a namespace of connections to a host, in the order of [before].
func (m *Mesh) connectionSetsFor(r *derive.Reader, host, namespace string) (out []*model.RouteSet) {
	for _, set := range m.connectionSets(r, host) {
		if visible(set.Exported, namespace) && !slices.Contains(out, set) {
			out = append(out, set)
		}
	}
	slices.SortStableFunc(out, func(a, b *model.RouteSet) int { return before(a, b, namespace) })
	return out
}

// AsksForClients tells whether what is said of connections to a host depends on the labels of the clients in a namespace.
func (m *Mesh) AsksForClients(r *derive.Reader, host, namespace string) bool {
	return slices.ContainsFunc(m.Said.Get(r, ClientsOf{namespace, host}), asksForLabelsOfClients)
}

// ledOf lists where rules may lead the connections of some clients of a namespace.
func (m *Mesh) ledOf(r *derive.Reader, k MeshTableKey) (out []model.Destination) {
	for _, set := range m.Said.Get(r, ClientsOf{k.Namespace, k.Host}) {
		for _, rule := range slices.Concat(set.TCP, set.TLS) {
			if len(rule.Matches) > 0 && !slices.ContainsFunc(rule.Matches, func(m model.L4Match) bool {
				m.SourceLabels = ""
				return ConnectionMatch(&m, k) == ""
			}) {
				continue
			}
			for _, to := range rule.To {
				if d := m.e.lead(r, resolveKey{k.Namespace, true, k.Port, to.Destination}, to.Origin); d.Port != 0 && !slices.Contains(out, d) {
					out = append(out, d)
				}
			}
		}
	}
	return out
}

// connectionsOf puts together the rules for connections to a host at a port.
func (m *Mesh) connectionsOf(r *derive.Reader, k MeshTableKey) []model.ConnectionRule {
	sets := m.Said.Get(r, ClientsOf{k.Namespace, k.Host})
	if k.Labels != "" && !slices.ContainsFunc(sets, asksForLabelsOfClients) {
		k.Labels = ""
		return m.Connections.Get(r, k) // shared by all clients of the namespace
	}
	h := m.e.hosts.Get(r, hostKey{k.Namespace, k.Host})
	if h == nil {
		return nil
	}
	port, ok := h.port(k.Port)
	if !ok {
		return nil
	}
	c := connectionRules{m: m, r: r, k: k, h: h}
	if h.entry != nil && !slices.ContainsFunc(h.entry.Addresses, netip.Prefix.IsSingleIP) {
		c.own = h.entry.Addresses
	}
	switch port.protocol {
	case model.ProtocolTLS:
		c.tls(sets)
	case model.ProtocolTCP, model.ProtocolAuto:
		c.tcp(sets)
	}
	return c.out
}

// connectionRules gathers the rules of a host at a port in the eyes of some clients.
type connectionRules struct {
	m   *Mesh
	r   *derive.Reader
	k   MeshTableKey
	h   *host
	own []netip.Prefix // the ranges by which the host is known, if it has no address
	out []model.ConnectionRule
}

// holds tells whether a condition can hold for these clients at this port.
func (c *connectionRules) holds(m *model.L4Match) bool { return ConnectionMatch(m, c.k) == "" }

// ConnectionMatch tells what keeps a condition from holding for clients at a port, "" if nothing does. Where a connection goes, and which name it begins TLS
// with, is not looked at.
func ConnectionMatch(m *model.L4Match, k MeshTableKey) string {
	switch {
	case m.Port != 0 && m.Port != k.Port:
		return fmt.Sprintf("port %d is not %d", k.Port, m.Port)
	case m.Gateways != nil && !slices.Contains(m.Gateways, inTheMesh):
		return "it is for gateways"
	case m.SourceNamespace != "" && m.SourceNamespace != k.Namespace:
		return fmt.Sprintf("the client's namespace %s is not %s", k.Namespace, m.SourceNamespace)
	case !k.Labels.Match(m.SourceLabels):
		return fmt.Sprintf("the client has no labels %s", m.SourceLabels)
	}
	return ""
}

// tls takes rules by SNI. Where there are any, names that they do not say are left alone.
func (c *connectionRules) tls(sets []*model.RouteSet) {
	said := map[string]bool{}
	for _, set := range sets {
		for i := range set.TLS {
			rule := &set.TLS[i]
			for j := range rule.Matches {
				match := &rule.Matches[j]
				what := fmt.Sprint(match.SNI, match.Subnets)
				if !c.holds(match) || said[what] {
					continue
				}
				said[what] = true
				names := match.SNI
				if slices.Contains(names, "*") {
					names = nil
				}
				c.add(match.Subnets, names, rule.To, rule.Origin)
			}
		}
	}
	if len(c.out) == 0 && unaddressed(c.h.entry) {
		c.add(nil, []string{c.k.Host}, c.itself(), c.h.origin)
	}
}

// tcp takes rules up to the first that asks for no addresses. Without such a one the rest goes to the host itself.
func (c *connectionRules) tcp(sets []*model.RouteSet) {
	for _, set := range sets {
		for i := range set.TCP {
			rule := &set.TCP[i]
			subnets, all := []netip.Prefix(nil), len(rule.Matches) == 0
			for j := range rule.Matches {
				if c.holds(&rule.Matches[j]) {
					subnets, all = append(subnets, rule.Matches[j].Subnets...), all || len(rule.Matches[j].Subnets) == 0
				}
			}
			if all {
				c.add(nil, nil, rule.To, rule.Origin)
				return
			}
			if len(subnets) > 0 {
				c.add(subnets, nil, rule.To, rule.Origin)
			}
		}
	}
	if len(c.out) > 0 || unaddressed(c.h.entry) {
		c.add(nil, nil, c.itself(), c.h.origin)
	}
}

func (c *connectionRules) itself() []model.Weighted {
	return []model.Weighted{{Destination: model.Destination{Host: c.k.Host, Port: c.k.Port}, Origin: c.h.origin}}
}

func (c *connectionRules) add(subnets []netip.Prefix, names []string, to []model.Weighted, at model.Origin) {
	if len(subnets) == 0 {
		subnets = c.own
	}
	to = slices.Clone(to)
	for i := range to {
		to[i].Destination = c.m.e.lead(c.r, resolveKey{c.k.Namespace, true, c.k.Port, to[i].Destination}, to[i].Origin)
	}
	c.out = append(c.out, model.ConnectionRule{Subnets: subnets, SNI: names, To: to, Origin: at})
}

func asksForLabelsOfClients(s *model.RouteSet) bool {
	asks := func(rule model.L4Route) bool {
		return slices.ContainsFunc(rule.Matches, func(m model.L4Match) bool { return m.SourceLabels != "" })
	}
	return slices.ContainsFunc(s.TCP, asks) || slices.ContainsFunc(s.TLS, asks)
}
