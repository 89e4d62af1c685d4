package xds

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds/resource"
)

// Mesh is the resources of sidecars as queries over the mesh.
type Mesh struct {
	inbound         *derive.Query[inboundListener, *Resource]
	outbound        *derive.Query[toldKey, *Resource]     // for those that have to be told everything
	indexed         *derive.Query[outboundKey, *Resource] // for those that have the index
	tables          *derive.Query[compose.MeshTableKey, *Resource]
	portTables      *derive.Query[portTable, *Resource] // routes of all hosts at a port
	inboundClusters *derive.Query[inboundKey, *Resource]
	ports           *derive.Query[model.Sidecar, *model.Inbound]
	clusters        *derive.Query[clientKey, []compose.ClusterKey]
	o               resource.Options
	static          map[string]*Resource // the clusters that every sidecar has

	// The index, in parts: each a family of lists of resources.
	services, entries, routed *derive.Family[store.Key, []*indexed]
	ruled                     *derive.Query[ruledKey, *Resource]   // those of which rules say where connections lead
	at                        *derive.Query[netip.Addr, *Resource] // who runs at an address, called by it
}

// outboundKey is what the listener of outgoing connections depends on besides the mesh.
type outboundKey struct {
	namespace string // of the client
	traced    string // what its spans say whose they are; "" where nothing is traced
	own       bool   // the client is weft's own proxy
}

// toldKey is an outboundKey of a client that has to be told everything, and its labels: where no rule asks for them, it is the same as without.
type toldKey struct {
	outboundKey
	labels model.Labels
}

// inboundListener is what the listener of connections to a Pod depends on besides the mesh.
type inboundListener struct {
	model.Sidecar
	own bool
}

// forOwn gives the options for weft's own proxies, or for others.
func forOwn(o resource.Options, own bool) resource.Options {
	o.Own = own
	return o
}

// portTable names the routes of all hosts at a port in the eyes of some clients.
type portTable struct {
	namespace string
	labels    model.Labels
	port      uint16
}

// inboundKey names the cluster of a port of some Pods.
type inboundKey struct {
	sidecar model.Sidecar
	port    uint16
}

// MeshKeys are what the index is made of: the keys of Services, of ServiceEntries and of VirtualServices.
type MeshKeys struct {
	Services, Entries, Routes *derive.KeySet[store.Key]
}

// DefineMesh declares the queries of sidecars in db. They share the clusters and endpoints of res.
func DefineMesh(db *derive.DB, mesh *compose.Mesh, res *Resources, keys MeshKeys, o resource.Options) *Mesh {
	d := meshDefiner{definer: definer{db: db, edge: res.edge, o: o}, mesh: mesh}
	m := &Mesh{static: map[string]*Resource{}, o: o}
	m.inbound = derive.Define(db, "xds/mesh/inbound", (*Resource).equal, func(r *derive.Reader, k inboundListener) *Resource {
		l := resource.Inbound(mesh.Inbound.Get(r, k.Sidecar), forOwn(o, k.own))
		return newResource(l.Name, resource.ListenerType, resource.Marshal(l))
	})
	m.outbound = derive.Define(db, "xds/mesh/outbound", (*Resource).equal, func(r *derive.Reader, k toldKey) *Resource {
		hosts := mesh.Hosts.Get(r, k.namespace)
		if k.labels != "" && !slices.ContainsFunc(hosts, func(h *model.MeshHost) bool { return h.Ruled && mesh.AsksForClients(r, h.Host, k.namespace) }) {
			k.labels = ""
			return m.outbound.Get(r, k)
		}
		l := resource.OutboundListener(hosts, rulesFor(r, mesh, k.namespace, k.labels), k.traced, forOwn(o, k.own))
		return newResource(l.Name, resource.ListenerType, resource.Marshal(l))
	})
	m.indexed = derive.Define(db, "xds/mesh/indexed outbound", (*Resource).equal, func(_ *derive.Reader, k outboundKey) *Resource {
		l := resource.IndexedOutboundListener(k.namespace, k.traced, forOwn(o, k.own))
		return newResource(l.Name, resource.ListenerType, resource.Marshal(l))
	})
	m.tables, m.portTables, m.ports = d.tables(), d.portTables(), mesh.Inbound
	m.inboundClusters = derive.Define(db, "xds/mesh/inbound cluster", (*Resource).equal, d.inboundCluster)
	m.clusters = derive.Define(db, "xds/mesh/clusters", slices.Equal, d.clusters)
	for _, name := range []string{resource.PassthroughCluster, resource.InboundPassthroughCluster, resource.WorkloadsCluster} {
		m.static[name] = newResource(name, resource.ClusterType, resource.Marshal(resource.SidecarCluster(name)))
	}
	if c := resource.Tracers(o); c != nil {
		m.static[c.Name] = newResource(c.Name, resource.ClusterType, resource.Marshal(c))
	}
	m.services = family(db, "xds/mesh/index of service", keys.Services, func(r *derive.Reader, k store.Key) []*model.MeshHost {
		if h := mesh.Services.Get(r, k); h != nil {
			return []*model.MeshHost{h}
		}
		return nil
	})
	m.ruled = ruled(db, mesh)
	m.entries = family(db, "xds/mesh/index of entry", keys.Entries, mesh.Entries.Get)
	m.routed = family(db, "xds/mesh/index of routes", keys.Routes, mesh.Routed.Get)
	m.at = derive.Define(db, "xds/mesh/workload at", (*Resource).equal, func(r *derive.Reader, a netip.Addr) *Resource {
		w := mesh.At.Get(r, a)
		if w == nil {
			return nil
		}
		return newResource(a.String(), resource.WorkloadType, resource.Marshal(resource.IndexedWorkload(w)))
	})
	return m
}

type meshDefiner struct {
	definer
	mesh *compose.Mesh
}

// tables says the routes of one host at one port.
func (d meshDefiner) tables() *derive.Query[compose.MeshTableKey, *Resource] {
	hosts := d.hosts("xds/mesh/host")
	return derive.Define(d.db, "xds/mesh/routes", (*Resource).equal, func(r *derive.Reader, k compose.MeshTableKey) *Resource {
		t := d.mesh.Tables.Get(r, k)
		if t == nil || len(t.Hosts) == 0 {
			return nil
		}
		body := hosts.Get(r, hostKey{k.Namespace, d.asked(r, k, t.Hosts[0]), t.Hosts[0]}).bytes
		return newResource(t.Name, resource.RouteType, resource.RouteTable(t.Name, [][]byte{body}))
	})
}

// asked gives the labels of clients if a policy for what a host's routes lead to asks for them.
func (d meshDefiner) asked(r *derive.Reader, k compose.MeshTableKey, h *model.VirtualHost) model.Labels {
	if k.Labels == "" {
		return ""
	}
	for i := range h.Routes {
		for _, to := range h.Routes[i].To {
			if d.edge.Shared(r, compose.ClusterKey{From: k.Namespace, Destination: to.Destination, Labels: k.Labels}).Labels != "" {
				return k.Labels
			}
		}
	}
	return ""
}

// portTables says the routes of all hosts at a port, each under all its names.
func (d meshDefiner) portTables() *derive.Query[portTable, *Resource] {
	return derive.Define(d.db, "xds/mesh/port", (*Resource).equal, func(r *derive.Reader, k portTable) *Resource {
		name := strconv.Itoa(int(k.port))
		var bodies [][]byte
		taken := map[string]bool{}
		for _, h := range d.mesh.Hosts.Get(r, k.namespace) {
			if !speaksHTTP(h, k.port) {
				continue
			}
			t := d.mesh.Tables.Get(r, compose.MeshTableKey{Namespace: k.namespace, Labels: k.labels, Port: k.port, Host: h.Host})
			if t == nil {
				continue
			}
			named := *t.Hosts[0]
			named.Domains = resource.Names(h, k.namespace, d.o, taken)
			if len(named.Domains) == 0 {
				continue
			}
			v, problems := resource.VirtualHost(&named, d.policy(r, k.namespace, k.labels))
			report(r, problems)
			if v != nil {
				bodies = append(bodies, resource.Marshal(v))
			}
		}
		if rest := resource.Elsewhere(d.o); rest != nil {
			bodies = append(bodies, resource.Marshal(rest))
		}
		return newResource(name, resource.RouteType, resource.RouteTable(name, bodies))
	})
}

// speaksHTTP tells whether requests may be led to a host at a port.
func speaksHTTP(h *model.MeshHost, port uint16) bool {
	if len(h.Ports) == 0 {
		return true
	}
	return slices.ContainsFunc(h.Ports, func(p model.MeshPort) bool {
		return p.Port == port && p.Protocol != model.ProtocolTCP && p.Protocol != model.ProtocolTLS
	})
}

// clientKey is what the routes of a client depend on.
type clientKey struct {
	namespace string
	labels    model.Labels
}

// clusters lists everything that a client may reach.
func (d meshDefiner) clusters(r *derive.Reader, c clientKey) (out []compose.ClusterKey) {
	seen := map[compose.ClusterKey]bool{}
	add := func(to model.Destination) {
		to.PortName = ""
		k := compose.ClusterKey{From: c.namespace, Destination: to}
		if to.Port != 0 && !seen[k] {
			seen[k] = true
			k.Labels = c.labels
			out = append(out, d.edge.Shared(r, k))
		}
	}
	for _, h := range d.mesh.Hosts.Get(r, c.namespace) {
		for _, p := range h.Ports {
			add(model.Destination{Host: h.Host, Port: p.Port})
			if h.Ruled {
				for _, to := range d.mesh.Led.Get(r, compose.MeshTableKey{Namespace: c.namespace, Port: p.Port, Host: h.Host}) {
					add(to)
				}
			}
			t := d.mesh.Tables.Get(r, compose.MeshTableKey{Namespace: c.namespace, Labels: c.labels, Port: p.Port, Host: h.Host})
			if t == nil {
				continue
			}
			for i := range t.Hosts[0].Routes {
				route := &t.Hosts[0].Routes[i]
				for _, to := range route.To {
					add(to.Destination)
				}
				for _, m := range route.Mirrors {
					add(m.Destination)
				}
			}
		}
	}
	slices.SortFunc(out, compose.ClusterKey.Compare)
	return out
}

func (d meshDefiner) inboundCluster(r *derive.Reader, k inboundKey) *Resource {
	for _, p := range d.mesh.Inbound.Get(r, k.sidecar).Ports {
		if p.Port == k.port {
			name := resource.InboundClusterName(k.port)
			return newResource(name, resource.ClusterType, resource.Marshal(resource.InboundCluster(name, &p)))
		}
	}
	return nil
}

// parseTableName reads "80|web.shop.svc.cluster.local", and "80" without a host.
func parseTableName(name string) (port uint16, host string, ok bool) {
	digits, host, _ := strings.Cut(name, "|")
	n, err := strconv.ParseUint(digits, 10, 16)
	return uint16(n), host, err == nil && n != 0
}
