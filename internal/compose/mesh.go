package compose

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// Mesh is what sidecars carry, as queries over the same objects as [Edge]: the hosts and workloads that they know of, the routes of each host at each
// port, and what they do with connections to their own Pod. How a destination is reached is the same for sidecars and gateways, and is asked of the Edge.
type Mesh struct {
	// Services, Entries and Routed are the hosts of the mesh, by who declares them: a Service, a ServiceEntry, a VirtualService for a host that is
	// neither.
	Services *derive.Query[store.Key, *model.MeshHost]
	Entries  *derive.Query[store.Key, []*model.MeshHost]
	Routed   *derive.Query[store.Key, []*model.MeshHost]

	// Workloads is who runs at an address, by Pod; nil for one that has none of its own.
	Workloads *derive.Query[store.Key, *model.MeshWorkload]

	// At is who runs at an address; nil if it is nobody of the mesh.
	At *derive.Query[netip.Addr, *model.MeshWorkload]

	// Inbound is what a sidecar does with connections to its Pod.
	Inbound *derive.Query[model.Sidecar, *model.Inbound]

	// Tables is the routes of a host at a port: one virtual host that takes everything. nil if clients do not see the host.
	Tables *derive.Query[MeshTableKey, *model.RouteTable]

	// Connections is where connections to a host at a port lead that are carried as bytes. None: to the host itself.
	Connections *derive.Query[MeshTableKey, []model.ConnectionRule]

	// Said is the sets with rules for connections to a host, in the eyes of the clients of a namespace, in the order in which they are tried.
	Said *derive.Query[ClientsOf, []*model.RouteSet]

	// Led is where rules lead connections to a host at a port, whoever of the namespace makes them. Labels count for nothing.
	Led *derive.Query[MeshTableKey, []model.Destination]

	// Hosts is every host that the clients of a namespace see, sorted by name. It depends on all of them: it is for clients that cannot ask for one.
	Hosts *derive.Query[string, []*model.MeshHost]

	e *Edge
	o MeshOptions

	shapes *derive.Query[string, []model.Sidecar]   // what Pods of a namespace look like to policies
	above  *derive.Query[string, []*model.RouteSet] // what wildcards say of connections: this one, "*.suffix" or "*", and those around it
}

// MeshTableKey names the routes of a host at a port, in the eyes of some clients.
type MeshTableKey struct {
	Namespace string       // of the clients
	Labels    model.Labels // theirs; where no rule asks for them, the table is the same as without
	Port      uint16
	Host      string
}

// ClientsOf is a host in the eyes of the clients of a namespace.
type ClientsOf struct{ Namespace, Host string }

// MeshOptions are what a [Mesh] is made of besides the edge. Functions and key sets may be nil: then nobody declares such things.
type MeshOptions struct {
	// Entry gives what one ServiceEntry declares.
	Entry func(r *derive.Reader, k store.Key) *model.HostEntry
	// Routes gives what one VirtualService, or the like of another API, says.
	Routes func(r *derive.Reader, k store.Key) *model.RouteSet
	// RoutesFor gives what is said to sidecars of a host, or of the wildcard "*.suffix", as it is written: the one with the best right first.
	RoutesFor func(r *derive.Reader, host string) []*model.RouteSet
	// ConnectionsFor is RoutesFor of sets with rules for connections, in any order.
	ConnectionsFor func(r *derive.Reader, host string) []*model.RouteSet
	// Addresses gives the addresses that are a Pod's own.
	Addresses func(r *derive.Reader, k store.Key) []netip.Addr

	// At gives the Pod whose own an address is; the zero key if it is nobody's.
	At func(r *derive.Reader, a netip.Addr) store.Key

	// AllServices, AllEntries and AllRoutes read which of them there are.
	AllServices, AllEntries, AllRoutes func(*derive.Reader) []store.Key

	// PodsIn reads which Pods there are in a namespace.
	PodsIn func(r *derive.Reader, namespace string) []store.Key
}

// DefineMesh declares the queries in db.
func DefineMesh(db *derive.DB, e *Edge, o MeshOptions) *Mesh {
	m := &Mesh{e: e, o: o}
	m.Services = derive.Define(db, "compose/mesh/service", equal[*model.MeshHost], m.serviceHost)
	m.Entries = derive.Define(db, "compose/mesh/entry", equal[[]*model.MeshHost], m.entryHosts)
	m.Routed = derive.Define(db, "compose/mesh/routed", equal[[]*model.MeshHost], m.routedHosts)
	m.shapes = derive.Define(db, "compose/mesh/shapes", slices.Equal, m.shapesOf)
	m.Workloads = derive.Define(db, "compose/mesh/workload", equal[*model.MeshWorkload], m.workloadOf)
	m.At = derive.Define(db, "compose/mesh/at", derive.Equal, func(r *derive.Reader, a netip.Addr) *model.MeshWorkload {
		if o.At == nil {
			return nil
		}
		if k := o.At(r, a); k != (store.Key{}) {
			return m.Workloads.Get(r, k)
		}
		return nil
	})
	m.Inbound = derive.Define(db, "compose/mesh/inbound", equal[*model.Inbound], m.inboundOf)
	m.Tables = derive.Define(db, "compose/mesh/table", sameTable, m.tableOf)
	m.Connections = derive.Define(db, "compose/mesh/connections", equal[[]model.ConnectionRule], m.connectionsOf)
	m.Said = derive.Define(db, "compose/mesh/connections said", slices.Equal, func(r *derive.Reader, k ClientsOf) []*model.RouteSet {
		return m.connectionSetsFor(r, k.Host, k.Namespace)
	})
	m.Led = derive.Define(db, "compose/mesh/connections led to", slices.Equal, m.ledOf)
	m.above = derive.Define(db, "compose/mesh/connections above", slices.Equal, m.aboveOf)
	m.Hosts = derive.Define(db, "compose/mesh/hosts", slices.Equal, m.hostsOf)
	return m
}

// serviceHost says of a Service what sidecars have to know.
func (m *Mesh) serviceHost(r *derive.Reader, k store.Key) *model.MeshHost {
	s := m.e.m.Services.Get(r, k)
	if s == nil {
		return nil
	}
	host := s.Name.Name + "." + s.Name.Namespace + ".svc." + m.e.o.Domain
	out := &model.MeshHost{
		Host: host, Namespace: s.Name.Namespace, Addresses: s.ClusterIPs, Headless: s.Kind == model.Headless,
		Identities: m.e.identities.Get(r, hostKey{s.Name.Namespace, host}), Exported: []string{"*"}, Origin: s.Origin,
	}
	for _, p := range s.Ports {
		if p.Protocol == model.TCP {
			to := ClusterKey{From: s.Name.Namespace, Destination: model.Destination{Host: host, Port: p.Port}}
			out.Ports = append(out.Ports, model.MeshPort{Port: p.Port, Protocol: protocolOf(p.AppProtocol, p.Name), TLS: m.e.allTLS(r, to)})
		}
	}
	if len(out.Ports) == 0 {
		return nil
	}
	out.Ruled = m.ruled(r, out)
	return out
}

// allTLS tells whether every endpoint of a cluster takes the mesh's TLS.
func (e *Edge) allTLS(r *derive.Reader, k ClusterKey) bool {
	if len(e.identities.Get(r, hostKey{k.From, k.Host})) == 0 {
		return false
	}
	ends := e.Endpoints.Get(r, k)
	return ends != nil && len(ends.Endpoints) > 0 && !slices.ContainsFunc(ends.Endpoints, func(e model.ClusterEndpoint) bool { return !e.MeshTLS })
}

func (m *Mesh) entryHosts(r *derive.Reader, k store.Key) (out []*model.MeshHost) {
	if m.o.Entry == nil {
		return nil
	}
	entry := m.o.Entry(r, k)
	if entry == nil {
		return nil
	}
	for _, host := range entry.Hosts {
		if _, service := m.e.serviceName(host); service && m.e.hosts.Get(r, hostKey{k.Namespace, host}).isService() {
			continue // the Service goes first
		}
		h := &model.MeshHost{Host: host, Namespace: k.Namespace, Headless: entry.Resolution == model.ResolveNone, Exported: entry.Exported, Origin: entry.Origin}
		for _, p := range entry.Addresses {
			if p.IsSingleIP() {
				h.Addresses = append(h.Addresses, p.Addr())
			} else {
				h.Prefixes = append(h.Prefixes, p)
			}
		}
		slices.SortFunc(h.Addresses, netip.Addr.Compare)
		for _, p := range entry.Ports {
			h.Ports = append(h.Ports, model.MeshPort{Port: p.Port, Protocol: protocolOf(p.Protocol, p.Name)})
		}
		if len(h.Ports) > 0 {
			h.Anywhere = len(h.Addresses) == 0
			h.Ruled = unaddressed(entry) || m.ruled(r, h)
			out = append(out, h)
		}
	}
	return out
}

func (h *host) isService() bool { return h != nil && h.service != (model.ServiceName{}) }

// routedHosts are the hosts of a VirtualService that nobody else declares: what is asked for under such a name is led by its routes.
func (m *Mesh) routedHosts(r *derive.Reader, k store.Key) (out []*model.MeshHost) {
	if m.o.Routes == nil {
		return nil
	}
	set := m.o.Routes(r, k)
	if set == nil || len(set.HTTP) == 0 || !slices.Contains(set.Gateways, model.GatewayName{Kind: model.Mesh}) {
		return nil
	}
	for _, host := range set.Hosts {
		if strings.HasPrefix(host, "*") || m.e.hosts.Get(r, hostKey{k.Namespace, host}) != nil {
			continue // a wildcard says something of hosts, and makes none
		}
		out = append(out, &model.MeshHost{Host: host, Namespace: k.Namespace, Exported: set.Exported, Origin: set.Origin})
	}
	return out
}

func (m *Mesh) workloadOf(r *derive.Reader, k store.Key) *model.MeshWorkload {
	if m.o.Addresses == nil || m.e.o.Pod == nil {
		return nil
	}
	addresses := m.o.Addresses(r, k)
	w := m.e.o.Pod(r, model.ObjectName(k))
	if w == nil || len(addresses) == 0 {
		return nil
	}
	out := &model.MeshWorkload{
		Name: w.Name, Addresses: addresses, Identity: m.e.identity(w.Name.Namespace, w.ServiceAccount), Owner: w.Owned(), Account: w.ServiceAccount,
	}
	out.App, _ = w.Labels.Get("app")
	out.Version, _ = w.Labels.Get("version")
	if !inMesh(w) {
		return out
	}
	peers := m.e.peers(r, w)
	mode, _ := peers.For(0)
	out.TLS = mode != model.MTLSDisable
	if peers != nil && out.TLS {
		for _, p := range peers.Ports {
			if p.Mode == model.MTLSDisable {
				out.Plaintext = append(out.Plaintext, p.Port)
			}
		}
	}
	return out
}

func (m *Mesh) hostsOf(r *derive.Reader, namespace string) (out []*model.MeshHost) {
	add := func(h *model.MeshHost) {
		if h != nil && visible(h.Exported, namespace) && !slices.ContainsFunc(out, func(o *model.MeshHost) bool { return o.Host == h.Host && o.Namespace == h.Namespace }) {
			out = append(out, h)
		}
	}
	each := func(all func(*derive.Reader) []store.Key, get func(store.Key) []*model.MeshHost) {
		if all == nil {
			return
		}
		for _, k := range all(r) {
			for _, h := range get(k) {
				add(h)
			}
		}
	}
	each(m.o.AllServices, func(k store.Key) []*model.MeshHost { return []*model.MeshHost{m.Services.Get(r, k)} })
	each(m.o.AllEntries, func(k store.Key) []*model.MeshHost { return m.Entries.Get(r, k) })
	each(m.o.AllRoutes, func(k store.Key) []*model.MeshHost { return m.Routed.Get(r, k) })
	slices.SortStableFunc(out, func(a, b *model.MeshHost) int { return strings.Compare(a.Host, b.Host) })
	return out
}

// SidecarLabels are the labels of a Pod that its sidecar's configuration depends on: less those that tell Pods of one Deployment apart, by which
// nobody selects.
func SidecarLabels(l model.Labels) model.Labels {
	var own []string
	for pair := range strings.SplitSeq(string(l), ",") {
		switch key, _, _ := strings.Cut(pair, "="); key {
		case "pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index":
		default:
			own = append(own, pair)
		}
	}
	return model.Labels(strings.Join(own, ","))
}
