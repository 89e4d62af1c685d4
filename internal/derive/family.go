package derive

import "iter"

// KeySet is a changing set of keys: those of a table, or those of an index. The store owns it and says who comes and goes.
type KeySet[K comparable] struct {
	db       *DB
	all      iter.Seq[K]
	families []interface {
		add(K)
		remove(K)
	}
}

// NewKeySet makes a key set; all gives its keys as they are, in any order, and is called under the engine's lock.
func NewKeySet[K comparable](db *DB, all iter.Seq[K]) *KeySet[K] { return &KeySet[K]{db: db, all: all} }

// Add says that a key has come.
func (ks *KeySet[K]) Add(tx *Tx, k K) {
	tx.Check(ks.db)
	for _, f := range ks.families {
		f.add(k)
	}
}

// Remove says that a key has gone.
func (ks *KeySet[K]) Remove(tx *Tx, k K) {
	tx.Check(ks.db)
	for _, f := range ks.families {
		f.remove(k)
	}
}

// Family keeps one query's result for every key of a key set up to date. It lives as long as its DB.
type Family[K comparable, V any] struct {
	q       *Query[K, V]
	present map[K]struct{}
	left    []K // keys that left in this commit
	late    bool
	journal journal[K, V]
}

// Each makes the family of q over ks.
func Each[K comparable, V any](q *Query[K, V], ks *KeySet[K]) *Family[K, V] {
	fam := &Family[K, V]{q: q, present: map[K]struct{}{}}
	fam.journal.init(q.db)
	q.db.mu.Lock()
	defer q.db.mu.Unlock()
	ks.families = append(ks.families, fam)
	for k := range ks.all {
		fam.add(k)
	}
	q.db.settle()
	return fam
}

// Follow asks for every member now, and for every change from now on. Nothing is handed over before the next
// [Feed.Drain]. A key that leaves the set is told with Gone; one that comes back is told again, even with the value it had.
//
// A follower that does not drain holds nobody up, but the family remembers one entry for each key that left meanwhile: call
// stop when it is no longer wanted.
//
// stop ends it. When stop is called on the goroutine that drains, fn is not called again; on another goroutine a call may
// be in progress.
func (fam *Family[K, V]) Follow(f *Feed, fn func(Delta[K, V])) (stop func()) {
	fam.q.db.mu.Lock()
	defer fam.q.db.mu.Unlock()
	return fam.journal.follow(f, fn)
}

// Len is how many members there are.
func (fam *Family[K, V]) Len() int {
	fam.q.db.mu.Lock()
	defer fam.q.db.mu.Unlock()
	return len(fam.present)
}

func (fam *Family[K, V]) add(k K) {
	if _, ok := fam.present[k]; ok {
		return
	}
	fam.present[k] = struct{}{}
	e := fam.q.entry(k)
	e.sinks = append(e.sinks, fam)
	e.greet = true
	fam.q.db.enqueue(&e.node)
}

func (fam *Family[K, V]) remove(k K) {
	if _, ok := fam.present[k]; !ok {
		return
	}
	delete(fam.present, k)
	e := fam.q.entry(k)
	e.removeSink(fam)
	fam.q.db.rest(&e.node, fam.q.db.rev)
	fam.left = append(fam.left, k)
	fam.flushLater()
}

func (fam *Family[K, V]) push(n *node, rev Rev) {
	e := n.ev.(*entry[K, V])
	fam.journal.set(e.key, e.val, rev)
	fam.flushLater()
}

func (fam *Family[K, V]) flushLater() {
	if !fam.late {
		fam.late = true
		fam.q.db.late = append(fam.q.db.late, fam)
	}
}

func (fam *Family[K, V]) flush(rev Rev) {
	fam.late = false
	for _, k := range fam.left {
		if _, back := fam.present[k]; !back {
			fam.journal.remove(k, rev)
		}
	}
	clear(fam.left)
	fam.left = fam.left[:0]
	fam.journal.notify()
}
