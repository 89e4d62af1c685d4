package zone

import (
	"maps"
	"sync/atomic"
)

// shards is the number of parts of a table: with 10,000 Services a change copies a map of five entries.
const shards = 2048

// table is a map that readers use without a lock or a write to shared memory. It is cut into small maps which are never changed, only
// replaced. Writers take turns under their owner's lock.
type table[K comparable, V any] struct {
	hash  func(K) uint64
	parts [shards]atomic.Pointer[map[K]V]
}

func (t *table[K, V]) part(k K) *atomic.Pointer[map[K]V] { return &t.parts[t.hash(k)%shards] }

// get reads, at any time.
func (t *table[K, V]) get(k K) (V, bool) {
	if p := t.part(k).Load(); p != nil {
		v, ok := (*p)[k]
		return v, ok
	}
	var none V
	return none, false
}

// set writes; the owner holds its lock.
func (t *table[K, V]) set(k K, v V) {
	p := t.part(k)
	var m map[K]V
	if old := p.Load(); old != nil {
		m = make(map[K]V, len(*old)+1)
		maps.Copy(m, *old)
	} else {
		m = make(map[K]V, 1)
	}
	m[k] = v
	p.Store(&m)
}

// remove forgets; the owner holds its lock.
func (t *table[K, V]) remove(k K) {
	p := t.part(k)
	old := p.Load()
	if old == nil {
		return
	}
	if _, ok := (*old)[k]; !ok {
		return
	}
	if len(*old) == 1 {
		p.Store(nil)
		return
	}
	m := make(map[K]V, len(*old)-1)
	for o, v := range *old {
		if o != k {
			m[o] = v
		}
	}
	p.Store(&m)
}
