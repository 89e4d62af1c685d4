package http2

import (
	"math/rand/v2"
	"testing"
)

// TestStreams compares the table with a map, while streams come and go, some of which stay long and some of whose numbers fall into one slot.
func TestStreams(t *testing.T) {
	var table streams
	have := map[uint32]*Stream{}
	r := rand.New(rand.NewPCG(5, 6))
	last := uint32(1)
	for i := range 20000 {
		if len(have) < 100 && r.IntN(2) == 0 {
			last += 2 << r.IntN(9)
			s := &Stream{}
			s.id = last
			table.add(s)
			have[last] = s
		}
		if gone := 1 + 2*uint32(r.IntN(int(last))); r.IntN(4) > 0 {
			for id := range have {
				if id%7 != 0 || i%64 == 0 {
					gone = id
					break
				}
			}
			if s := have[gone]; s != nil {
				table.remove(s)
			}
			delete(have, gone)
		}
		for range 3 {
			if id := 1 + 2*uint32(r.IntN(int(last))); table.get(id) != have[id] {
				t.Fatalf("stream %d: %p, want %p", id, table.get(id), have[id])
			}
		}
		for id, s := range have {
			if table.get(id) != s {
				t.Fatalf("stream %d is lost", id)
			}
		}
		if table.n != len(have) || len(table.all()) != len(have) {
			t.Fatalf("%d streams, and %d in all, want %d", table.n, len(table.all()), len(have))
		}
	}
	if len(table.slots) > 256 {
		t.Errorf("%d slots for 100 streams", len(table.slots))
	}
}
