package derive

import (
	"fmt"

	"github.com/weftmesh/weft/internal/finding"
)

// Query is a function whose results are remembered. Values are immutable and shared by all who read them.
type Query[K comparable, V any] struct {
	db      *DB
	name    string
	fn      func(*Reader, K) V
	same    func(a, b V) bool
	onCycle func(K) (V, []finding.Finding)
	memo    map[K]*entry[K, V]
	counts  tally
}

// entry is the result for one key.
type entry[K comparable, V any] struct {
	node
	q   *Query[K, V]
	key K
	val V
	has bool
}

// Define declares a query. The name is unique in db and shows in statistics, findings and explanations.
//
// same tells whether two values mean the same: when it is true the old value is kept, and readers of the result are not
// touched. Use [Equal] for comparable values. With nil, every run counts as a change.
func Define[K comparable, V any](db *DB, name string, same func(a, b V) bool, fn func(r *Reader, key K) V) *Query[K, V] {
	if same == nil {
		same = func(a, b V) bool { return false }
	}
	q := &Query[K, V]{db: db, name: name, fn: fn, same: same, memo: map[K]*entry[K, V]{}}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.queries[name] != nil {
		panic("derive: two queries are called " + name)
	}
	db.queries[name] = q
	return q
}

// maxDepth bounds how deep queries may read each other, which bounds the stack. A chain that long is a mistake in a query
// (or an attack by way of objects), and costs the result at its end.
const maxDepth = 10_000

// Equal is the equality of comparable values, for Define.
func Equal[V comparable](a, b V) bool { return a == b }

// Name is the name given to Define.
func (q *Query[K, V]) Name() string { return q.name }

// Get reads a result inside another query, or inside the same one for another key.
func (q *Query[K, V]) Get(r *Reader, k K) V {
	r.check(q.db)
	if q.db.eager {
		q.db.flood()
	}
	e := q.entry(k)
	if e.state == running {
		q.db.poison(e.depth)
		r.record(&e.cell)
		v, _ := q.cycleValue(k)
		return v
	}
	if len(q.db.stack) >= maxDepth {
		panic(fmt.Sprintf("queries read each other more than %d deep", maxDepth))
	}
	q.db.fresh(&e.node)
	if root := e.open(); root != nil {
		q.db.poison(root.depth)
	}
	r.record(&e.cell)
	return e.val
}

// Read gives one fresh result from outside: for an explanation, a test, a page. It takes the engine's lock, so a hot path
// follows a Family and keeps its own map instead.
func (q *Query[K, V]) Read(k K) V {
	q.db.mu.Lock()
	defer q.db.mu.Unlock()
	e := q.entry(k)
	q.db.fresh(&e.node)
	q.db.rest(&e.node, q.db.rev)
	q.db.settle()
	return e.val
}

// Len is how many results are remembered.
func (q *Query[K, V]) Len() int {
	q.db.mu.Lock()
	defer q.db.mu.Unlock()
	return len(q.memo)
}

func (q *Query[K, V]) entry(k K) *entry[K, V] {
	e := q.memo[k]
	if e == nil {
		e = &entry[K, V]{q: q, key: k}
		e.ev, e.state, e.owner = e, dirty, &e.node
		q.memo[k] = e
	}
	return e
}

func (e *entry[K, V]) drop() {
	var none V
	e.val = none // somebody's explanation may still point here
	delete(e.q.memo, e.key)
}

func (e *entry[K, V]) describe() string { return fmt.Sprintf("%s[%v]", e.q.name, e.key) }
func (e *entry[K, V]) value() any       { return e.val }
func (e *entry[K, V]) tally() *tally    { return &e.q.counts }

// eval runs the function and keeps the old value if the new one is the same.
func (e *entry[K, V]) eval(r *Reader) (changed bool, f *failure) {
	v, f := e.call(r)
	if e.poisoned {
		v, r.findings, f = e.onCycle()
	}
	if f == nil && e.has && !e.failed {
		var same bool
		if same, f = e.unchanged(v); same {
			return false, nil
		}
	}
	if f != nil {
		var none V
		changed = !e.failed
		e.val, e.has = none, true
		return changed, f
	}
	e.val, e.has = v, true
	return true, nil
}

func (e *entry[K, V]) call(r *Reader) (v V, f *failure) {
	defer recovered(&f)
	return e.q.fn(r, e.key), nil
}

func (e *entry[K, V]) unchanged(v V) (same bool, f *failure) {
	defer recovered(&f)
	return e.q.same(e.val, v), nil
}
