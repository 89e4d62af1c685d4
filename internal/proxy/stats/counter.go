package stats

import (
	"math/bits"
	"runtime"
	"sync/atomic"
)

// Shard says which part of a counter somebody adds to. A connection draws one when it begins and keeps it.
type Shard uint32

// Counter is a number that only grows.
type Counter struct {
	cells []cell
}

// cell is alone on its cache line.
type cell struct {
	n atomic.Uint64
	_ [56]byte
}

func newCounter(shards int) *Counter { return &Counter{make([]cell, shards)} }

// Add adds n.
func (c *Counter) Add(s Shard, n uint64) { c.cells[uint32(s)&uint32(len(c.cells)-1)].n.Add(n) }

// Value is what was added so far.
func (c *Counter) Value() (sum uint64) {
	for i := range c.cells {
		sum += c.cells[i].n.Load()
	}
	return sum
}

// Gauge is a number that goes up and down.
type Gauge struct{ n atomic.Int64 }

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) { g.n.Add(n) }

// Set makes it n.
func (g *Gauge) Set(n int64) { g.n.Store(n) }

// Value is what it is.
func (g *Gauge) Value() int64 { return g.n.Load() }

// shardsFor is how many shards there are for so many processors: a power of two.
func shardsFor(processors int) int {
	return min(16, 1<<bits.Len(uint(max(1, processors)-1)))
}

func processors() int { return runtime.GOMAXPROCS(0) }
