package derive

import "fmt"

// cell is anything that can be read: what one key of a table or an index maps to (present or not), or a result.
type cell struct {
	changed Rev       // when its value last became different
	run     uint64    // the last run that recorded it
	readers []backref // who read it
	owner   *node     // the result this cell is part of; nil for a cell of the store
	leaf    leafCell  // the cell of the store this is part of; nil for a result
}

type leafCell interface {
	forget()
	describe() string
}

// backref and dep are the two ends of one edge. Each knows its place in the other's list, so that an edge is removed in
// constant time however many readers a cell has.
type backref struct {
	n   *node
	pos int32 // n.deps[pos] is our edge
}

type dep struct {
	c    *cell
	slot int32 // c.readers[slot] is our edge
}

func (c *cell) describe() string {
	if c.owner != nil {
		return c.owner.describe()
	}
	return c.leaf.describe()
}

// Space is the cells of one table or of one index of a table. The store owns the rows; the space only knows who read
// which key and is told when a key maps to something else. Only keys that somebody has read take room.
type Space[K comparable] struct {
	db    *DB
	label string
	cells map[K]*leaf[K]
}

type leaf[K comparable] struct {
	cell
	space *Space[K]
	key   K
}

// NewSpace makes a space. The label says in explanations what its keys are keys of: "Service", "EndpointSlice by service".
func NewSpace[K comparable](db *DB, label string) *Space[K] {
	return &Space[K]{db: db, label: label, cells: map[K]*leaf[K]{}}
}

// Read records that r's result depends on what key maps to, also when that is nothing.
func (s *Space[K]) Read(r *Reader, key K) {
	r.check(s.db)
	l := s.cells[key]
	if l == nil {
		l = &leaf[K]{space: s, key: key}
		l.leaf = l
		s.cells[key] = l
	}
	r.record(&l.cell)
}

// Touch says that key now maps to something else.
func (s *Space[K]) Touch(tx *Tx, key K) {
	tx.Check(s.db)
	if l := s.cells[key]; l != nil {
		s.db.touch(&l.cell)
	}
}

func (l *leaf[K]) forget() { delete(l.space.cells, l.key) }

func (l *leaf[K]) describe() string {
	if _, one := any(l.key).(struct{}); one {
		return l.space.label
	}
	return fmt.Sprint(l.space.label, " ", l.key)
}

// unlink removes one edge.
func (db *DB) unlink(d dep) {
	rs := d.c.readers
	last := len(rs) - 1
	if int(d.slot) != last {
		moved := rs[last]
		rs[d.slot] = moved
		moved.n.deps[moved.pos].slot = d.slot
	}
	rs[last] = backref{}
	d.c.readers = rs[:last]
	if last == 0 {
		db.orphans = append(db.orphans, d.c)
	}
}

// collect drops cells of the store that nobody reads any more, and sets results aside for Sweep, as last wanted at rev.
func (db *DB) collect(rev Rev) {
	for len(db.orphans) > 0 {
		last := len(db.orphans) - 1
		c := db.orphans[last]
		db.orphans[last] = nil
		db.orphans = db.orphans[:last]
		switch {
		case len(c.readers) > 0:
		case c.leaf != nil:
			c.leaf.forget()
		default:
			db.rest(c.owner, rev)
		}
	}
}
