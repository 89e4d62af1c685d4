package upstream

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// table finds an endpoint's index by a hash.
type table interface {
	// at gives the index for a hash; another attempt gives another place of the table.
	at(hash, attempt uint64) int
}

// keysOf is what endpoints are hashed by: the metadata envoy.lb hash_key, their hostname if asked for, or their address.
func keysOf(endpoints []*Endpoint, hostname bool) []string {
	keys := make([]string, len(endpoints))
	for i, e := range endpoints {
		a := e.attrs.Load()
		if v := a.metadata.GetFilterMetadata()["envoy.lb"].GetFields()["hash_key"].GetStringValue(); v != "" {
			keys[i] = v
		} else if hostname && a.hostname != "" {
			keys[i] = a.hostname
		} else {
			keys[i] = e.key
		}
	}
	return keys
}

// shares is each one's part of 1, and the indexes in the order of their keys.
func sharesOf(keys []string, weights []uint32) (parts []float64, order []int) {
	parts, order = make([]float64, len(keys)), make([]int, len(keys))
	sum := float64(len(keys))
	if weights != nil {
		sum = 0
		for _, w := range weights {
			sum += float64(w)
		}
	}
	for i := range keys {
		order[i], parts[i] = i, 1/sum
		if weights != nil {
			parts[i] = float64(weights[i]) / sum
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(keys[a], keys[b]) })
	return parts, order
}

// ring is consistent hashing on a circle: each endpoint has points on it, as many as its weight asks for, and a hash belongs to the first point
// that is not before it (RingHashLbConfig).
type ring []point

type point struct {
	hash  uint64
	index uint32
}

// newRing places xxHash64("key_0"), xxHash64("key_1"), ... of each key.
func newRing(keys []string, weights []uint32, least, most uint64) ring {
	parts, order := sharesOf(keys, weights)
	smallest := slices.Min(parts)
	// The lightest endpoint gets a whole number of points if the ring may be that large.
	scale := min(math.Ceil(smallest*float64(least))/smallest, float64(most))
	r := make(ring, 0, int(math.Ceil(scale)))
	target, placed := 0.0, 0.0
	var text []byte
	for _, i := range order {
		target += scale * parts[i]
		text = append(append(text[:0], keys[i]...), '_')
		prefix := len(text)
		for n := int64(0); placed < target; n++ {
			text = strconv.AppendInt(text[:prefix], n, 10)
			r = append(r, point{xxhash.Sum64(text), uint32(i)})
			placed++
		}
	}
	slices.SortFunc(r, func(a, b point) int { return cmp.Compare(a.hash, b.hash) })
	return r
}

func (r ring) at(hash, attempt uint64) int {
	i, _ := slices.BinarySearchFunc(r, hash, func(p point, h uint64) int { return cmp.Compare(p.hash, h) })
	return int(r[(uint64(i)+attempt)%uint64(len(r))].index)
}

// maglevTable is consistent hashing by a table that the endpoints fill in turn, each in an order of its own (Eisenbud and others, Maglev, 2016).
type maglevTable []uint32

func newMaglev(keys []string, weights []uint32, size uint64) maglevTable {
	parts, order := sharesOf(keys, weights)
	greatest := slices.Max(parts)
	type filler struct{ offset, skip, next uint64 }
	fillers := make([]filler, len(keys))
	for i, k := range keys {
		seeded := xxhash.NewWithSeed(1)
		_, _ = seeded.WriteString(k)
		fillers[i] = filler{offset: xxhash.Sum64String(k) % size, skip: seeded.Sum64()%(size-1) + 1}
	}
	const free = math.MaxUint32
	t := make(maglevTable, size)
	for i := range t {
		t[i] = free
	}
	turns := make([]float64, len(keys))
	for filled, round := uint64(0), 1.0; ; round++ {
		for _, i := range order {
			if round*parts[i] < turns[i] { // the heaviest has a turn in each round, the others as their weight says
				continue
			}
			turns[i] += greatest
			f := &fillers[i]
			for {
				at := (f.offset + f.skip*f.next) % size
				f.next++
				if t[at] == free {
					t[at] = uint32(i)
					break
				}
			}
			if filled++; filled == size {
				return t
			}
		}
	}
}

func (t maglevTable) at(hash, attempt uint64) int {
	if attempt > 0 {
		hash ^= ^(attempt - 1)
	}
	return int(t[hash%uint64(len(t))])
}
