package store

import (
	"iter"
	"slices"

	"github.com/weftmesh/weft/internal/derive"
)

// Table is the rows of one kind.
type Table[T any] struct {
	store   *Store
	kind    string
	key     func(*T) Key
	same    func(a, b *T) bool
	rows    map[Key]held[T]   // what is seen
	behind  map[Key][]held[T] // rows of the same key from other sources, the preferred one first
	space   *derive.Space[Key]
	names   *derive.Space[struct{}] // one cell: which keys exist
	keySet  *derive.KeySet[Key]
	indexes []index[T]
}

// held is a row and who holds it.
type held[T any] struct {
	row *T
	src *Source
}

// index is what a table tells its indexes. Either row may be nil.
type index[T any] interface {
	update(tx *Tx, k Key, old, now *T)
}

// NewTable adds a table to s. The kind is unique in s: it names the table in explanations, and in [Source.Expect].
//
// same tells whether two rows mean the same to every reader; a row that is put over one that means the same changes
// nothing, and the old row stays. With nil, only the very same pointer is the same.
func NewTable[T any](s *Store, kind string, key func(*T) Key, same func(a, b *T) bool) *Table[T] {
	if same == nil {
		same = func(a, b *T) bool { return false }
	}
	t := &Table[T]{
		store: s, kind: kind, key: key, same: same,
		rows: map[Key]held[T]{}, behind: map[Key][]held[T]{},
		space: derive.NewSpace[Key](s.db, kind),
		names: derive.NewSpace[struct{}](s.db, kind+" keys"),
	}
	t.keySet = derive.NewKeySet(s.db, func(yield func(Key) bool) {
		for k := range t.rows {
			if !yield(k) {
				return
			}
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kinds[kind] {
		panic("store: two tables are called " + kind)
	}
	s.kinds[kind] = true
	return t
}

// Kind is the kind given to NewTable.
func (t *Table[T]) Kind() string { return t.kind }

// Get reads one row, nil if there is none. That it is absent is remembered too. The row is shared and must not be changed.
func (t *Table[T]) Get(r *derive.Reader, k Key) *T {
	t.space.Read(r, k)
	return t.rows[k].row
}

// Keys reads which rows exist, in order, not what they say. The result of whoever reads it depends on every coming and
// going: for "every row" use a [derive.Family] over KeySet.
func (t *Table[T]) Keys(r *derive.Reader) []Key {
	t.names.Read(r, struct{}{})
	return t.keys()
}

// KeySet is the table's keys, to make families over.
func (t *Table[T]) KeySet() *derive.KeySet[Key] { return t.keySet }

func (t *Table[T]) keys() []Key {
	out := make([]Key, 0, len(t.rows))
	for k := range t.rows {
		out = append(out, k)
	}
	slices.SortFunc(out, Key.Compare)
	return out
}

// Put makes row the one that tx's source holds under its key. It tells whether what is seen under the key has changed: not
// if the row means the same as the one before, or if another source goes before this one.
//
// The store owns the row from now on: nobody may change it.
func (t *Table[T]) Put(tx *Tx, row *T) (changed bool) {
	t.check(tx)
	k := t.key(row)
	cur, ok := t.rows[k]
	mine := held[T]{row, tx.src}
	switch {
	case !ok:
		t.show(tx, k, nil, mine)
		return true
	case cur.src == tx.src:
		if cur.row == row || t.same(cur.row, row) {
			return false
		}
		t.show(tx, k, cur.row, mine)
		return true
	case tx.src.rank > cur.src.rank:
		t.hide(k, mine)
		return false
	}
	t.unhide(k, tx.src)
	t.hide(k, cur)
	if cur.row == row || t.same(cur.row, row) { // it is held by another source now, and says the same
		t.rows[k] = held[T]{cur.row, tx.src}
		return false
	}
	t.show(tx, k, cur.row, mine)
	return true
}

// Delete takes back the row that tx's source holds under k, if any. It tells whether what is seen under the key has
// changed: the row of another source may take its place.
func (t *Table[T]) Delete(tx *Tx, k Key) (changed bool) {
	t.check(tx)
	cur, ok := t.rows[k]
	if !ok {
		return false
	}
	if cur.src != tx.src {
		t.unhide(k, tx.src)
		return false
	}
	if rest := t.behind[k]; len(rest) > 0 {
		next := rest[0]
		t.unhide(k, next.src)
		if t.same(cur.row, next.row) {
			t.rows[k] = held[T]{cur.row, next.src}
			return false
		}
		t.show(tx, k, cur.row, next)
		return true
	}
	delete(t.rows, k)
	t.space.Touch(tx.d, k)
	t.names.Touch(tx.d, struct{}{})
	t.keySet.Remove(tx.d, k)
	for _, ix := range t.indexes {
		ix.update(tx, k, cur.row, nil)
	}
	return true
}

// Replace makes rows all that tx's source holds in this table: it puts each, and deletes what the source held besides. It
// is for a source that was listed anew. Of two rows with one key the later counts.
func (t *Table[T]) Replace(tx *Tx, rows iter.Seq[*T]) {
	t.check(tx)
	keep := map[Key]struct{}{}
	for row := range rows {
		keep[t.key(row)] = struct{}{}
		t.Put(tx, row)
	}
	var drop []Key
	for k, h := range t.rows {
		_, kept := keep[k]
		if !kept && (h.src == tx.src || t.isBehind(k, tx.src)) {
			drop = append(drop, k)
		}
	}
	slices.SortFunc(drop, Key.Compare)
	for _, k := range drop {
		t.Delete(tx, k)
	}
}

// Lookup gives the row seen under k during a commit, nil if there is none. Nothing is remembered of it.
func (t *Table[T]) Lookup(tx *Tx, k Key) *T {
	t.check(tx)
	return t.rows[k].row
}

// show makes h what is seen under k, in place of old (nil if there was nothing).
func (t *Table[T]) show(tx *Tx, k Key, old *T, h held[T]) {
	t.rows[k] = h
	t.space.Touch(tx.d, k)
	if old == nil {
		t.names.Touch(tx.d, struct{}{})
		t.keySet.Add(tx.d, k)
	}
	for _, ix := range t.indexes {
		ix.update(tx, k, old, h.row)
	}
}

func (t *Table[T]) isBehind(k Key, src *Source) bool {
	return slices.ContainsFunc(t.behind[k], func(h held[T]) bool { return h.src == src })
}

// hide puts h behind what is seen, in place of what its source had there.
func (t *Table[T]) hide(k Key, h held[T]) {
	t.unhide(k, h.src)
	list := t.behind[k]
	i := 0
	for i < len(list) && list[i].src.rank < h.src.rank {
		i++
	}
	t.behind[k] = slices.Insert(list, i, h)
}

func (t *Table[T]) unhide(k Key, src *Source) {
	list, ok := t.behind[k]
	if !ok {
		return
	}
	list = slices.DeleteFunc(list, func(h held[T]) bool { return h.src == src })
	if len(list) == 0 {
		delete(t.behind, k)
		return
	}
	t.behind[k] = list
}

// check catches a Tx that outlived its commit or belongs to another store, before anything is changed.
func (t *Table[T]) check(tx *Tx) { tx.d.Check(t.store.db) }
