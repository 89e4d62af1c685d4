package store

import (
	"slices"

	"github.com/weftmesh/weft/internal/derive"
)

// Index finds the rows of a table by something else than their key.
type Index[I comparable, T any] struct {
	t      *Table[T]
	keys   func(*T) []I
	lists  map[I]*list[T]
	space  *derive.Space[I]
	keySet *derive.KeySet[I]
}

// list is the rows under one index key, in the order of their keys. It is changed in place until somebody has been given
// it, so that a commit that changes many rows copies it at most once.
type list[T any] struct {
	rows []*T
	lent bool
}

// NewIndex adds an index to t: keys gives the index keys of a row, a pure function of it. The name shows in explanations,
// after the kind: "EndpointSlice by service". Rows already in the table are taken in.
func NewIndex[I comparable, T any](t *Table[T], name string, keys func(*T) []I) *Index[I, T] {
	db := t.store.db
	ix := &Index[I, T]{
		t: t, keys: keys, lists: map[I]*list[T]{},
		space: derive.NewSpace[I](db, t.kind+" by "+name),
	}
	ix.keySet = derive.NewKeySet(db, func(yield func(I) bool) {
		for x := range ix.lists {
			if !yield(x) {
				return
			}
		}
	})
	db.Commit(func(d *derive.Tx) {
		for k, h := range t.rows {
			ix.update(&Tx{d: d}, k, nil, h.row)
		}
		t.indexes = append(t.indexes, ix)
	})
	return ix
}

// List reads the rows under x, in the order of their keys; that there are none is remembered too. The slice and the rows
// are shared: neither may be changed.
func (ix *Index[I, T]) List(r *derive.Reader, x I) []*T {
	ix.space.Read(r, x)
	l := ix.lists[x]
	if l == nil {
		return nil
	}
	l.lent = true
	return l.rows
}

// KeySet is the index keys that have rows, to make families over: every host, every node port in use.
func (ix *Index[I, T]) KeySet() *derive.KeySet[I] { return ix.keySet }

func (ix *Index[I, T]) update(tx *Tx, k Key, old, now *T) {
	var was, is []I
	if old != nil {
		was = ix.keys(old)
	}
	if now != nil {
		is = ix.keys(now)
	}
	for _, x := range was {
		if !slices.Contains(is, x) {
			ix.remove(tx, x, k)
		}
	}
	for _, x := range is {
		ix.put(tx, x, k, now)
	}
}

func (ix *Index[I, T]) find(l *list[T], k Key) (i int, found bool) {
	return slices.BinarySearchFunc(l.rows, k, func(row *T, k Key) int { return ix.t.key(row).Compare(k) })
}

func (ix *Index[I, T]) put(tx *Tx, x I, k Key, row *T) {
	l := ix.lists[x]
	if l == nil {
		l = &list[T]{}
		ix.lists[x] = l
		ix.keySet.Add(tx.d, x)
	}
	i, found := ix.find(l, k)
	if found && l.rows[i] == row { // a row may give an index key twice
		return
	}
	l.own()
	if found {
		l.rows[i] = row
	} else {
		l.rows = slices.Insert(l.rows, i, row)
	}
	ix.space.Touch(tx.d, x)
}

func (ix *Index[I, T]) remove(tx *Tx, x I, k Key) {
	l := ix.lists[x]
	if l == nil {
		return
	}
	i, found := ix.find(l, k)
	if !found {
		return
	}
	if l.own(); len(l.rows) == 1 {
		delete(ix.lists, x)
		ix.keySet.Remove(tx.d, x)
	} else {
		l.rows = slices.Delete(l.rows, i, i+1)
	}
	ix.space.Touch(tx.d, x)
}

// own makes the rows ours alone to change.
func (l *list[T]) own() {
	if l.lent {
		l.rows, l.lent = slices.Clone(l.rows), false
	}
}
