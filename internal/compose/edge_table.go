package compose

import (
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

// link is one route set that is bound to a domain, and those before it. A link is its own key, so that equal chains are one pointer, and a virtual
// host is a function of what is bound to it: a set that changes is another pointer, makes other links, and leaves the virtual hosts of all other
// sets alone, however many share the table.
type link struct {
	before  *link
	gateway model.GatewayName // through which the set is bound
	set     *model.RouteSet
}

// virtualHostKey is all that a virtual host is made of, but for what its destinations are.
type virtualHostKey struct {
	from     string // the fleet's namespace
	port     uint16
	domain   string
	redirect bool
	last     *link

	sidecar bool         // it is for sidecars: the domain is a host, and all that comes to it is taken
	labels  model.Labels // of the clients
}

// domain is what a table gathers for one of its domains.
type domain struct {
	name     string
	redirect bool
	last     *link
}

// tableOf makes a route table: a virtual host for each domain that route sets and servers have in common.
func (e *Edge) tableOf(r *derive.Reader, k TableKey) *model.RouteTable {
	var servers []*boundServer
	for _, p := range e.ports.Get(r, k.Fleet) {
		for i := range p.servers {
			if p.servers[i].table() == k.Name {
				servers = append(servers, &p.servers[i])
			}
		}
	}
	if len(servers) == 0 {
		return nil
	}
	domains := map[string]*domain{}
	at := func(name string) *domain {
		d := domains[name]
		if d == nil {
			d = &domain{name: name}
			domains[name] = d
		}
		return d
	}
	for _, b := range servers {
		granted := grants(b.hosts)
		for _, set := range e.routeSets(r, k.Fleet, b.gateway) {
			for _, host := range set.Hosts {
				for _, name := range granted.meet(host, set.Seniority.Name.Namespace) {
					d := at(name)
					d.last = e.links.Get(r, link{d.last, b.gateway, set})
					d.redirect = d.redirect || b.server.RedirectHTTPS
				}
			}
		}
	}
	for _, b := range servers {
		if !b.server.RedirectHTTPS {
			continue
		}
		for _, h := range b.hosts {
			at(h.Host).redirect = true // there is something to say of it, whatever routes there are
		}
	}
	t := &model.RouteTable{Name: k.Name, Hosts: make([]*model.VirtualHost, 0, len(domains))}
	for _, name := range slices.Sorted(maps.Keys(domains)) {
		d := domains[name]
		t.Hosts = append(t.Hosts, e.vhosts.Get(r, virtualHostKey{from: k.Fleet.Namespace, port: servers[0].server.Port, domain: d.name, redirect: d.redirect, last: d.last}))
	}
	return t
}

func sameTable(a, b *model.RouteTable) bool {
	return a == b || a != nil && b != nil && a.Name == b.Name && slices.Equal(a.Hosts, b.Hosts)
}

// granting finds what a server grants for a host, without looking at each of its hosts.
type granting struct {
	hosts  []model.ServerHost
	byName map[string][]model.ServerHost
}

func grants(hosts []model.ServerHost) *granting {
	g := &granting{hosts: hosts, byName: make(map[string][]model.ServerHost, len(hosts))}
	for _, h := range hosts {
		g.byName[h.Host] = append(g.byName[h.Host], h)
	}
	return g
}

// meet is the same as the function meet.
func (g *granting) meet(host, namespace string) []string {
	if strings.HasPrefix(host, "*") {
		return meet(host, namespace, g.hosts)
	}
	if meet(host, namespace, g.byName[host]) != nil || meet(host, namespace, g.byName["*"]) != nil {
		return []string{host}
	}
	for rest := host; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			return nil
		}
		if meet(host, namespace, g.byName["*"+rest[i:]]) != nil {
			return []string{host}
		}
		rest = rest[i+1:]
	}
}
