package http2

// streams is the streams that are open, by their numbers: a table with linear probing. The numbers of those that follow each other fall into slots
// that do, so nearly every stream is where it is looked for first.
type streams struct {
	slots []*Stream // a power of two, at most half of them taken
	n     int
}

const leastSlots = 8

func (t *streams) slot(id uint32) uint32 { return id >> 1 & uint32(len(t.slots)-1) }

// get gives an open stream, or nil.
func (t *streams) get(id uint32) *Stream {
	if t.n == 0 {
		return nil
	}
	mask := uint32(len(t.slots) - 1)
	for i := t.slot(id); t.slots[i] != nil; i = (i + 1) & mask {
		if t.slots[i].id == id {
			return t.slots[i]
		}
	}
	return nil
}

// add takes in a stream whose number none of the others has.
func (t *streams) add(s *Stream) {
	if 2*(t.n+1) > len(t.slots) {
		old := t.slots
		t.slots = make([]*Stream, max(leastSlots, 2*len(old)))
		for _, o := range old {
			if o != nil {
				t.place(o)
			}
		}
	}
	t.place(s)
	t.n++
}

func (t *streams) place(s *Stream) {
	i := t.slot(s.id)
	for mask := uint32(len(t.slots) - 1); t.slots[i] != nil; i = (i + 1) & mask {
	}
	t.slots[i] = s
}

// remove takes a stream out. Those behind it that were not where they belong move up.
func (t *streams) remove(s *Stream) {
	if t.n == 0 {
		return
	}
	mask := uint32(len(t.slots) - 1)
	hole := t.slot(s.id)
	for ; t.slots[hole] != s; hole = (hole + 1) & mask {
		if t.slots[hole] == nil {
			return
		}
	}
	t.n--
	for i := (hole + 1) & mask; t.slots[i] != nil; i = (i + 1) & mask {
		if home := t.slot(t.slots[i].id); (i-home)&mask >= (i-hole)&mask {
			t.slots[hole], hole = t.slots[i], i
		}
	}
	t.slots[hole] = nil
}

// all gives the streams in a slice of its own.
func (t *streams) all() []*Stream {
	list := make([]*Stream, 0, t.n)
	for _, s := range t.slots {
		if s != nil {
			list = append(list, s)
		}
	}
	return list
}
