package http2

import (
	"hash/maphash"
	"strings"
)

// encoder writes field blocks (RFC 7541). hpack's own encoder is not used for two reasons: it keeps the strings that it is given, and ours are
// views of buffers that will hold something else; and it puts every field into the table, where values that never come back push out those
// that do.
//
// A field goes into the dynamic table when it comes for the second time, or when its name is new. Everything else is a literal. Huffman coding
// is not used: it costs both sides more time than the bytes it saves, and what repeats is one byte anyway.
type encoder struct {
	seed  maphash.Seed
	ring  []entry // a power of two; insertion i is ring[i%len]
	first uint32  // oldest insertion still in the table
	next  uint32  // insertion to come
	size  uint32  // bytes, as RFC 7541 section 4.1 counts them
	max   uint32
	least uint32 // smallest max since the peer was told one
	tell  bool   // the peer must be told max

	fields [tableSlots]uint32 // by hash of name and value: insertion + 1
	names  [tableSlots]uint32 // by hash of name
	seen   [tableSlots]uint32 // hashes of fields that were sent as literals
}

type entry struct {
	name, value string
}

const (
	tableBytes = 4096 // the largest dynamic table that we use, and the one that everybody has from the start
	tableSlots = 128
	staticLen  = 61
)

func newEncoder() *encoder {
	return &encoder{seed: maphash.MakeSeed(), ring: make([]entry, 8), max: tableBytes, least: tableBytes}
}

// resize obeys the peer's SETTINGS_HEADER_TABLE_SIZE. The peer is told with the next block (section 4.2).
func (e *encoder) resize(bytes uint32) {
	if bytes = min(bytes, tableBytes); bytes == e.max {
		return
	}
	e.max, e.least, e.tell = bytes, min(bytes, e.least), true
	e.evict(0)
}

// begin begins a block.
func (e *encoder) begin(dst []byte) []byte {
	if e.tell {
		if e.least < e.max {
			// The smallest size must be told, before the one that holds now. 0 is less still, and a decoder that takes but one update before the
			// first field, as Go's does, takes two if the first left nothing.
			e.first, e.size = e.next, 0
			clear(e.ring)
			dst = appendInt(dst, 0x20, 5, 0)
		}
		dst = appendInt(dst, 0x20, 5, uint64(e.max))
		e.tell, e.least = false, e.max
	}
	return dst
}

// field adds a field to a block.
func (e *encoder) field(dst []byte, name, value string) []byte {
	index, same := staticIndex(name, value)
	if same {
		return appendInt(dst, 0x80, 7, index)
	}
	var nameHash uint32
	if index != 0 {
		if sensitive(index, value) {
			return appendLiteral(dst, 0x10, 4, index, name, value)
		}
		nameHash = uint32(index)
	} else {
		nameHash = uint32(maphash.String(e.seed, name))
	}
	hash := nameHash*31 + uint32(maphash.String(e.seed, value))
	if at, ok := e.find(&e.fields, hash); ok {
		if f := &e.ring[at%uint32(len(e.ring))]; f.name == name && f.value == value {
			return appendInt(dst, 0x80, 7, e.index(at))
		}
	}
	known := index != 0
	if !known {
		if at, ok := e.find(&e.names, nameHash); ok && e.ring[at%uint32(len(e.ring))].name == name {
			index, known = e.index(at), true
		}
	}
	again := &e.seen[hash%tableSlots]
	size := uint32(len(name) + len(value) + 32)
	if (known && *again != hash) || size > e.max/2 {
		*again = hash
		return appendLiteral(dst, 0, 4, index, name, value)
	}
	dst = appendLiteral(dst, 0x40, 6, index, name, value)
	e.insert(name, value, nameHash, hash)
	return dst
}

// sensitive tells whether a field must never be in a table, ours or that of anybody who forwards it: what could be guessed byte by byte if an
// attacker saw how long a block with a guess is (section 7.1.3). index is the name's in the static table.
func sensitive(index uint64, value string) bool {
	switch index {
	case authorization, proxyAuthorization:
		return true
	case cookie, setCookie:
		return len(value) < 20
	}
	return false
}

// Names in the static table.
const (
	authorization      = 23
	cookie             = 32
	proxyAuthorization = 49
	setCookie          = 55
)

// index is where an insertion stands now: the newest comes first, after the static table.
func (e *encoder) index(at uint32) uint64 { return uint64(staticLen + e.next - at) }

func (e *encoder) find(slots *[tableSlots]uint32, hash uint32) (at uint32, ok bool) {
	at = slots[hash%tableSlots] - 1
	return at, at-e.first < e.next-e.first // also when 0 - 1 wraps around
}

func (e *encoder) insert(name, value string, nameHash, hash uint32) {
	size := uint32(len(name) + len(value) + 32)
	e.evict(size)
	if n := uint32(len(e.ring)); e.next-e.first == n {
		larger := make([]entry, 2*n)
		for i := e.first; i != e.next; i++ {
			larger[i%(2*n)] = e.ring[i%n]
		}
		e.ring = larger
	}
	var both strings.Builder
	both.Grow(len(name) + len(value))
	both.WriteString(name)
	both.WriteString(value)
	e.ring[e.next%uint32(len(e.ring))] = entry{both.String()[:len(name)], both.String()[len(name):]}
	e.size += size
	e.next++
	e.fields[hash%tableSlots], e.names[nameHash%tableSlots] = e.next, e.next
}

// evict makes room for n bytes.
func (e *encoder) evict(n uint32) {
	for e.size+n > e.max && e.first != e.next {
		f := &e.ring[e.first%uint32(len(e.ring))]
		e.size -= uint32(len(f.name) + len(f.value) + 32)
		*f = entry{}
		e.first++
	}
}

// appendLiteral writes a literal: with the index of its name, or with the name where that is 0 (section 6.2).
func appendLiteral(dst []byte, first byte, bits uint, index uint64, name, value string) []byte {
	dst = appendInt(dst, first, bits, index)
	if index == 0 {
		dst = appendInt(dst, 0, 7, uint64(len(name)))
		dst = append(dst, name...)
	}
	dst = appendInt(dst, 0, 7, uint64(len(value)))
	return append(dst, value...)
}

// appendInt writes an integer into the low bits of first, and what does not fit there behind it (section 5.1).
func appendInt(dst []byte, first byte, bits uint, n uint64) []byte {
	limit := uint64(1)<<bits - 1
	if n < limit {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|byte(limit))
	for n -= limit; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}
