package upstream

import (
	"math"
	"time"
)

// The classes of endpoints of a rank, as indexes of rank.choices.
const (
	ofHealthy = iota
	ofDegraded
	ofAll
)

// builder makes hosts of what is known of a cluster.
type builder struct {
	balancing        *balancing
	overprovisioning uint32
	drops            []drop
	locals           []local // each priority's together
	prev             *hosts  // what is equal is taken from here; nil if the policy changed
	now              time.Time
	warming          bool // out: some endpoint's weight still grows
}

func (b *builder) build() *hosts {
	h := &hosts{drops: b.drops, balancing: *b.balancing}
	ranks := 0
	total := 0
	for i := range b.locals {
		ranks = max(ranks, int(b.locals[i].priority)+1)
		total += len(b.locals[i].endpoints)
	}
	h.endpoints = make([]*Endpoint, 0, total)
	h.ranks = make([]rank, ranks)
	for p := range h.ranks {
		b.rank(h, uint32(p))
	}
	h.order(b.balancing, b.overprovisioning)
	return h
}

// rank fills in one priority.
func (b *builder) rank(h *hosts, priority uint32) {
	r := &h.ranks[priority]
	var classes [3][]part
	for _, l := range b.locals {
		if l.priority != priority {
			continue
		}
		h.endpoints = append(h.endpoints, l.endpoints...)
		healthy, degraded := make([]*Endpoint, 0, len(l.endpoints)), []*Endpoint(nil)
		for _, e := range l.endpoints {
			switch e.health() {
			case healthyState:
				healthy = append(healthy, e)
			case degradedState:
				degraded = append(degraded, e)
			}
		}
		r.total, r.healthy, r.degraded = r.total+len(l.endpoints), r.healthy+len(healthy), r.degraded+len(degraded)
		if len(healthy) == len(l.endpoints) {
			healthy = l.endpoints
		}
		for of, list := range [...][]*Endpoint{healthy, degraded, l.endpoints} {
			if len(list) == 0 {
				continue
			}
			weight := float64(l.weight)
			if b.balancing.byLocality && of != ofAll { // a locality that lost endpoints beyond the factor carries less
				weight *= min(1, float64(b.overprovisioning)/100*float64(len(list))/float64(len(l.endpoints)))
			}
			classes[of] = append(classes[of], part{weight, list})
		}
	}
	var prev *rank
	if b.prev != nil && int(priority) < len(b.prev.ranks) {
		prev = &b.prev.ranks[priority]
	}
	for of := range classes {
		if of == ofAll && r.healthy == r.total {
			r.choices[of] = r.choices[ofHealthy]
			continue
		}
		var before *choice
		if prev != nil {
			before = prev.choices[of]
		}
		r.choices[of] = b.choice(classes[of], before)
	}
}

// part is the endpoints of one class in one locality.
type part struct {
	weight    float64 // of the locality
	endpoints []*Endpoint
}

// choice makes the groups of a class: one for all localities, or one for each if those have weights.
func (b *builder) choice(locals []part, prev *choice) *choice {
	if b.balancing.byLocality {
		weighted := locals[:0:0]
		for _, l := range locals {
			if l.weight > 0 {
				weighted = append(weighted, l)
			}
		}
		locals = weighted
	}
	if len(locals) == 0 {
		return nil
	}
	if !b.balancing.byLocality || b.balancing.policy.hashed() || len(locals) == 1 {
		var before *group
		if prev != nil && prev.between == nil {
			before = prev.groups[0]
		}
		return &choice{groups: []*group{b.group(locals, before)}}
	}
	c := &choice{}
	weights, most := make([]uint32, 0, len(locals)), 0.0
	for _, l := range locals {
		most = max(most, l.weight)
	}
	for i := range locals {
		var before *group
		if prev != nil && len(prev.groups) == len(locals) {
			before = prev.groups[i]
		}
		c.groups = append(c.groups, b.group(locals[i:i+1], before))
		weights = append(weights, uint32(max(1, locals[i].weight/most*1e6)))
	}
	c.between = newAlias(weights)
	return c
}

// group makes one group of the endpoints of some localities.
func (b *builder) group(locals []part, prev *group) *group {
	endpoints := locals[0].endpoints
	if len(locals) > 1 {
		endpoints = nil
		for _, l := range locals {
			endpoints = append(endpoints, l.endpoints...)
		}
	}
	if b.balancing.policy == random || b.balancing.policy == clusterProvided {
		return newGroup(b.balancing, endpoints, nil, prev)
	}
	weights := make([]uint32, 0, len(endpoints))
	share := b.balancing.byLocality && b.balancing.policy.hashed()
	for _, l := range locals {
		sum := 0.0
		for _, e := range l.endpoints {
			sum += float64(e.attrs.Load().weight)
		}
		for _, e := range l.endpoints {
			w := e.attrs.Load().weight
			if share { // one table for all localities: both weights are in it
				w = uint32(max(1, min(math.MaxUint32, l.weight*float64(w)/sum*1024)))
			} else if b.balancing.slow.window > 0 {
				w = b.grown(e, w)
			}
			weights = append(weights, w)
		}
	}
	return newGroup(b.balancing, endpoints, weights, prev)
}

// grown is an endpoint's weight in slow start: its weight times (time ÷ window)^(1 ÷ aggression), not under the least percentage.
func (b *builder) grown(e *Endpoint, weight uint32) uint32 {
	const parts = 1000
	s := &b.balancing.slow
	factor := 1.0
	if age := b.now.Sub(e.born); age < s.window {
		b.warming = true
		factor = max(s.minPercent/100, math.Pow(max(0.001, age.Seconds()/s.window.Seconds()), 1/s.aggression))
	}
	return uint32(max(1, min(math.MaxUint32, float64(weight)*parts*factor)))
}
