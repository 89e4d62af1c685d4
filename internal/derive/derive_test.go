package derive_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/derive"
)

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// chain is base -> parity -> text: parity often comes out equal.
func chain() (*derive.DB, *table, *derive.Query[string, int], *derive.Query[string, string]) {
	db := derive.New(nil)
	base := newTable(db, "base")
	parity := derive.Define(db, "parity", derive.Equal[int], func(r *derive.Reader, k string) int {
		v, ok := base.get(r, k)
		if !ok {
			return -1
		}
		return v % 2
	})
	text := derive.Define(db, "text", derive.Equal[string], func(r *derive.Reader, k string) string {
		return []string{"none", "even", "odd"}[parity.Get(r, k)+1]
	})
	return db, base, parity, text
}

func TestEqualResultsStopTheWave(t *testing.T) {
	db, base, _, text := chain()
	base.set("a", 1)
	f, l := db.NewFeed(), log{}
	text.Subscribe(f, "a", add[string](&l))
	same(t, "first", l.take(f), []string{"a=odd"})
	expectRuns(t, db, map[string]uint64{"parity": 1}, func() { base.set("a", 3) })
	same(t, "nothing to tell", l.take(f), []string(nil))
	expectRuns(t, db, map[string]uint64{"parity": 1, "text": 1}, func() { base.set("a", 4) })
	same(t, "changed", l.take(f), []string{"a=even"})
	expectRuns(t, db, nil, func() { base.set("b", 4) })
	for _, q := range db.Stats().Queries {
		if q.Name == "parity" && (q.CutOffs != 1 || q.Runs != 3) {
			t.Errorf("parity: %+v", q)
		}
	}
}

func TestWhatWasNotThereIsRemembered(t *testing.T) {
	db, base, _, text := chain()
	f, l := db.NewFeed(), log{}
	text.Subscribe(f, "a", add[string](&l))
	same(t, "absent", l.take(f), []string{"a=none"})
	base.set("a", 2)
	same(t, "appears", l.take(f), []string{"a=even"})
	db.Commit(func(tx *derive.Tx) { base.del(tx, "a") })
	same(t, "goes", l.take(f), []string{"a=none"})
}

// Many read a hub for one small fact; a change of the hub that leaves the fact alone reaches none of them.
func TestHubsAreProjected(t *testing.T) {
	db := derive.New(nil)
	nodes, pods := newTable(db, "node"), newTable(db, "pod")
	zone := derive.Define(db, "zone", derive.Equal[int], func(r *derive.Reader, k string) int {
		v, _ := nodes.get(r, k)
		return v / 100
	})
	place := derive.Define(db, "place", derive.Equal[int], func(r *derive.Reader, k string) int {
		v, _ := pods.get(r, k)
		return v + 1000*zone.Get(r, "n1")
	})
	top := derive.Define(db, "top", derive.Equal[int], func(r *derive.Reader, k string) int { return place.Get(r, k) })
	for _, k := range []string{"a", "b", "c"} {
		pods.set(k, 1)
	}
	nodes.set("n1", 100)
	fam := derive.Each(top, pods.keys)
	f, l := db.NewFeed(), log{}
	fam.Follow(f, add[int](&l))
	l.take(f)
	checks := func() (n uint64) {
		for _, q := range db.Stats().Queries {
			n += q.Checks
		}
		return n
	}
	before := checks()
	expectRuns(t, db, map[string]uint64{"zone": 1}, func() { nodes.set("n1", 101) })
	if n := checks() - before; n != 0 {
		t.Errorf("a heartbeat made %d results suspect", n)
	}
	expectRuns(t, db, map[string]uint64{"zone": 1, "place": 3, "top": 3}, func() { nodes.set("n1", 200) })
	same(t, "all moved", len(l.take(f)), 3)
}

// In one commit a result that read only the store begins to read another result, which depends on something else that
// the same commit changes. The order in which the two are marked must not matter.
func TestBeginsToReadWhatTheSameCommitChanges(t *testing.T) {
	for _, first := range []string{"switch", "deep"} {
		db := derive.New(nil)
		base := newTable(db, "base")
		one := derive.Define(db, "one", derive.Equal[int], func(r *derive.Reader, _ string) int {
			v, _ := base.get(r, "deep")
			_, _ = base.get(r, "other")
			return v
		})
		two := derive.Define(db, "two", derive.Equal[int], func(r *derive.Reader, k string) int { return one.Get(r, k) })
		three := derive.Define(db, "three", derive.Equal[int], func(r *derive.Reader, k string) int { return two.Get(r, k) })
		switched := derive.Define(db, "switched", derive.Equal[int], func(r *derive.Reader, k string) int {
			if on, _ := base.get(r, "switch"); on == 1 {
				return three.Get(r, "x")
			}
			return -1
		})
		f, l, m := db.NewFeed(), log{}, log{}
		base.set("deep", 1, "switch", 0)
		three.Subscribe(f, "x", add[int](&l))
		switched.Subscribe(f, "s", add[int](&m))
		f.Drain()
		l, m = nil, nil
		if first == "switch" {
			base.set("switch", 1, "deep", 2)
		} else {
			base.set("deep", 2, "switch", 1)
		}
		f.Drain()
		same(t, first+": switched", m, log{"s=2"})
		same(t, first+": three", l, log{"x=2"})
	}
}

func TestReaderOutsideItsRun(t *testing.T) {
	db, base, parity, _ := chain()
	var kept *derive.Reader
	keeps := derive.Define(db, "keeps", derive.Equal[int], func(r *derive.Reader, _ string) int { kept = r; return 0 })
	inner := derive.Define(db, "inner", derive.Equal[int], func(r *derive.Reader, k string) int { return parity.Get(kept, k) })
	outer := derive.Define(db, "outer", derive.Equal[int], func(r *derive.Reader, k string) int {
		kept = r
		return inner.Get(r, k) + 5
	})
	base.set("a", 1)
	same(t, "outer stands", outer.Read("a"), 5)
	if fs := db.AllFindings(); len(fs) != 1 || fs[0].Code != derive.CodePanic || fs[0].Object.Name != "inner[a]" {
		t.Error(fs)
	}
	keeps.Read("k")
	defer func() {
		if recover() == nil {
			t.Error("a Reader worked after its run")
		}
	}()
	base.get(kept, "a")
}

func TestTxOutsideItsCommit(t *testing.T) {
	db, base, _, _ := chain()
	var kept *derive.Tx
	db.Commit(func(tx *derive.Tx) { kept = tx })
	defer func() {
		if recover() == nil {
			t.Error("a Tx worked after its commit")
		}
	}()
	base.put(kept, "a", 1)
}

// A panic while changing the store goes to the caller; the engine stands and what was changed is seen.
func TestPanicInCommit(t *testing.T) {
	db, base, _, text := chain()
	f, l := db.NewFeed(), log{}
	text.Subscribe(f, "a", add[string](&l))
	l.take(f)
	func() {
		defer func() { same(t, "panic", recover(), any("oops")) }()
		db.Commit(func(tx *derive.Tx) {
			base.put(tx, "a", 1)
			panic("oops")
		})
	}()
	same(t, "delivered", l.take(f), []string{"a=odd"})
	base.set("a", 2)
	same(t, "goes on", l.take(f), []string{"a=even"})
}

func TestSweep(t *testing.T) {
	db, base, parity, text := chain()
	base.set("a", 1, "b", 1)
	f, l := db.NewFeed(), log{}
	stop := text.Subscribe(f, "a", add[string](&l))
	text.Read("b")
	base.set("c", 1)
	base.set("c", 2)
	stop()
	same(t, "b was wanted long ago", db.Sweep(db.Rev()), 2)
	same(t, "a was wanted until now", db.Sweep(db.Rev()), 0)
	same(t, "results", []int{parity.Len(), text.Len()}, []int{1, 1})
	base.set("c", 3)
	same(t, "a rests since a commit", db.Sweep(db.Rev()), 2)
	same(t, "results", []int{parity.Len(), text.Len()}, []int{0, 0})
	same(t, "comes back", text.Read("a"), "odd")
}

func TestRevisions(t *testing.T) {
	db, base, _, text := chain()
	f := db.NewFeed()
	var revs []derive.Rev
	text.Subscribe(f, "a", func(d derive.Delta[string, string]) { revs = append(revs, d.Rev) })
	f.Drain()
	var want []derive.Rev
	want = append(want, db.Rev())
	for i := range 3 {
		rev := db.Commit(func(tx *derive.Tx) { base.put(tx, "a", i) })
		want = append(want, rev)
		base.set("z", i)
		_, at := f.Drain()
		same(t, "drained up to", at, db.Rev())
	}
	same(t, "each delta has the revision of its commit", revs, want)
}

func TestExplain(t *testing.T) {
	db, base, parity, text := chain()
	_ = parity
	base.set("a", 1)
	if _, ok := db.Explain("text", "a"); ok {
		t.Error("nobody has asked")
	}
	text.Read("a")
	first := db.Rev()
	x, ok := db.Explain("text", "a")
	same(t, "known", ok, true)
	same(t, "first", x, derive.Explanation{
		Query: "text", Key: "a", Rev: first, State: "clean", Ran: first, Changed: first, Verified: first,
		Why: "it was asked for and had never run", Reads: []derive.Edge{{What: "parity[a]", Changed: first}}, ReadBy: []string{}, Value: "odd",
	})
	base.set("a", 4)
	x, _ = db.Explain("text", "a")
	same(t, "nobody follows it", x.State, "suspect")
	text.Read("a")
	x, _ = db.Explain("parity", "a")
	same(t, "cause", x.Reads, []derive.Edge{{What: "base a", Changed: first + 1, Cause: true}})
	same(t, "why", x.Why, "base a changed")
	same(t, "read by", x.ReadBy, []string{"text[a]"})
}

func TestMaintain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, base, _, text := chain()
		base.set("a", 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { db.Maintain(ctx, time.Minute); close(done) }()
		synctest.Wait()
		text.Read("a")
		base.set("b", 1)
		time.Sleep(61 * time.Second) // the bubble's own clock
		synctest.Wait()
		same(t, "wanted in this interval", text.Len(), 1)
		base.set("b", 2)
		time.Sleep(time.Minute)
		synctest.Wait()
		same(t, "not wanted in a whole one", text.Len(), 0)
		cancel()
		<-done
	})
}

func TestFeedOfAnotherDB(t *testing.T) {
	_, _, _, text := chain()
	defer func() {
		if recover() == nil {
			t.Error("went through")
		}
	}()
	text.Subscribe(derive.New(nil).NewFeed(), "a", func(derive.Delta[string, string]) {})
}
