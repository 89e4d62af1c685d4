package derive_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
)

// A machine is queries that interpret small programs held in rows, so that random changes of rows make random graphs:
// results begin and cease to read each other, panic, report, and (if they may) form cycles.
type machine struct {
	db    *derive.DB
	keys  int
	progs map[int]program
	space *derive.Space[int]
	set   *derive.KeySet[int]
	fact  *derive.Query[int, int] // a projection of a row, reading only the store
	eval  *derive.Query[int, int]
	sum   *derive.Query[int, int] // over eval; another layer
}

type program struct {
	Base  int
	Reads []read
	Panic bool
}

type read struct {
	Key  int
	How  int // 0 eval, 1 fact, 2 sum
	When int // only if the fact of this key is odd; -1 always
	Cond bool
}

func newMachine(keys int) *machine {
	m := &machine{db: derive.New(nil), keys: keys, progs: map[int]program{}}
	m.space = derive.NewSpace[int](m.db, "program")
	m.set = derive.NewKeySet(m.db, func(yield func(int) bool) {
		for k := range m.progs {
			if !yield(k) {
				return
			}
		}
	})
	m.fact = derive.Define(m.db, "fact", derive.Equal[int], func(r *derive.Reader, k int) int {
		m.space.Read(r, k)
		return m.progs[k].Base / 4
	})
	m.eval = derive.Define(m.db, "eval", derive.Equal[int], func(r *derive.Reader, k int) int {
		m.space.Read(r, k)
		p, ok := m.progs[k]
		if !ok {
			return -1
		}
		v := p.Base / 2
		for _, rd := range p.Reads {
			if rd.When >= 0 && m.fact.Get(r, rd.When)%2 == 0 {
				continue
			}
			if rd.Cond && v%2 == 0 {
				continue
			}
			switch rd.How {
			case 0:
				v += m.eval.Get(r, rd.Key)
			case 1:
				v += m.fact.Get(r, rd.Key)
			default:
				v += m.sum.Get(r, rd.Key)
			}
			v %= 8 // few values, so that many come out equal
		}
		if p.Panic {
			panic("as told")
		}
		if v == 3 {
			r.Report(finding.Finding{Object: finding.Object{Kind: "Program", Name: fmt.Sprint(k)}, Message: "three"})
		}
		return v
	}).OnCycle(func(k int) (int, []finding.Finding) {
		return 7, []finding.Finding{{Object: finding.Object{Kind: "Program", Name: fmt.Sprint(k)}, Message: "cycle"}}
	})
	m.sum = derive.Define(m.db, "sum", derive.Equal[int], func(r *derive.Reader, k int) int {
		return (m.eval.Get(r, k) + m.fact.Get(r, (k+1)%m.keys)) % 4
	})
	return m
}

func (m *machine) apply(cs map[int]*program) {
	m.db.Commit(func(tx *derive.Tx) {
		for k, p := range cs {
			_, had := m.progs[k]
			switch {
			case p != nil:
				m.progs[k] = *p
				if !had {
					m.set.Add(tx, k)
				}
			case had:
				delete(m.progs, k)
				m.set.Remove(tx, k)
			}
			m.space.Touch(tx, k)
		}
	})
}

// randomProgram reads any key if cycles may be, and else only smaller ones.
func (m *machine) randomProgram(r *rand.Rand, k int, cycles bool) *program {
	if r.IntN(6) == 0 {
		return nil
	}
	p := &program{Base: r.IntN(16), Panic: r.IntN(12) == 0}
	for range r.IntN(4) {
		n := m.keys
		if !cycles {
			n = k
		}
		if n == 0 {
			break
		}
		rd := read{Key: r.IntN(n), How: r.IntN(3), When: r.IntN(2*m.keys) - m.keys, Cond: !cycles && r.IntN(3) == 0}
		if rd.When < 0 {
			rd.When = -1
		}
		p.Reads = append(p.Reads, rd)
	}
	return p
}

// TestRandomGraphs changes a random graph at random and asks at random: every answer, everything followed and every finding
// must be that of a world made fresh from the same rows and asked in another order.
func TestRandomGraphs(t *testing.T) {
	for _, cycles := range []bool{false, true} {
		t.Run(fmt.Sprint("cycles=", cycles), func(t *testing.T) {
			seeds := uint64(300)
			if testing.Short() {
				seeds = 30
			}
			for seed := range seeds {
				randomGraph(t, seed, cycles)
				if t.Failed() {
					return
				}
			}
		})
	}
}

func randomGraph(t *testing.T, seed uint64, cycles bool) {
	r := rand.New(rand.NewPCG(seed, 4))
	m := newMachine(8)
	views := make([]map[int]int, 2)
	fam := derive.Each(m.sum, m.set)
	feed := m.db.NewFeed()
	follow := func(view map[int]int) func() {
		return fam.Follow(feed, func(d derive.Delta[int, int]) {
			if d.Gone {
				delete(view, d.Key)
			} else {
				view[d.Key] = d.Value
			}
		})
	}
	views[0] = map[int]int{}
	follow(views[0])
	subscribed := map[int]int{}
	stops := map[int]func(){}
	for step := range 25 {
		cs := map[int]*program{}
		for range 1 + r.IntN(3) {
			k := r.IntN(m.keys)
			cs[k] = m.randomProgram(r, k, cycles)
		}
		m.apply(cs)
		if k := r.IntN(m.keys); stops[k] != nil {
			stops[k]()
			delete(stops, k)
			delete(subscribed, k)
		} else if r.IntN(3) == 0 {
			stops[k] = m.eval.Subscribe(feed, k, func(d derive.Delta[int, int]) { subscribed[d.Key] = d.Value })
		}
		if r.IntN(4) == 0 {
			m.db.Sweep(m.db.Rev() - derive.Rev(r.IntN(3)))
		}
		fresh := newMachine(m.keys)
		all := map[int]*program{}
		for k, p := range m.progs {
			all[k] = &p
		}
		fresh.apply(all)
		for _, k := range r.Perm(m.keys)[:r.IntN(4)] {
			if got, want := m.eval.Read(k), fresh.eval.Read(k); got != want {
				t.Errorf("seed %d step %d: eval %d is %d, want %d", seed, step, k, got, want)
			}
		}
		if r.IntN(2) == 0 {
			continue // leave the feed for a while
		}
		feed.Drain()
		want := map[int]int{}
		for _, k := range r.Perm(m.keys) {
			if _, ok := m.progs[k]; ok {
				want[k] = fresh.sum.Read(k)
			}
		}
		if !maps.Equal(views[0], want) {
			t.Errorf("seed %d step %d: followed %v, want %v", seed, step, views[0], want)
		}
		for k, got := range subscribed {
			if want := fresh.eval.Read(k); got != want {
				t.Errorf("seed %d step %d: subscribed %d is %d, want %d", seed, step, k, got, want)
			}
		}
		if cycles {
			continue // members of a cycle that nobody follows hold each other, and their findings
		}
		fresh = newMachine(m.keys)
		fresh.apply(all)
		derive.Each(fresh.sum, fresh.set)
		for k := range stops {
			fresh.eval.Read(k)
		}
		m.db.Sweep(m.db.Rev() + 1)
		if got, want := m.db.AllFindings(), fresh.db.AllFindings(); !slices.Equal(got, want) {
			t.Errorf("seed %d step %d: findings %v, want %v", seed, step, got, want)
		}
	}
}

// TestConcurrentUse has consumers on goroutines of their own, reads, sweeps, statistics and explanations on the side, and
// followers that come and go, while changes are committed as fast as they go. At rest everybody holds what a fresh world
// gives, and what is drained is never half a commit.
func TestConcurrentUse(t *testing.T) {
	m := newMachine(40)
	pair := newTable(m.db, "pair") // x and y always change together
	both := derive.Define(m.db, "both", derive.Equal[int], func(r *derive.Reader, k string) int { v, _ := pair.get(r, k); return v })
	twins := derive.Each(both, pair.keys)
	fam := derive.Each(m.sum, m.set)
	done := make(chan struct{})
	var wg sync.WaitGroup
	type consumer struct {
		feed *derive.Feed
		view map[int]int
		xy   map[string]int
	}
	var cs []*consumer
	for range 6 {
		c := &consumer{m.db.NewFeed(), map[int]int{}, map[string]int{}}
		cs = append(cs, c)
		fam.Follow(c.feed, func(d derive.Delta[int, int]) {
			if d.Gone {
				delete(c.view, d.Key)
			} else {
				c.view[d.Key] = d.Value
			}
		})
		twins.Follow(c.feed, func(d derive.Delta[string, int]) { c.xy[d.Key] = d.Value })
		both.Subscribe(c.feed, "y", func(d derive.Delta[string, int]) { c.xy["y again"] = d.Value })
		wg.Go(func() {
			for {
				select {
				case <-c.feed.Wake():
					c.feed.Drain()
					if c.xy["x"] != c.xy["y"] || c.xy["x"] != c.xy["y again"] {
						t.Errorf("half a commit: %v", c.xy)
						return
					}
				case <-done:
					return
				}
			}
		})
	}
	wg.Go(func() { // comes and goes
		f := m.db.NewFeed()
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			a := fam.Follow(f, func(derive.Delta[int, int]) {})
			b := m.eval.Subscribe(f, i%40, func(derive.Delta[int, int]) {})
			c := m.db.FollowFindings(f, func(derive.Delta[finding.Object, []finding.Finding]) {})
			f.Drain()
			a()
			b()
			c()
		}
	})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				m.eval.Read(i % 40)
				m.db.Explain("eval", fmt.Sprint(i%40))
				m.db.Stats()
				m.db.AllFindings()
				m.db.Sweep(m.db.Rev())
			}
		}
	})
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		pair.set("x", i, "y", i)
		k := r.IntN(40)
		m.apply(map[int]*program{k: m.randomProgram(r, k, true)})
	}
	close(done)
	wg.Wait()
	fresh := newMachine(40)
	all := map[int]*program{}
	for k, p := range m.progs {
		all[k] = &p
	}
	fresh.apply(all)
	want := map[int]int{}
	for k := range all {
		want[k] = fresh.sum.Read(k)
	}
	for _, c := range cs {
		c.feed.Drain()
		same(t, "a consumer's view", c.view, want)
	}
}
