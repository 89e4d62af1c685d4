package derive

import (
	"cmp"
	"slices"
)

// tally counts what happened to the results of one query.
type tally struct {
	runs, cutoffs, checks, panics, cycles uint64
}

// totals is what the engine keeps about itself besides.
type totals struct {
	deltas   uint64
	failures map[*node]*failure
}

// Stats is the engine's counters since it was made.
type Stats struct {
	Rev     Rev          `json:"rev"`
	Runs    uint64       `json:"runs"`
	Deltas  uint64       `json:"deltas"`  // values put into feeds and families
	Results int          `json:"results"` // remembered now
	Idle    int          `json:"idle"`    // of these, nobody reads or follows (an upper bound)
	Queries []QueryStats `json:"queries"` // by name
}

// QueryStats is the counters of one query.
type QueryStats struct {
	Name    string `json:"name"`
	Results int    `json:"results"` // remembered now
	Runs    uint64 `json:"runs"`
	CutOffs uint64 `json:"cutOffs"` // runs whose result was the same as before
	Checks  uint64 `json:"checks"`  // suspects that needed no run
	Panics  uint64 `json:"panics"`
	Cycles  uint64 `json:"cycles"` // runs that were part of a cycle
}

// querier is the untyped side of a query.
type querier interface {
	stats() QueryStats
	find(key string) *node
}

// Stats gives the counters.
func (db *DB) Stats() Stats {
	db.mu.Lock()
	defer db.mu.Unlock()
	s := Stats{Rev: db.rev, Deltas: db.totals.deltas, Idle: len(db.idle)}
	for _, q := range db.queries {
		qs := q.stats()
		s.Runs += qs.Runs
		s.Results += qs.Results
		s.Queries = append(s.Queries, qs)
	}
	slices.SortFunc(s.Queries, func(a, b QueryStats) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

func (q *Query[K, V]) stats() QueryStats {
	c := &q.counts
	return QueryStats{q.name, len(q.memo), c.runs, c.cutoffs, c.checks, c.panics, c.cycles}
}
