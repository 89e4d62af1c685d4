package upstream

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
)

// group is endpoints that a policy chooses among. But for its cursor it does not change.
type group struct {
	policy    policy
	choices   int
	endpoints []*Endpoint
	weights   []uint32 // nil: all equal
	cursor    *atomic.Uint64
	stride    *stride // round robin with weights
	alias     *alias  // least request with weights
	table     table   // ring hash and maglev
}

// newGroup makes a group; endpoints is not empty.
func newGroup(b *balancing, endpoints []*Endpoint, weights []uint32, prev *group) *group {
	if !slices.ContainsFunc(weights, func(w uint32) bool { return w != weights[0] }) {
		weights = nil
	}
	if prev != nil && prev.policy == b.policy && prev.choices == b.choices && slices.Equal(prev.endpoints, endpoints) && slices.Equal(prev.weights, weights) {
		return prev
	}
	g := &group{policy: b.policy, choices: b.choices, endpoints: endpoints, weights: weights}
	if prev != nil {
		g.cursor = prev.cursor // who was next stays next, more or less
	} else {
		g.cursor = new(atomic.Uint64)
		g.cursor.Store(uint64(rand.Uint32()))
	}
	switch {
	case b.policy == ringHash:
		g.table = newRing(keysOf(endpoints, b.hashHostname), weights, b.minRing, b.maxRing)
	case b.policy == maglev:
		g.table = newMaglev(keysOf(endpoints, b.hashHostname), weights, b.tableSize)
	case weights == nil:
	case b.policy == roundRobin:
		g.stride = newStride(weights)
	case b.policy == leastRequest:
		g.alias = newAlias(weights)
	}
	return g
}

// pickExcept chooses, and chooses again if that is one to be left out, as long as there is another.
func (g *group) pickExcept(hash uint64, exclude []*Endpoint) *Endpoint {
	e := g.pick(hash, 0)
	if len(exclude) == 0 || !slices.Contains(exclude, e) {
		return e
	}
	for attempt := range uint64(4) {
		if other := g.pick(hash, attempt+1); !slices.Contains(exclude, other) {
			return other
		}
	}
	start := rand.IntN(len(g.endpoints))
	for i := range g.endpoints {
		if other := g.endpoints[(start+i)%len(g.endpoints)]; !slices.Contains(exclude, other) {
			return other
		}
	}
	return e
}

// pick chooses; a hashed policy gives the same for the same hash and attempt.
func (g *group) pick(hash, attempt uint64) *Endpoint {
	n := uint64(len(g.endpoints))
	if n == 1 {
		return g.endpoints[0]
	}
	switch g.policy {
	case ringHash, maglev:
		return g.endpoints[g.table.at(hash, attempt)]
	case leastRequest:
		return g.least(n)
	case random:
		return g.endpoints[rand.Uint64N(n)]
	default:
		if g.stride != nil {
			return g.endpoints[g.stride.next(g.cursor)]
		}
		return g.endpoints[g.cursor.Add(1)%n]
	}
}

// least draws some and takes the one that has the fewest requests for its weight; the first drawn if they are level, so that idle endpoints are
// taken as often as their weights say.
func (g *group) least(n uint64) *Endpoint {
	var best *Endpoint
	var load, weight uint64
	for range g.choices {
		var i uint64
		w := uint64(1)
		if g.alias != nil {
			i = uint64(g.alias.draw(rand.Uint64()))
			w = uint64(g.weights[i])
		} else {
			i = rand.Uint64N(n)
		}
		e := g.endpoints[i]
		active := uint64(max(0, e.active.Load()))
		if best == nil || active*weight < load*w {
			best, load, weight = e, active, w
		}
	}
	return best
}
