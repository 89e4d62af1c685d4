package derive_test

import (
	"fmt"
	"testing"

	"github.com/weftmesh/weft/internal/derive"
)

// table is the smallest store: numbers by name, with a key set.
type table struct {
	db    *derive.DB
	rows  map[string]int
	space *derive.Space[string]
	keys  *derive.KeySet[string]
}

func newTable(db *derive.DB, label string) *table {
	t := &table{db: db, rows: map[string]int{}, space: derive.NewSpace[string](db, label)}
	t.keys = derive.NewKeySet(db, func(yield func(string) bool) {
		for k := range t.rows {
			if !yield(k) {
				return
			}
		}
	})
	return t
}

func (t *table) get(r *derive.Reader, k string) (int, bool) {
	t.space.Read(r, k)
	v, ok := t.rows[k]
	return v, ok
}

func (t *table) put(tx *derive.Tx, k string, v int) {
	_, had := t.rows[k]
	t.rows[k] = v
	t.space.Touch(tx, k)
	if !had {
		t.keys.Add(tx, k)
	}
}

func (t *table) del(tx *derive.Tx, k string) {
	delete(t.rows, k)
	t.space.Touch(tx, k)
	t.keys.Remove(tx, k)
}

// set commits rows given as name, number, name, number.
func (t *table) set(kv ...any) {
	t.db.Commit(func(tx *derive.Tx) {
		for i := 0; i < len(kv); i += 2 {
			t.put(tx, kv[i].(string), kv[i+1].(int))
		}
	})
}

// runs gives how often each query has run.
func runs(db *derive.DB) map[string]uint64 {
	m := map[string]uint64{}
	for _, q := range db.Stats().Queries {
		m[q.Name] = q.Runs
	}
	return m
}

// expectRuns tells how often each query ran while do was done; queries not in want must not have run.
func expectRuns(t *testing.T, db *derive.DB, want map[string]uint64, do func()) {
	t.Helper()
	before := runs(db)
	do()
	for name, n := range runs(db) {
		if got := n - before[name]; got != want[name] {
			t.Errorf("%s ran %d times, want %d", name, got, want[name])
		}
	}
}

// log collects deltas as lines.
type log []string

func add[V any](l *log) func(derive.Delta[string, V]) {
	return func(d derive.Delta[string, V]) {
		if d.Gone {
			*l = append(*l, "-"+d.Key)
		} else {
			*l = append(*l, fmt.Sprintf("%s=%v", d.Key, d.Value))
		}
	}
}

// take drains and gives what was told since the last take.
func (l *log) take(f *derive.Feed) []string {
	f.Drain()
	out := *l
	*l = nil
	return out
}
