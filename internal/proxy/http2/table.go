package http2

// table is the dynamic table of the peer's field blocks (RFC 7541 section 2.3.2). What its strings are in is used again, so nobody keeps them.
type table struct {
	mem  []byte // the strings of the entries, in their order
	base uint32 // position of mem's first byte; positions only grow, and wrap around

	ring        []tableEntry // a power of two; insertion i is ring[i%len]
	first, next uint32       // the oldest insertion that is still there, and the one to come
	size, max   uint32       // bytes, as section 4.1 counts them
}

// tableEntry is a field: the name, unless it is the static table's, and the value, from a position on.
type tableEntry struct {
	at          uint32
	name, value uint16 // lengths
	static      uint8  // index of the name
	sound       bool   // it was looked at, and holds nothing that may not be in a field
}

const (
	leastRing = 8
	leastMem  = 256
)

// get gives the entry with an index, 0 for the newest; nil if there is none.
func (t *table) get(index uint64) *tableEntry {
	if index >= uint64(t.next-t.first) {
		return nil
	}
	return &t.ring[(t.next-1-uint32(index))%uint32(len(t.ring))]
}

func (t *table) name(e *tableEntry) []byte {
	at := e.at - t.base
	return t.mem[at : at+uint32(e.name)]
}

func (t *table) value(e *tableEntry) []byte {
	at := e.at - t.base + uint32(e.name)
	return t.mem[at : at+uint32(e.value)]
}

// resize obeys an update of the size that the peer uses.
func (t *table) resize(bytes uint32) {
	t.max = bytes
	t.evict(0)
}

// evict makes room for n bytes, n being no more than max.
func (t *table) evict(n uint32) {
	for t.size+n > t.max {
		t.size -= t.ring[t.first%uint32(len(t.ring))].size()
		t.first++
	}
}

func (e *tableEntry) size() uint32 {
	n := uint32(e.name) + uint32(e.value) + 32
	if e.static != 0 {
		n += uint32(len(staticFields[e.static].name))
	}
	return n
}

// add inserts a field. One that is larger than the table leaves it empty (section 4.4).
func (t *table) add(static uint8, name, value string, sound bool) {
	size := len(name) + len(value) + 32
	if size > int(t.max) {
		t.first, t.size = t.next, 0
		return
	}
	t.evict(uint32(size))
	if static != 0 {
		name = ""
	}
	t.reserve(len(name) + len(value))
	if n := uint32(len(t.ring)); t.next-t.first == n {
		larger := make([]tableEntry, max(leastRing, 2*n))
		for i := t.first; i != t.next; i++ {
			larger[i%uint32(len(larger))] = t.ring[i%n]
		}
		t.ring = larger
	}
	t.ring[t.next%uint32(len(t.ring))] = tableEntry{
		at: t.base + uint32(len(t.mem)), name: uint16(len(name)), value: uint16(len(value)), static: static, sound: sound,
	}
	t.mem = append(append(t.mem, name...), value...)
	t.size += uint32(size)
	t.next++
}

// reserve makes room for n bytes: in the place of strings that nobody refers to any more if there are as many of those as of others, so that what
// is moved is never more than what came since.
func (t *table) reserve(n int) {
	if len(t.mem)+n <= cap(t.mem) {
		return
	}
	live := t.mem[len(t.mem):]
	if t.first != t.next {
		live = t.mem[t.ring[t.first%uint32(len(t.ring))].at-t.base:]
	}
	t.base += uint32(len(t.mem) - len(live))
	if 2*(len(live)+n) <= cap(t.mem) {
		t.mem = t.mem[:copy(t.mem[:cap(t.mem)], live)]
		return
	}
	t.mem = append(make([]byte, 0, max(leastMem, 2*cap(t.mem), 2*(len(live)+n))), live...)
}
