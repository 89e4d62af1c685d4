package compose

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

// followEdge asks for all that a fleet carries, as xDS does, and goes on asking.
func (w *edgeWorld) followEdge() (changed func() []string) {
	feed := w.s.DB().NewFeed()
	var said []string
	all := derive.Define(w.s.DB(), "everything", nil, func(r *derive.Reader, f model.Fleet) int {
		for _, name := range w.e.TableNames(r, f) {
			w.e.Tables.Get(r, TableKey{f, name})
		}
		for _, k := range w.e.ClusterKeys.Get(r, f) {
			w.e.Clusters.Get(r, k)
			w.e.Endpoints.Get(r, k)
		}
		return 0
	})
	fleets := derive.NewKeySet(w.s.DB(), func(yield func(model.Fleet) bool) { yield(edgeFleet) })
	derive.Each(all, fleets).Follow(feed, func(d derive.Delta[model.Fleet, int]) { said = append(said, "everything") })
	return func() []string {
		feed.Drain()
		out := said
		said = nil
		return out
	}
}

// spend tells how often the queries of the edge ran during a change.
func (w *edgeWorld) spend(change func()) map[string]uint64 {
	count := func() map[string]uint64 {
		out := map[string]uint64{}
		for _, q := range w.s.DB().Stats().Queries {
			if len(q.Name) > 13 && q.Name[:13] == "compose/edge/" {
				out[q.Name[13:]] = q.Runs
			}
		}
		return out
	}
	before := count()
	change()
	after := count()
	for name, n := range after {
		if after[name] = n - before[name]; after[name] == 0 {
			delete(after, name)
		}
	}
	return after
}

// What a change costs does not depend on how many others there are.
func TestEdgeCostsWhatChanged(t *testing.T) {
	for _, size := range []int{10, 1000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			w := newEdgeWorld(t)
			set := func(i int, path string) {
				name := fmt.Sprintf("v%d", i)
				w.routes(&model.RouteSet{Hosts: []string{name + ".test"}, Gateways: []model.GatewayName{gatewayName("g")}, Seniority: seniority(name, 1),
					HTTP: []model.Route{{Matches: prefixOf(path), To: to(name)}}})
			}
			w.gateway("g", 1, http(80, "*"))
			for i := range size {
				w.service(fmt.Sprintf("v%d", i))
				w.endpoints(fmt.Sprintf("v%d", i), "10.0.0.1")
				set(i, "/a")
			}
			changed := w.followEdge()
			changed()
			for _, c := range []struct {
				name   string
				change func()
				want   map[string]uint64
			}{
				{"an endpoint comes", func() { w.endpoints("v3", "10.0.0.1", "10.0.0.2") }, map[string]uint64{"endpoints": 1, "identities": 1}},
				{"an endpoint goes", func() { w.endpoints("v3", "10.0.0.1") }, map[string]uint64{"endpoints": 1, "identities": 1}},
				{"a route is edited", func() { set(3, "/b") }, map[string]uint64{"table": 1, "link": 1, "virtual host": 1, "clusters": 1}},
				{"a Service is edited to the same", func() { w.service("v3") }, map[string]uint64{}},
			} {
				got := w.spend(c.change)
				if d := cmp.Diff(c.want, got); d != "" {
					t.Errorf("%s (-want +got)\n%s", c.name, d)
				}
			}
		})
	}
}
