package store

import "slices"

// The functions in this file look at a table from outside, without being told of changes. They wait for a commit in
// progress, so they are for debugging, pages and tests. They must not be called from a query or inside a commit.

// Peek gives the row seen under k, nil if there is none.
func (t *Table[T]) Peek(k Key) (row *T) {
	t.store.db.View(func() { row = t.rows[k].row })
	return row
}

// Snapshot gives all rows that are seen, in the order of their keys. The slice is the caller's, the rows are shared.
func (t *Table[T]) Snapshot() (rows []*T) {
	t.store.db.View(func() {
		rows = make([]*T, 0, len(t.rows))
		for _, k := range t.keys() {
			rows = append(rows, t.rows[k].row)
		}
	})
	return rows
}

// Len is how many rows are seen.
func (t *Table[T]) Len() (n int) {
	t.store.db.View(func() { n = len(t.rows) })
	return n
}

// Sources names the sources that hold a row under k. The first is the one whose row is seen.
func (t *Table[T]) Sources(k Key) (names []string) {
	t.store.db.View(func() {
		if h, ok := t.rows[k]; ok {
			names = append(names, h.src.name)
		}
		for _, h := range t.behind[k] {
			names = append(names, h.src.name)
		}
	})
	return slices.Clip(names)
}
