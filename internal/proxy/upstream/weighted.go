package upstream

import (
	"math/bits"
	"sync/atomic"
)

// stride is round robin by weight, as a function of a number that counts up: no state but that number, so that any number of goroutines can share
// it without a lock. (The idea is static stride scheduling, gRFC A58.) In as many rounds as the greatest weight each one's turn comes as often as its
// weight says, spread evenly, and not in the same round for all.
type stride struct {
	weights []uint64 // scaled so that the greatest is at most maxStride
	most    uint64
}

const maxStride = 1<<16 - 1

func newStride(weights []uint32) *stride {
	s := &stride{weights: make([]uint64, len(weights))}
	for _, w := range weights {
		s.most = max(s.most, uint64(w))
	}
	scale := s.most
	s.most = min(scale, maxStride)
	for i, w := range weights {
		s.weights[i] = max(1, uint64(w)*s.most/scale)
	}
	return s
}

// next gives the index whose turn it is. It looks at as many as the greatest weight is of the mean one, on average.
func (s *stride) next(cursor *atomic.Uint64) int {
	n := uint64(len(s.weights))
	for {
		at := cursor.Add(1)
		i, round := at%n, at/n
		// The weight adds up round after round; the turn comes when that passes a multiple of the greatest one. Each begins somewhere else.
		if w := s.weights[i]; (w*round+i*40503)%s.most < w {
			return int(i)
		}
	}
}

// alias draws by weight in constant time (Walker's alias method).
type alias struct {
	cells []aliasCell
}

type aliasCell struct {
	keep  uint64 // of 2^32: how often the cell means itself
	other uint32
}

// newAlias makes one; weights are not empty and not all zero.
func newAlias(weights []uint32) *alias {
	n := len(weights)
	a := &alias{cells: make([]aliasCell, n)}
	sum := uint64(0)
	for _, w := range weights {
		sum += uint64(w)
	}
	rest := make([]uint64, n) // in parts of which each cell holds sum
	var small, large []int
	for i, w := range weights {
		rest[i] = uint64(w) * uint64(n)
		if rest[i] < sum {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		hi, lo := bits.Mul64(rest[s], 1<<32)
		q, _ := bits.Div64(hi, lo, sum)
		a.cells[s] = aliasCell{keep: q, other: uint32(l)}
		if rest[l] -= sum - rest[s]; rest[l] < sum {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		a.cells[i] = aliasCell{keep: 1 << 32, other: uint32(i)}
	}
	return a
}

// draw gives an index for a random number.
func (a *alias) draw(r uint64) int {
	if a == nil || len(a.cells) == 1 {
		return 0
	}
	i, _ := bits.Mul64(r&^(1<<32-1), uint64(len(a.cells)))
	if c := &a.cells[i]; r&(1<<32-1) >= c.keep {
		return int(c.other)
	}
	return int(i)
}
