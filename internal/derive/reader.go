package derive

import "github.com/weftmesh/weft/internal/finding"

// Reader is how a query reads. It belongs to one run of one query: it must not be kept, nor handed to another goroutine,
// nor used by a query that was called from this one.
type Reader struct {
	db       *DB
	n        *node
	id       uint64
	pos      int // how many reads of the last run this run has repeated or replaced
	findings []finding.Finding
}

// Report attaches a finding to the result being computed. It is part of the result: it appears and goes with it.
func (r *Reader) Report(f finding.Finding) {
	r.check(r.db)
	r.findings = append(r.findings, f)
}

// check catches a Reader that outlived its run or was captured by a function inside another query: the read would be
// recorded for the wrong result, which would then be stale without anyone noticing.
func (r *Reader) check(db *DB) {
	if d := len(r.db.stack); r.db != db || d == 0 || r.db.stack[d-1] != r {
		panic("derive: a Reader was used outside the run it belongs to")
	}
}

// record makes the edge from this run's result to c. A run that reads the same things in the same order as the last one
// keeps its edges and allocates nothing.
func (r *Reader) record(c *cell) {
	if c.run == r.id {
		return
	}
	c.run = r.id
	n := r.n
	if r.pos < len(n.deps) {
		if n.deps[r.pos].c == c {
			r.pos++
			return
		}
		r.cut()
	}
	c.readers = append(c.readers, backref{n, int32(len(n.deps))})
	n.deps = append(n.deps, dep{c, int32(len(c.readers) - 1)})
	r.pos++
}

// cut forgets the reads of the last run that this run did not repeat.
func (r *Reader) cut() {
	n := r.n
	for i := len(n.deps) - 1; i >= r.pos; i-- {
		r.db.unlink(n.deps[i])
		n.deps[i] = dep{}
	}
	n.deps = n.deps[:r.pos]
}
