package xds

import (
	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/xds/resource"
)

// follow begins to follow what a kind as a whole is made of.
func (st *stream) follow(k kind) {
	res, fleet := st.server.o.Resources, st.client.Fleet
	switch k {
	case listeners:
		st.stops = append(st.stops, res.listeners.Subscribe(st.shape, fleetKey{fleet, st.own}, func(d derive.Delta[fleetKey, []*Resource]) {
			c := st.channels[listeners]
			now := map[string]bool{}
			for _, r := range d.Value {
				now[r.Name] = true
				c.set(r.Name, r)
			}
			for name, e := range c.entries {
				if e.want != nil && !now[name] {
					c.set(name, nil)
				}
			}
		}))
	case clusters:
		if res.tracers != nil {
			st.channels[clusters].set(res.tracers.Name, res.tracers)
		}
		st.stops = append(st.stops, res.clusterKeys.Subscribe(st.shape, fleet, func(d derive.Delta[model.Fleet, []compose.ClusterKey]) { st.setClusters(d.Value) }))
	case secrets:
		st.stops = append(st.stops, res.secretNames.Subscribe(st.shape, fleet, st.allow))
	}
}

// setClusters follows exactly these clusters.
func (st *stream) setClusters(keys []compose.ClusterKey) {
	c := st.channels[clusters]
	now := make(map[compose.ClusterKey]bool, len(keys))
	names := make(map[string]bool, len(keys))
	for _, k := range keys {
		name := resource.ClusterName(k.Destination)
		now[k], names[name] = true, true
		if st.clusterStops[k] == nil {
			st.clusterStops[k] = st.server.o.Resources.clusters.Subscribe(st.shape, k, func(d derive.Delta[compose.ClusterKey, *Resource]) { c.set(name, d.Value) })
		}
	}
	for k, stop := range st.clusterStops {
		if !now[k] {
			stop()
			delete(st.clusterStops, k)
			if name := resource.ClusterName(k.Destination); !names[name] { // else another policy holds for it now
				c.set(name, nil)
			}
		}
	}
}

// track follows a resource that the client named, of the kinds that are followed by name.
func (st *stream) track(c *channel, name string, e *entry) {
	if e.stop != nil {
		return
	}
	if st.client.Sidecar != nil && c.kind != endpoints {
		st.trackMesh(c, name, e)
		return
	}
	res, fleet := st.server.o.Resources, st.client.Fleet
	switch c.kind {
	case routes:
		e.stop = res.tables.Subscribe(st.shape, compose.TableKey{Fleet: fleet, Name: name}, func(d derive.Delta[compose.TableKey, *Resource]) { c.set(name, d.Value) })
	case endpoints:
		if d, ok := resource.ParseClusterName(name); ok {
			k := compose.ClusterKey{From: fleet.Namespace, Destination: d, Labels: fleet.Labels}
			if s := st.client.Sidecar; s != nil {
				k.Labels = s.Labels
			}
			e.stop = res.endpoints.Subscribe(st.quick, k, func(d derive.Delta[compose.ClusterKey, *Resource]) { c.set(name, d.Value) })
		}
	case secrets:
		st.trackSecret(name, e)
	}
}

// allow says which Secrets the client may have.
func (st *stream) allow(d derive.Delta[model.Fleet, []model.ObjectName]) {
	clear(st.allowed)
	for _, n := range d.Value {
		st.allowed[n] = true
	}
	c := st.channels[secrets]
	for name, e := range c.entries {
		if e.byName {
			st.trackSecret(name, e)
			c.check(name, e)
		}
	}
}

// trackSecret follows the Secret that a name stands for, if the client may have it.
func (st *stream) trackSecret(name string, e *entry) {
	candidates, ca := resource.ParseSecretName(name, st.client.Fleet.Namespace)
	key := secretKey{name: name, ca: ca}
	for _, n := range candidates {
		if st.allowed[n] {
			key.object = n
			break
		}
	}
	if key == e.secret {
		return
	}
	if e.stop != nil {
		e.stop()
		e.stop = nil
	}
	e.secret, e.want = key, nil
	if key.object == (model.ObjectName{}) {
		return
	}
	c := st.channels[secrets]
	e.stop = st.server.o.Resources.secrets.Subscribe(st.quick, key, func(d derive.Delta[secretKey, *Resource]) { c.set(name, d.Value) })
}
