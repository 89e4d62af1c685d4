package derive

import "github.com/weftmesh/weft/internal/finding"

// A result that is asked for while it runs has closed a cycle. What it is then given is provisional, and so is everything
// computed from it until the run that was asked for twice (the root) is over. If provisional values were kept, a result
// would depend on who was asked first. Instead:
//
//   - every run on the stack from the root up is poisoned: its value is not what the function returned but what OnCycle
//     gives, which depends on the key alone;
//   - a finished result remembers the root while that is still running; who reads it meanwhile is part of the cycle too;
//   - a member of a cycle is run again whenever it is suspected: comparing what it read with what it read then says
//     nothing, because what it read has no value of its own.

// CodeCycle is the code of the finding for a member of a cycle of a query without OnCycle.
const CodeCycle = "query-cycle"

// OnCycle sets the value, and the findings, of every member of a cycle, whichever was asked first. It must depend on the
// key alone. Without it members have the zero value and an error finding that names query and key.
// It returns q, to be chained to Define.
func (q *Query[K, V]) OnCycle(fn func(key K) (V, []finding.Finding)) *Query[K, V] {
	q.onCycle = fn
	return q
}

func (q *Query[K, V]) cycleValue(k K) (V, []finding.Finding) {
	if q.onCycle != nil {
		return q.onCycle(k)
	}
	var none V
	return none, []finding.Finding{{
		Object:   queryObject(q.name, k),
		Severity: finding.Error,
		Code:     CodeCycle,
		Message:  "depends on itself; its result is empty until the cycle is broken",
	}}
}

// open gives the running result whose cycle n is part of, or nil. A root may itself have turned out to be part of a
// larger cycle.
func (n *node) open() *node {
	for r := n.root; r != nil; r = r.root {
		if r.state == running {
			return r
		}
	}
	return nil
}

// poison marks every run on the stack from depth d up as part of a cycle.
func (db *DB) poison(d int32) {
	for _, r := range db.stack[d:] {
		r.n.poisoned = true
		r.n.low = min(r.n.low, d)
	}
}
