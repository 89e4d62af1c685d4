package spine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weftmesh/weft/internal/store"
)

// TestCostDoesNotDependOnSize pins how many results each change computes and how many values it delivers, in a small cluster and a large one.
func TestCostDoesNotDependOnSize(t *testing.T) {
	sizes := []int{100, 10_000}
	if testing.Short() {
		sizes = []int{100, 1_000}
	}
	for _, size := range sizes {
		w := newWorld(t, size)
		for _, c := range changes {
			t.Run(fmt.Sprintf("%s/%d", c.name, size), func(t *testing.T) {
				there, back := c.do(w)
				for round := range 3 {
					got := w.spend(there, back)
					if round > 0 && got != c.costs { // the first time, some results are made that rest afterwards
						t.Errorf("round %d: %+v, want %+v", round, got, c.costs)
					}
				}
			})
		}
	}
}

// An edit that means the same as before must reach nobody, whatever it costs to find that out.
func TestEditToTheSameReachesNobody(t *testing.T) {
	w := newWorld(t, 100)
	silent := []string{"pod-label-changes", "service-edited-to-the-same", "service-listed-again", "node-heartbeat"}
	for _, c := range changes {
		if !slices.Contains(silent, c.name) {
			continue
		}
		there, back := c.do(w)
		if got := w.spend(there, back, there, back); got.deltas != 0 {
			t.Errorf("%s: %d values delivered", c.name, got.deltas)
		}
	}
}

// spend makes changes, one commit each, and tells what they cost.
func (w *world) spend(changes ...func(*store.Tx)) cost {
	runs, deltas := w.store.DB().Stats().Runs, w.deltas
	for _, c := range changes {
		w.src.Commit(c)
		w.drain()
	}
	return cost{w.store.DB().Stats().Runs - runs, w.deltas - deltas}
}

// BenchmarkChange measures one commit until the last value is handed over to its consumer, in time, allocations and results computed.
func BenchmarkChange(b *testing.B) {
	for _, size := range []int{100, 1_000, 10_000} {
		w := newWorld(b, size)
		for _, c := range changes {
			b.Run(fmt.Sprintf("%s/%d", c.name, size), func(b *testing.B) {
				there, back := c.do(w)
				ways := [2]func(*store.Tx){there, back}
				w.spend(there, back)
				runs, n := w.store.DB().Stats().Runs, 0
				b.ReportAllocs()
				for b.Loop() {
					w.src.Commit(ways[n%2])
					w.drain()
					n++
				}
				b.ReportMetric(float64(w.store.DB().Stats().Runs-runs)/float64(n), "runs/op")
				if n%2 == 1 {
					w.spend(back)
				}
			})
		}
	}
}

// BenchmarkLoad measures an empty store being filled in one commit and everything being made of it.
func BenchmarkLoad(b *testing.B) {
	for _, size := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				newWorld(b, size)
			}
		})
	}
}
