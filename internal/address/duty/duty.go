// Package duty decides which LoadBalancer addresses a node answers for: those of the pools that are published, each at one node, chosen by
// rendezvous hash over the nodes that may. Every node comes to the same answer by itself, so losing the API server changes nothing.
//
// It decides only; answering ARP and NDP is for package announce. What was decided last is kept in a file, for a start without an API server.
package duty

import (
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/address"
	"github.com/weftmesh/weft/internal/address/announce"
	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// Of gives, for each Service, the addresses that the node answers for, sorted.
//
// A node may if it runs Linux, is Ready, has a network, and is not labelled to be left out by load balancers. With externalTrafficPolicy Local it
// also needs an endpoint of the Service that is ready or, while it terminates, still serves: connections to it go on until they are done. If no node
// has one, any may, so that clients are told at once instead of finding nobody.
func Of(db *derive.DB, m *compose.Model, pools []address.Pool, node string) *derive.Family[store.Key, []netip.Addr] {
	// One result for the whole cluster: which nodes may. A heartbeat stops at the Node's own lowering.
	ready := derive.Define(db, "address/nodes", slices.Equal[[]string], func(r *derive.Reader, _ struct{}) (names []string) {
		for _, k := range m.AllNodes(r) {
			if n := m.Nodes.Get(r, k); n != nil && n.Ready && !n.Excluded && !n.Foreign {
				names = append(names, n.Name)
			}
		}
		slices.Sort(names)
		return names
	})
	q := derive.Define(db, "address/duty", slices.Equal[[]netip.Addr], func(r *derive.Reader, k store.Key) (out []netip.Addr) {
		svc := m.Services.Get(r, k)
		if svc == nil || !svc.LoadBalancer || svc.Unproxied || svc.Kind != model.VIP || svc.LoadBalancerClass != "" && svc.LoadBalancerClass != address.Class {
			return nil
		}
		ours := slices.DeleteFunc(slices.Clone(svc.LoadBalancerIPs), func(a netip.Addr) bool {
			return !slices.ContainsFunc(pools, func(p address.Pool) bool { return p.Contains(a) })
		})
		if len(ours) == 0 {
			return nil
		}
		candidates := ready.Get(r, struct{}{})
		if svc.ExternalLocal {
			candidates = withEndpoint(candidates, m.Endpoints.Get(r, k))
		}
		for _, a := range ours {
			if announce.Owner(a, candidates) == node {
				out = append(out, a)
			}
		}
		return out
	})
	return derive.Each(q, m.ServiceNames)
}

func withEndpoint(candidates []string, eps *model.Endpoints) []string {
	if eps == nil {
		return candidates
	}
	has := map[string]bool{}
	for _, p := range eps.Ports {
		for _, e := range p.Endpoints {
			if e.Ready || e.Serving {
				has[e.Node] = true
			}
		}
	}
	var out []string
	for _, c := range candidates {
		if has[c] {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return candidates
	}
	return out
}

// Set adds up what a node has to answer for. Two Services may share an address. It is for one goroutine.
type Set struct {
	by map[store.Key][]netip.Addr
}

// Update takes changes of the family, and gives all addresses, sorted, each once.
func (s *Set) Update(deltas []derive.Delta[store.Key, []netip.Addr]) []netip.Addr {
	if s.by == nil {
		s.by = map[store.Key][]netip.Addr{}
	}
	for _, d := range deltas {
		if d.Gone || len(d.Value) == 0 {
			delete(s.by, d.Key)
		} else {
			s.by[d.Key] = d.Value
		}
	}
	var all []netip.Addr
	for _, list := range s.by {
		all = append(all, list...)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}
