package xds

import (
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds/resource"
)

// followMesh begins to follow everything that a sidecar may have of a kind, for one that has asked for all of it.
func (st *stream) followMesh(k kind) {
	m, s := st.server.o.Mesh, st.client.Sidecar
	if m == nil {
		return
	}
	switch k {
	case listeners:
		c := st.channels[listeners]
		st.stops = append(st.stops,
			m.inbound.Subscribe(st.shape, inboundListener{*s, st.own}, func(d derive.Delta[inboundListener, *Resource]) { c.set(resource.InboundName, d.Value) }),
			m.outbound.Subscribe(st.shape, st.told(), func(d derive.Delta[toldKey, *Resource]) { c.set(resource.OutboundName, d.Value) }))
	case clusters:
		c := st.channels[clusters]
		for name, r := range m.static {
			if name != resource.WorkloadsCluster { // goes with the index
				c.set(name, r)
			}
		}
		st.stops = append(st.stops,
			m.clusters.Subscribe(st.shape, clientKey{s.Namespace, s.Labels}, func(d derive.Delta[clientKey, []compose.ClusterKey]) { st.setClusters(d.Value) }),
			m.ports.Subscribe(st.shape, *s, func(d derive.Delta[model.Sidecar, *model.Inbound]) { st.setInbound(d.Value) }))
	case services:
		for _, f := range []*derive.Family[store.Key, []*indexed]{m.services, m.entries, m.routed} {
			st.followIndex(f)
		}
	}
}

// outbound is the key of a sidecar's listener of outgoing connections.
func (st *stream) outbound() outboundKey {
	return outboundKey{st.client.Sidecar.Namespace, resource.TracedAs(*st.client.Sidecar, st.server.o.Mesh.o), st.own}
}

// told is that of a sidecar that has to be told everything.
func (st *stream) told() toldKey { return toldKey{st.outbound(), st.client.Sidecar.Labels} }

// setInbound follows the clusters of exactly these ports of the Pod.
func (st *stream) setInbound(in *model.Inbound) {
	c := st.channels[clusters]
	now := map[uint16]bool{}
	for _, p := range in.Ports {
		now[p.Port] = true
		if st.inboundPorts[p.Port] == nil {
			name := resource.InboundClusterName(p.Port)
			st.inboundPorts[p.Port] = st.server.o.Mesh.inboundClusters.Subscribe(st.shape, inboundKey{*st.client.Sidecar, p.Port},
				func(d derive.Delta[inboundKey, *Resource]) { c.set(name, d.Value) })
		}
	}
	for port, stop := range st.inboundPorts {
		if !now[port] {
			stop()
			delete(st.inboundPorts, port)
			c.set(resource.InboundClusterName(port), nil)
		}
	}
}

// followIndex follows a part of the index, as far as the client may see it.
func (st *stream) followIndex(f *derive.Family[store.Key, []*indexed]) {
	c, namespace := st.channels[services], st.client.Sidecar.Namespace
	names := map[store.Key][]string{}
	st.stops = append(st.stops, f.Follow(st.quick, func(d derive.Delta[store.Key, []*indexed]) {
		var now []string
		for _, r := range d.Value {
			if r.visible(namespace) {
				now = append(now, r.Name)
				st.setIndexed(c, r)
			}
		}
		for _, name := range names[d.Key] {
			if !slices.Contains(now, name) {
				st.unrule(name)
				c.set(name, nil)
			}
		}
		if names[d.Key] = now; len(now) == 0 {
			delete(names, d.Key)
		}
	}))
}

// setIndexed takes in a part of the index, and follows what rules say of it to this client.
func (st *stream) setIndexed(c *channel, r *indexed) {
	st.unrule(r.Name)
	if r.ruled == nil {
		c.set(r.Name, r.Resource)
		return
	}
	ruled, k := st.server.o.Mesh.ruled, ruledKey{st.client.Sidecar.Namespace, st.client.Sidecar.Labels, r.ruled}
	c.set(r.Name, ruled.Read(k)) // it is never told without its rules
	st.ruled[r.Name] = ruled.Subscribe(st.quick, k, func(d derive.Delta[ruledKey, *Resource]) { c.set(r.Name, d.Value) })
}

// unrule ends what setIndexed began.
func (st *stream) unrule(name string) {
	if stop := st.ruled[name]; stop != nil {
		stop()
		delete(st.ruled, name)
	}
}

// trackMesh follows a resource that a sidecar named.
func (st *stream) trackMesh(c *channel, name string, e *entry) {
	m, s := st.server.o.Mesh, st.client.Sidecar
	if m == nil {
		return
	}
	set := func(r *Resource) { c.set(name, r) }
	switch c.kind {
	case listeners:
		switch name {
		case resource.InboundName:
			e.stop = m.inbound.Subscribe(st.shape, inboundListener{*s, st.own}, func(d derive.Delta[inboundListener, *Resource]) { set(d.Value) })
		case resource.OutboundName:
			e.stop = m.outbound.Subscribe(st.shape, st.told(), func(d derive.Delta[toldKey, *Resource]) { set(d.Value) })
		case resource.IndexedOutbound:
			e.stop = m.indexed.Subscribe(st.shape, st.outbound(), func(d derive.Delta[outboundKey, *Resource]) { set(d.Value) })
		}
	case clusters:
		if d, ok := resource.ParseClusterName(name); ok {
			e.stop = st.server.o.Resources.clusters.Subscribe(st.shape, compose.ClusterKey{From: s.Namespace, Destination: d, Labels: s.Labels},
				func(d derive.Delta[compose.ClusterKey, *Resource]) { set(d.Value) })
		} else if port, ok := resource.ParseInboundClusterName(name); ok {
			e.stop = m.inboundClusters.Subscribe(st.shape, inboundKey{*s, port}, func(d derive.Delta[inboundKey, *Resource]) { set(d.Value) })
		} else if r := m.static[name]; r != nil {
			set(r)
		}
	case workloads: // by address
		if a, err := netip.ParseAddr(name); err == nil && a.String() == name {
			e.stop = m.at.Subscribe(st.quick, a, func(d derive.Delta[netip.Addr, *Resource]) { set(d.Value) })
		}
	case routes:
		port, host, ok := parseTableName(name)
		switch {
		case !ok:
		case host == "":
			e.stop = m.portTables.Subscribe(st.shape, portTable{s.Namespace, s.Labels, port}, func(d derive.Delta[portTable, *Resource]) { set(d.Value) })
		default:
			e.stop = m.tables.Subscribe(st.shape, compose.MeshTableKey{Namespace: s.Namespace, Labels: s.Labels, Port: port, Host: host},
				func(d derive.Delta[compose.MeshTableKey, *Resource]) { set(d.Value) })
		}
	}
}
