package derive_test

import (
	"fmt"
	"testing"

	"github.com/weftmesh/weft/internal/derive"
)

func family() (*derive.DB, *table, *derive.Family[string, int]) {
	db := derive.New(nil)
	base := newTable(db, "base")
	q := derive.Define(db, "half", derive.Equal[int], func(r *derive.Reader, k string) int {
		v, _ := base.get(r, k)
		return v / 2
	})
	return db, base, derive.Each(q, base.keys)
}

func TestFamily(t *testing.T) {
	db, base, fam := family()
	base.set("a", 2)
	f, l := db.NewFeed(), log{}
	stop := fam.Follow(f, add[int](&l))
	same(t, "what is there", l.take(f), []string{"a=1"})
	base.set("b", 4)
	base.set("a", 3) // half is the same
	same(t, "one comes", l.take(f), []string{"b=2"})
	base.set("a", 4, "b", 6)
	same(t, "both change", l.take(f), []string{"a=2", "b=3"})
	db.Commit(func(tx *derive.Tx) { base.del(tx, "a") })
	same(t, "one goes", l.take(f), []string{"-a"})
	same(t, "members", fam.Len(), 1)
	stop()
	base.set("b", 8)
	same(t, "unfollowed", l.take(f), []string(nil))
	select {
	case <-f.Wake():
	default:
	}
	base.set("b", 10)
	select {
	case <-f.Wake():
		t.Error("a feed without subscriptions was woken")
	default:
	}
}

func TestGoneAndBackWithTheSameValue(t *testing.T) {
	db, base, fam := family()
	base.set("a", 2)
	f, l := db.NewFeed(), log{}
	fam.Follow(f, add[int](&l))
	l.take(f)
	db.Commit(func(tx *derive.Tx) { base.del(tx, "a"); base.put(tx, "a", 2) })
	same(t, "in one commit", l.take(f), []string{"a=1"})
	db.Commit(func(tx *derive.Tx) { base.del(tx, "a") })
	same(t, "gone", l.take(f), []string{"-a"})
	base.set("a", 2)
	same(t, "back", l.take(f), []string{"a=1"})
	db.Commit(func(tx *derive.Tx) { base.del(tx, "a") })
	base.set("a", 2)
	same(t, "both unseen", l.take(f), []string{"a=1"})
	db.Commit(func(tx *derive.Tx) { base.put(tx, "x", 2); base.del(tx, "x") })
	base.set("y", 2)
	db.Commit(func(tx *derive.Tx) { base.del(tx, "y") })
	same(t, "came and went unseen", l.take(f), []string(nil))
}

// A consumer that does not drain costs nothing and gets the latest of each key, all of one revision.
func TestSlowConsumer(t *testing.T) {
	db, base, fam := family()
	base.set("a", 0, "b", 0)
	slow, fast := db.NewFeed(), db.NewFeed()
	ls, lf := log{}, log{}
	fam.Follow(slow, add[int](&ls))
	fam.Follow(fast, add[int](&lf))
	ls.take(slow)
	lf.take(fast)
	for i := 1; i <= 500; i++ {
		base.set("a", 2*i, "b", 2*i)
		same(t, "fast", lf.take(fast), []string{fmt.Sprint("a=", i), fmt.Sprint("b=", i)})
	}
	same(t, "slow", ls.take(slow), []string{"a=500", "b=500"})
}

func TestStopWhileDraining(t *testing.T) {
	db, base, fam := family()
	base.set("a", 2, "b", 4)
	f := db.NewFeed()
	calls := 0
	var stop func()
	stop = fam.Follow(f, func(derive.Delta[string, int]) { calls++; stop() })
	f.Drain()
	stop() // twice is once
	base.set("a", 4)
	f.Drain()
	same(t, "calls", calls, 1)
}

func TestGoneMembersAreForgotten(t *testing.T) {
	db, base, fam := family()
	f, slow := db.NewFeed(), db.NewFeed()
	fam.Follow(f, func(derive.Delta[string, int]) {})
	stop := fam.Follow(slow, func(derive.Delta[string, int]) {})
	slow.Drain()
	churn := func() {
		for i := range 1000 {
			k := fmt.Sprint("k", i)
			base.set(k, 2)
			f.Drain()
			db.Commit(func(tx *derive.Tx) { base.del(tx, k) })
			f.Drain()
		}
		db.Sweep(db.Rev() + 1)
	}
	churn()
	if n := derive.Remembered(fam); n < 900 {
		t.Errorf("%d remembered, though one follower has not seen them", n)
	}
	stop()
	churn()
	if n := derive.Remembered(fam); n > 200 {
		t.Errorf("%d members remembered of none", n)
	}
	if n := derive.Cells(base.space); n != 0 {
		t.Errorf("%d cells remembered of none", n)
	}
}
