package serviceproxy

import (
	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
	"github.com/weftmesh/weft/internal/store"
)

// Plans compiles the model to what the named node does for each Service; nil is nothing. A change of an object costs the plans of the
// Services that read it.
func Plans(db *derive.DB, m *compose.Model, node string) *derive.Family[store.Key, *plan.Service] {
	// The zone is all that a plan needs of the Node: its heartbeats stop here.
	zone := derive.Define(db, "plan/zone", derive.Equal, func(r *derive.Reader, name string) string {
		if n := m.Nodes.Get(r, store.Key{Name: name}); n != nil {
			return n.Zone
		}
		return ""
	})
	q := derive.Define(db, "plan/service", (*plan.Service).Equal, func(r *derive.Reader, k store.Key) *plan.Service {
		svc := m.Services.Get(r, k)
		if svc == nil {
			return nil
		}
		return plan.Of(svc, m.Endpoints.Get(r, k), plan.Here{Node: node, Zone: zone.Get(r, node)})
	})
	return derive.Each(q, m.ServiceNames)
}
