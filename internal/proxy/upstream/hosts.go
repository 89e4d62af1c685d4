package upstream

import "math/rand/v2"

// hosts is a cluster's endpoints as requests see them: who is in, who is healthy, and how they are shared among. It does not change; another takes
// its place. What it is made of is shared with the one before where it is equal.
type hosts struct {
	endpoints []*Endpoint // all, each once
	ranks     []rank      // by priority
	shares    []share     // which priorities get how much; empty if nobody gets anything
	drops     []drop
	balancing balancing // what it was made by
}

// rank is the endpoints of one priority.
type rank struct {
	total, healthy, degraded int
	panic                    bool
	choices                  [3]*choice // of the healthy, the degraded, all
}

// share is what one choice gets: the numbers from the share before up to this one, of 100.
type share struct {
	upTo   uint64
	choice *choice
	panic  bool
}

// choice is the endpoints one of which is chosen: by locality, if those have weights, and then by the policy.
type choice struct {
	groups  []*group
	between *alias // among several groups
}

// local is the endpoints of a locality, for the making of hosts.
type local struct {
	weight    uint32
	priority  uint32
	endpoints []*Endpoint
}

// pick chooses an endpoint, or gives nil.
func (h *hosts) pick(pc *PickContext) (e *Endpoint, panicked bool) {
	if len(h.shares) == 0 {
		return nil, false
	}
	hash, s := pc.Hash, &h.shares[0]
	if !pc.HasHash && (len(h.shares) > 1 || h.balancing.policy.hashed()) {
		hash = rand.Uint64()
	}
	if len(h.shares) > 1 {
		part := hash % 100
		for i := range h.shares {
			if part < h.shares[i].upTo {
				s = &h.shares[i]
				break
			}
		}
	}
	if s.choice == nil {
		return nil, s.panic
	}
	g := s.choice.groups[0]
	if s.choice.between != nil {
		g = s.choice.groups[s.choice.between.draw(rand.Uint64())]
	}
	return g.pickExcept(hash, pc.Exclude), s.panic
}

// order is how a request chooses among priorities, healthy before degraded. The numbers follow Envoy's (architecture overview, priority levels):
// a priority can take its part of healthy endpoints times the overprovisioning factor, up to 100; what it cannot take goes to the next.
func (h *hosts) order(b *balancing, overprovisioning uint32) {
	can := func(n, total int) int {
		if total == 0 {
			return 0
		}
		return min(100, n*int(overprovisioning)/total)
	}
	sum := 0
	for i := range h.ranks {
		r := &h.ranks[i]
		sum += can(r.healthy, r.total) + can(r.degraded, r.total)
	}
	sum = min(100, sum)
	for i := range h.ranks {
		r := &h.ranks[i]
		// With enough healthy endpoints over all priorities none is in panic.
		r.panic = sum < 100 && r.total > 0 && float64(r.healthy)*100/float64(r.total) < b.panicPercent
	}
	type claim struct {
		rank *rank
		of   int // index into choices
		load int
	}
	var parts []claim
	left := 100
	for of := range 2 {
		for i := range h.ranks {
			r := &h.ranks[i]
			n := r.healthy
			if of == 1 {
				n = r.degraded
			}
			if sum == 0 || left == 0 {
				continue
			}
			load := min(left, can(n, r.total)*100/sum)
			left -= load
			parts = append(parts, claim{r, of, load})
		}
	}
	if sum == 0 { // nobody is well: by how many there are, if panic allows it
		total := len(h.endpoints)
		for i := range h.ranks {
			if r := &h.ranks[i]; r.total > 0 {
				load := 100 * r.total / total
				left -= load
				parts = append(parts, claim{r, 0, load})
			}
		}
	}
	for i := range parts { // what rounding left goes to the first that gets anything
		if parts[i].load > 0 || i == len(parts)-1 {
			parts[i].load += left
			break
		}
	}
	upTo := uint64(0)
	for _, p := range parts {
		c := p.rank.choices[p.of]
		if p.rank.panic {
			c = p.rank.choices[2]
			if b.failOnPanic {
				c = nil
			}
		}
		if p.load == 0 {
			continue
		}
		upTo += uint64(p.load)
		if c == nil || len(c.groups) == 0 {
			h.shares = append(h.shares, share{upTo: upTo})
			continue
		}
		h.shares = append(h.shares, share{upTo: upTo, choice: c, panic: p.rank.panic})
	}
}
