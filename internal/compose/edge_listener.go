package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// listenersOf makes the listeners of a fleet.
func (e *Edge) listenersOf(r *derive.Reader, f model.Fleet) (out []model.Listener) {
	guard := e.guard(r, f.Namespace, f.Labels)
	for _, p := range e.ports.Get(r, f) {
		l := model.Listener{Port: p.port, Guard: guard, Origin: p.servers[0].server.Origin}
		l4 := &connections{e: e, r: r, fleet: f, sni: map[string]model.Origin{}}
		for i := range p.servers {
			b := &p.servers[i]
			switch {
			case speechOf(&b.server) == plainHTTP:
				if len(l.Chains) == 0 {
					l.Chains = []model.Chain{{Name: b.table(), Table: b.table(), Origin: b.server.Origin}}
				}
			case b.server.Protocol == model.ServeHTTP:
				l.Chains = append(l.Chains, model.Chain{
					Name: b.table(), SNI: sniOf(b.hosts), Encrypted: true, TLS: e.serverTLS(r, f, b), Table: b.table(), Origin: b.server.Origin,
				})
			default:
				l.Chains = append(l.Chains, l4.chains(b, e.serverTLS(r, f, b))...)
			}
		}
		if len(l.Chains) > 0 {
			out = append(out, l)
		}
	}
	return out
}

// guard gives what a workload asks of requests and connections.
func (e *Edge) guard(r *derive.Reader, namespace string, labels model.Labels) model.Guard {
	if e.o.Guard == nil {
		return model.Guard{}
	}
	return e.o.Guard(r, namespace, labels)
}

// sniOf gives the names by which a server's connections are known, nil for all that others do not take.
func sniOf(hosts []model.ServerHost) (out []string) {
	for _, h := range hosts {
		if h.Host == "*" {
			return nil
		}
		out = append(out, h.Host)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// connections makes the chains of connections that are carried as bytes.
type connections struct {
	e     *Edge
	r     *derive.Reader
	fleet model.Fleet
	sni   map[string]model.Origin // who routes a name on this port
}

// chains gives the chains of one server: for TLS that is not terminated one for each rule with the names it takes; else one for the first rule.
func (c *connections) chains(b *boundServer, tls *model.ServerTLS) (out []model.Chain) {
	for _, set := range c.e.routeSets(c.r, c.fleet, b.gateway) {
		hosts := hostsIn(set, b.hosts)
		if len(hosts) == 0 {
			continue
		}
		if b.server.Protocol == model.ServePassthrough {
			out = append(out, c.byName(b, set)...)
		}
		if rule := c.firstRule(set.TCP, b); rule != nil && (len(out) == 0 || b.server.Protocol == model.ServePassthrough) {
			chain := model.Chain{Name: "tcp." + b.chain(), To: c.to(rule.To, b.server.Port), Origin: rule.Origin}
			if speechOf(&b.server) == encrypted {
				chain.Encrypted, chain.TLS, chain.SNI = true, tls, sniOf(b.hosts)
			}
			return append(out, chain)
		}
	}
	if len(out) == 0 {
		report(c.r, b.server.Origin, finding.Warning, "no-route", "no rule says where these connections lead; they are closed")
	}
	return out
}

// byName gives a chain for each of a set's rules that says which names of TLS it takes.
func (c *connections) byName(b *boundServer, set *model.RouteSet) (out []model.Chain) {
	for i := range set.TLS {
		rule := &set.TLS[i]
		for j, m := range rule.Matches {
			if !c.holds(&m, b) {
				continue
			}
			chain := model.Chain{Name: fmt.Sprintf("tls.%s.%s.%s.%d.%d", b.chain(), set.Seniority.Name.Name, set.Seniority.Name.Namespace, i, j), Encrypted: true, Origin: rule.Origin}
			names := m.SNI
			if len(names) == 0 {
				names = set.Hosts
			}
			every := false
			for _, name := range names {
				for _, sni := range meet(name, set.Seniority.Name.Namespace, b.hosts) {
					if other, ok := c.sni[sni]; ok {
						if other != rule.Origin {
							report(c.r, m.Origin, finding.Error, "host-taken", fmt.Sprintf("port %d of %s is routed by %v; it is left out here", b.server.Port, sni, other))
						}
						continue
					}
					c.sni[sni] = rule.Origin
					if every = every || sni == "*"; !every {
						chain.SNI = append(chain.SNI, sni)
					}
				}
			}
			if every {
				chain.SNI = nil
			} else if len(chain.SNI) == 0 {
				continue
			}
			slices.Sort(chain.SNI)
			chain.To = c.to(rule.To, b.server.Port)
			out = append(out, chain)
		}
	}
	return out
}

func (c *connections) to(list []model.Weighted, listener uint16) []model.Weighted {
	out := slices.Clone(list)
	for i := range out {
		out[i].Destination = c.e.lead(c.r, resolveKey{From: c.fleet.Namespace, Listener: listener, Destination: out[i].Destination}, out[i].Origin)
	}
	return out
}

// lead gives a destination the number of its port, and reports what is not there.
func (e *Edge) lead(r *derive.Reader, k resolveKey, at model.Origin) model.Destination {
	d := k.Destination
	if d.Host == "" {
		return d // whoever lowered it has said why
	}
	res := e.resolved.Get(r, k)
	if res.code != "" {
		severity := finding.Error
		if res.doubt {
			severity = finding.Warning
		}
		report(r, at, severity, res.code, res.message)
	}
	d.Port, d.PortName = res.port, ""
	return d
}

// firstRule finds the rule for connections that nothing but their port tells apart.
func (c *connections) firstRule(rules []model.L4Route, b *boundServer) *model.L4Route {
	for i := range rules {
		if len(rules[i].Matches) == 0 || slices.ContainsFunc(rules[i].Matches, func(m model.L4Match) bool { return c.holds(&m, b) }) {
			return &rules[i]
		}
	}
	return nil
}

// holds tells whether a condition can hold at a gateway's port.
func (c *connections) holds(m *model.L4Match, b *boundServer) bool {
	return (m.Port == 0 || m.Port == b.server.Port) && (m.Gateways == nil || slices.Contains(m.Gateways, b.gateway)) &&
		m.SourceLabels == "" && (m.SourceNamespace == "" || m.SourceNamespace == c.fleet.Namespace) && len(m.Subnets) == 0
}

// hostsIn lists the hosts of a set that a server lets it have.
func hostsIn(set *model.RouteSet, hosts []model.ServerHost) (out []string) {
	for _, h := range set.Hosts {
		out = append(out, meet(h, set.Seniority.Name.Namespace, hosts)...)
	}
	return out
}

// meet gives where a host of a route set and the hosts of a server overlap: of two names that contain each other the narrower. Only what the
// server grants to the set's namespace counts.
func meet(host, namespace string, hosts []model.ServerHost) (out []string) {
	for _, h := range hosts {
		if h.Namespace != "*" && h.Namespace != "" && h.Namespace != namespace {
			continue
		}
		switch {
		case contains(h.Host, host):
			return []string{host}
		case contains(host, h.Host):
			out = append(out, h.Host)
		}
	}
	return out
}

// contains tells whether every name that inner stands for is one that outer stands for.
func contains(outer, inner string) bool {
	if outer == inner || outer == "*" {
		return true
	}
	suffix, wild := strings.CutPrefix(outer, "*")
	return wild && strings.HasSuffix(inner, suffix) && inner != "*"
}
