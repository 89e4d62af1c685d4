package derive

import "github.com/weftmesh/weft/internal/finding"

type state uint8

const (
	clean   state = iota
	suspect       // something read by something it read changed: check before use
	dirty         // something it read changed: run again before use
	running
	gone
)

func (s state) String() string {
	return [...]string{"clean", "suspect", "dirty", "running", "gone"}[s]
}

// cause is why a result was last run.
type cause uint8

const (
	causeNone  cause = iota
	causeFirst       // it was asked for and had never run
	causeRead        // something it read had changed
	causeCycle       // it is, or may be, part of a cycle: only a run can tell
)

// node is one memoised result, without its types.
type node struct {
	cell
	ev       evaluator
	deps     []dep // what it read, in order
	sinks    []sink
	findings []finding.Finding
	because  *cell // with causeRead: what had changed
	root     *node // while root runs, this result is provisional (see cycle.go)
	verified Rev   // when it was last known to be up to date
	ran      Rev   // when it last ran
	wanted   Rev   // when somebody last read or followed it, once nobody does
	depth    int32 // its place on the stack while it runs
	low      int32 // lowest place on the stack of the cycles this run is part of
	state    state
	why      cause
	failed   bool // the last run panicked
	poisoned bool // this run closed a cycle
	cyclic   bool // the last run was part of a cycle
	checking bool // its reads are being checked
	greet    bool // a family took it in: deliver even if it did not change
	queued   bool // waits in db.queue
	idle     bool // waits in db.idle
}

// evaluator is the typed side of a node.
type evaluator interface {
	eval(r *Reader) (changed bool, f *failure)
	drop()
	describe() string
	value() any
	tally() *tally
}

// sink is somebody who is told of a result's new value. Both locks are held.
type sink interface{ push(n *node, rev Rev) }

func (n *node) describe() string { return n.ev.describe() }

// followed tells whether the result must be brought up to date at the end of a commit, and not only when it is read.
// Findings are visible without being asked for; members of a cycle hold each other and would never rest.
func (n *node) followed() bool { return len(n.sinks) > 0 || len(n.findings) > 0 || n.cyclic }

func (db *DB) enqueue(n *node) {
	if !n.queued {
		n.queued = true
		db.queue = append(db.queue, n)
	}
}

// flat tells whether the last run read only the store.
func (n *node) flat() bool {
	for i := range n.deps {
		if n.deps[i].c.owner != nil {
			return false
		}
	}
	return true
}

// touch marks everyone who read a cell of the store. The mark does not travel further yet: see spread.
func (db *DB) touch(c *cell) {
	c.changed = db.rev
	for i := range c.readers {
		n := c.readers[i].n
		if n.state == clean && (len(n.readers) > 0 || len(n.sinks) > 0) {
			n.state, n.because = dirty, c
			db.direct = append(db.direct, n)
			continue
		}
		if n.state < dirty {
			n.because = c
		}
		db.mark(n, dirty)
	}
}

func (db *DB) mark(n *node, s state) {
	was := n.state
	if was >= s {
		return
	}
	n.state = s
	if was != clean { // its readers are marked already
		return
	}
	if n.followed() {
		db.enqueue(n)
	}
	for i := range n.readers {
		db.mark(n.readers[i].n, suspect)
	}
}

// spread runs the dirty results that read only the store at once: they are needed anyway, and if they come out equal
// nothing downstream is even suspected. A Node's heartbeat stops here and not at the 4,000 services with pods on it.
func (db *DB) spread() {
	db.eager = true
	for i := 0; i < len(db.direct); i++ {
		n := db.direct[i]
		if db.eager && n.state == dirty && n.flat() {
			db.run(n, causeRead)
			if db.eager && n.changed != db.rev {
				db.direct[i] = nil
				continue
			}
		}
		if n.followed() {
			db.enqueue(n)
		}
		for j := range n.readers {
			db.mark(n.readers[j].n, suspect)
		}
		db.direct[i] = nil
	}
	db.direct = db.direct[:0]
	db.eager = false
}

// flood ends the eager phase early: a result that used to read only the store has begun to read others, and must not be
// given a value that would have been suspected a moment later.
func (db *DB) flood() {
	db.eager = false
	for _, n := range db.direct {
		if n == nil {
			continue
		}
		for j := range n.readers {
			db.mark(n.readers[j].n, suspect)
		}
	}
}

// fresh makes n's value the one of the current revision.
func (db *DB) fresh(n *node) {
	switch n.state {
	case clean:
		return
	case suspect:
		db.verify(n)
	case dirty:
		why := causeRead
		if n.why == causeNone {
			why = causeFirst
		}
		db.run(n, why)
	}
}

// verify checks what a suspect read, in the order it read it, and runs it only if one of them has a new value.
func (db *DB) verify(n *node) {
	if n.cyclic || n.checking {
		db.run(n, causeCycle)
		return
	}
	n.checking = true
	defer func() { n.checking = false }()
	for i := 0; i < len(n.deps); i++ {
		c := n.deps[i].c
		if o := c.owner; o != nil {
			if o.state == running {
				db.run(n, causeCycle)
				return
			}
			db.fresh(o)
			if n.state != suspect { // it was reached again through o, and is done
				return
			}
			if o.open() != nil { // o is part of a cycle that is still being found: so is n
				db.run(n, causeCycle)
				return
			}
		}
		if c.changed > n.verified {
			n.because = c
			db.run(n, causeRead)
			return
		}
	}
	n.state, n.verified = clean, db.rev
	n.ev.tally().checks++
}

// run computes n's value and finds out whether it is another one than before.
func (db *DB) run(n *node, why cause) {
	db.runID++
	d := len(db.stack)
	var r *Reader
	if d < cap(db.stack) && db.stack[:d+1][d] != nil { // readers are kept, one per depth
		db.stack = db.stack[:d+1]
		r = db.stack[d]
	} else {
		r = &Reader{db: db}
		db.stack = append(db.stack, r)
	}
	r.n, r.id, r.pos, r.findings = n, db.runID, 0, r.findings[:0]
	n.state, n.poisoned, n.depth, n.low, n.root = running, false, int32(d), int32(d), nil
	if n.why = why; why != causeRead {
		n.because = nil
	}

	changed, failure := n.ev.eval(r)

	r.cut()
	n.state, n.verified, n.ran, n.cyclic, n.failed = clean, db.rev, db.rev, n.poisoned, failure != nil
	if n.poisoned && n.low < n.depth {
		n.root = db.stack[n.low].n
	}
	t := n.ev.tally()
	t.runs++
	if changed {
		n.changed = db.rev
	} else {
		t.cutoffs++
	}
	if n.cyclic {
		t.cycles++
	}
	db.noteFailure(n, failure, r)
	db.reports.set(n, r.findings)
	r.n = nil
	db.stack = db.stack[:d]
}
