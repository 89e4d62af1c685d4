package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

// tableOf gives the routes of a host at a port: those that are declared for it, or else one that leads to the host itself.
func (m *Mesh) tableOf(r *derive.Reader, k MeshTableKey) *model.RouteTable {
	sets := m.routeSets(r, k.Host, k.Namespace)
	if k.Labels != "" && !slices.ContainsFunc(sets, asksForLabels) {
		k.Labels = ""
		return m.Tables.Get(r, k) // shared by all clients of the namespace
	}
	var last *link
	for _, set := range sets {
		last = m.e.links.Get(r, link{last, model.GatewayName{Kind: model.Mesh}, set})
	}
	if last == nil && m.e.hosts.Get(r, hostKey{k.Namespace, k.Host}) == nil {
		return nil
	}
	host := m.e.vhosts.Get(r, virtualHostKey{from: k.Namespace, port: k.Port, domain: k.Host, last: last, sidecar: true, labels: k.Labels})
	return &model.RouteTable{Name: MeshTableName(k.Port, k.Host), Hosts: []*model.VirtualHost{host}}
}

// MeshTableName names the routes of a host at a port: "80|web.shop.svc.cluster.local".
func MeshTableName(port uint16, host string) string { return fmt.Sprintf("%d|%s", port, host) }

// routeSets gives what is said to the sidecars of a namespace about a host over HTTP, the oldest first; what names it goes before what means it by a
// wildcard, and of several wildcards only the closest counts.
func (m *Mesh) routeSets(r *derive.Reader, host, namespace string) (out []*model.RouteSet) {
	if m.o.RoutesFor == nil {
		return nil
	}
	for pattern := host; ; {
		for _, set := range m.o.RoutesFor(r, pattern) {
			if len(set.HTTP) > 0 && visible(set.Exported, namespace) {
				out = append(out, set)
			}
		}
		_, rest, more := strings.Cut(strings.TrimPrefix(pattern, "*."), ".")
		if len(out) > 0 || !more {
			return out
		}
		pattern = "*." + rest
	}
}

// asksForLabels tells whether a set has a rule for some of the clients of a namespace.
func asksForLabels(s *model.RouteSet) bool {
	return slices.ContainsFunc(s.HTTP, func(route model.Route) bool {
		return slices.ContainsFunc(route.Matches, func(m model.Match) bool { return m.SourceLabels != "" })
	})
}

// toItself is the route of a host of which nobody says anything.
func toItself(k virtualHostKey, origin model.Origin) model.Route {
	return model.Route{Name: "default", To: []model.Weighted{{Destination: model.Destination{Host: k.domain, Port: k.port}, Origin: origin}}, Origin: origin}
}
