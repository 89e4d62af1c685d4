package derive

import (
	"fmt"

	"github.com/weftmesh/weft/internal/finding"
)

// Explanation is what the engine knows about one result. It is meant for a debug page: field names are stable in JSON,
// texts are for people.
type Explanation struct {
	Query     string            `json:"query"`
	Key       string            `json:"key"`
	Rev       Rev               `json:"rev"`      // of this explanation
	State     string            `json:"state"`    // clean, suspect (to be checked) or dirty (to be run)
	Ran       Rev               `json:"ran"`      // the revision it last ran at
	Changed   Rev               `json:"changed"`  // the revision its value last became another one
	Verified  Rev               `json:"verified"` // the revision it was last known to be up to date at
	Why       string            `json:"why"`      // why it last ran
	Reads     []Edge            `json:"reads"`    // what it read, in order
	ReadBy    []string          `json:"readBy"`   // results that read it
	Followers int               `json:"followers"`
	Cyclic    bool              `json:"cyclic,omitempty"`
	Panic     string            `json:"panic,omitempty"` // with the stack, if its last run panicked
	Findings  []finding.Finding `json:"findings,omitempty"`
	Value     any               `json:"value,omitempty"` // the value itself: shared, not to be changed
}

// Edge is one thing that a result read.
type Edge struct {
	What    string `json:"what"`            // "Service shop/web" for the store, "endpoints[shop/web]" for a result
	Changed Rev    `json:"changed"`         // when it last changed; 0 if not since it was first read
	Cause   bool   `json:"cause,omitempty"` // this is why the result last ran
}

// Explain tells what is known about a remembered result, without bringing it up to date. The key is as it prints. ok is
// false if there is no such query or nobody asked it for that key.
//
// It looks through all keys of the query: not for a hot path.
func (db *DB) Explain(query, key string) (x Explanation, ok bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	q := db.queries[query]
	if q == nil {
		return x, false
	}
	n := q.find(key)
	if n == nil {
		return x, false
	}
	x = Explanation{
		Query: query, Key: key, Rev: db.rev,
		State: n.state.String(), Ran: n.ran, Changed: n.changed, Verified: n.verified, Why: n.reason(),
		Reads: []Edge{}, ReadBy: []string{}, Followers: len(n.sinks), Cyclic: n.cyclic,
		Findings: n.findings, Value: n.ev.value(),
	}
	for _, d := range n.deps {
		x.Reads = append(x.Reads, Edge{d.c.describe(), d.c.changed, d.c == n.because && n.why == causeRead})
	}
	for _, b := range n.readers {
		x.ReadBy = append(x.ReadBy, b.n.describe())
	}
	if f := db.totals.failures[n]; f != nil {
		x.Panic = fmt.Sprintf("%v\n%s", f.what, f.stack)
	}
	return x, true
}

func (n *node) reason() string {
	switch {
	case n.why == causeFirst:
		return "it was asked for and had never run"
	case n.why == causeCycle:
		return "it is, or might have been, part of a cycle"
	case n.why == causeRead && n.because != nil:
		return n.because.describe() + " changed"
	}
	return "it has not run"
}

func (q *Query[K, V]) find(key string) *node {
	for k, e := range q.memo {
		if fmt.Sprint(k) == key {
			return &e.node
		}
	}
	return nil
}
