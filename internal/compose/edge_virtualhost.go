package compose

import (
	"fmt"
	"slices"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// boundSet is a route set and the gateways through which it is bound to a domain.
type boundSet struct {
	set      *model.RouteSet
	gateways []model.GatewayName
}

// virtualHostOf puts the routes of a domain in order: those of sets that somebody wrote in order, the oldest set first; then those that compete by
// the length of their path.
func (e *Edge) virtualHostOf(r *derive.Reader, k virtualHostKey) *model.VirtualHost {
	h := &model.VirtualHost{Name: fmt.Sprintf("%s:%d", k.domain, k.port), Domains: []string{k.domain}, RedirectHTTPS: k.redirect}
	if k.sidecar {
		h.Domains = []string{"*"}
	}
	var longest []boundSet
	var written, rest []model.Route // rest: what takes everything
	for _, b := range setsOf(k) {
		if h.Origin == (model.Origin{}) {
			h.Origin = b.set.Origin
		}
		for _, g := range b.gateways {
			if !slices.Contains(h.Gateways, g) {
				h.Gateways = append(h.Gateways, g)
			}
		}
		if b.set.Longest {
			longest = append(longest, b)
			continue
		}
		some, all := b.split(k)
		if len(rest) > 0 && len(all) > 0 {
			report(r, all[0].Origin, finding.Warning, "shadowed", fmt.Sprintf("every request for %s that no other rule takes goes to %v", k.domain, rest[0].Origin))
			all = nil
		}
		written, rest = append(written, some...), append(rest, all...)
	}
	slices.SortFunc(h.Gateways, model.GatewayName.Compare)
	h.Routes = append(written, rest...)
	for _, c := range compete(r, k, longest) {
		h.Routes = append(h.Routes, *c)
	}
	if k.sidecar && k.last == nil {
		if at := e.hosts.Get(r, hostKey{k.from, k.domain}); at != nil {
			h.Origin = at.origin
		}
		h.Routes = []model.Route{toItself(k, h.Origin)}
	}
	for i := range h.Routes {
		e.leadRoute(r, k, &h.Routes[i])
	}
	return h
}

// setsOf reads a chain, each set once, in the order of [before].
func setsOf(k virtualHostKey) (out []boundSet) {
	for l := k.last; l != nil; l = l.before {
		i := slices.IndexFunc(out, func(b boundSet) bool { return b.set == l.set })
		if i < 0 {
			i, out = len(out), append(out, boundSet{set: l.set})
		}
		if !slices.Contains(out[i].gateways, l.gateway) {
			out[i].gateways = append(out[i].gateways, l.gateway)
		}
	}
	slices.SortStableFunc(out, func(a, b boundSet) int { return before(a.set, b.set, k.from) })
	return out
}

// routes gives the routes of a set that can match on a port, with the conditions that can.
func (b *boundSet) routes(k virtualHostKey) (out []model.Route) {
	for _, route := range b.set.HTTP {
		if len(route.Matches) > 0 {
			route.Matches = slices.DeleteFunc(slices.Clone(route.Matches), func(m model.Match) bool { return !b.holds(&m, k) })
			if len(route.Matches) == 0 {
				continue
			}
		}
		out = append(out, route)
	}
	return out
}

// holds tells whether a condition can hold on a port: for some clients in the mesh, or at a gateway, whose own namespace is the one that requests come from.
func (b *boundSet) holds(m *model.Match, k virtualHostKey) bool {
	if m.Port != 0 && m.Port != k.port || !k.labels.Match(m.SourceLabels) || m.SourceNamespace != "" && m.SourceNamespace != k.from {
		return false
	}
	return m.Gateways == nil || slices.ContainsFunc(m.Gateways, func(g model.GatewayName) bool { return slices.Contains(b.gateways, g) })
}

// split gives a set's routes in their order, up to the first that takes everything, and that one apart: if several sets have the same host, it
// comes after what others say in particular (Istio sorts so at gateways).
func (b *boundSet) split(k virtualHostKey) (some, all []model.Route) {
	for _, route := range b.routes(k) {
		i := slices.IndexFunc(route.Matches, takesAll)
		if len(route.Matches) > 0 && i < 0 {
			some = append(some, route)
			continue
		}
		if i > 0 {
			before := route
			before.Matches = route.Matches[:i]
			some = append(some, before)
		}
		if i >= 0 {
			route.Matches = route.Matches[i : i+1]
		}
		return some, []model.Route{route}
	}
	return some, nil
}

// takesAll tells whether a condition holds for every request.
func takesAll(m model.Match) bool {
	if m.Method.Kind != model.MatchAny || m.Scheme.Kind != model.MatchAny || m.Authority.Kind != model.MatchAny || len(m.Headers)+len(m.Query) > 0 {
		return false
	}
	switch m.Path.Kind {
	case model.MatchAny:
		return true
	case model.MatchPrefix, model.MatchSegments:
		return m.Path.Value == "/" || m.Path.Value == ""
	case model.MatchRegex:
		return m.Path.Value == ".*" || m.Path.Value == "*"
	}
	return false
}

// leadRoute gives a route's destinations, and its redirect, the numbers of their ports, and reports what is not there.
func (e *Edge) leadRoute(r *derive.Reader, k virtualHostKey, route *model.Route) {
	if d := route.Redirect; d != nil && d.ListenerPort {
		with := *d
		with.ListenerPort, with.Port = false, k.port
		if k.port == 80 && d.Scheme != "https" || k.port == 443 && d.Scheme != "http" {
			with.Port = 0 // what the scheme means anyway
		}
		route.Redirect = &with
	}
	if len(route.To) > 0 {
		route.To = slices.Clone(route.To)
		for i := range route.To {
			to := &route.To[i]
			to.Destination = e.lead(r, resolveKey{k.from, k.sidecar, k.port, to.Destination}, to.Origin)
		}
	}
	if len(route.Mirrors) > 0 {
		route.Mirrors = slices.Clone(route.Mirrors)
		for i := range route.Mirrors {
			m := &route.Mirrors[i]
			m.Destination = e.lead(r, resolveKey{k.from, k.sidecar, k.port, m.Destination}, m.Origin)
		}
	}
}
