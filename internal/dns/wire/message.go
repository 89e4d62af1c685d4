package wire

import (
	"encoding/binary"
	"net/netip"
)

// Section is a part of a message after the question.
type Section uint8

// The sections, in the order in which they must be written.
const (
	AnswerSection Section = iota
	AuthoritySection
	AdditionalSection
)

// QuestionName is where the name of the question is in every answer: what an owner name can point to.
const QuestionName = HeaderLen

// maxPointer is the farthest offset that a compression pointer can say.
const maxPointer = 0x3FFF

// Message writes one answer into a buffer it is given. Records that do not fit are left out whole; if that cuts the answer or the
// authority section the message says so (TC), as RFC 2181 section 9 asks.
type Message struct {
	buf     []byte
	limit   int // records may be written up to here
	n       int
	counts  [3]uint16
	flags   uint16
	section Section
	edns    bool
	do      bool
	offer   uint16 // the UDP size we can take
	asked   uint16 // questions echoed: none if the question could not be read
}

// Begin starts the answer to q in buf, of at most limit bytes (and len(buf)), echoing the question as it was asked. offer is the UDP size
// that an EDNS answer offers. Begin gives false if not even the question fits.
func (m *Message) Begin(buf []byte, limit int, q *Query, offer uint16) bool {
	*m = Message{buf: buf, limit: min(limit, len(buf)), edns: q.EDNS, do: q.DO, offer: offer}
	if m.edns {
		m.limit -= optLen
	}
	if m.limit < HeaderLen+len(q.Question) {
		return false
	}
	binary.BigEndian.PutUint16(buf, q.ID)
	m.flags = FlagQR | q.Flags&(opcodeMask|FlagRD|FlagCD)
	m.n = HeaderLen + copy(buf[HeaderLen:], q.Question)
	if q.Question != nil {
		m.asked = 1
	}
	return true
}

// Section says that the records to follow belong to that section.
func (m *Message) Section(s Section) { m.section = s }

// Len is the number of bytes written so far: where the next record will begin.
func (m *Message) Len() int { return m.n }

// Truncated tells whether something that matters did not fit.
func (m *Message) Truncated() bool { return m.flags&FlagTC != 0 }

// record begins a record whose owner name is the one at offset owner, and gives its data to be filled, nil if it does not fit.
func (m *Message) record(owner int, t Type, ttl uint32, size int) []byte {
	end := m.n + 12 + size
	if end > m.limit || owner > maxPointer {
		m.overflow()
		return nil
	}
	b := m.buf[m.n:end]
	binary.BigEndian.PutUint16(b, 0xC000|uint16(owner))
	binary.BigEndian.PutUint16(b[2:], t)
	binary.BigEndian.PutUint16(b[4:], ClassIN)
	binary.BigEndian.PutUint32(b[6:], ttl)
	binary.BigEndian.PutUint16(b[10:], uint16(size))
	m.n = end
	m.counts[m.section]++
	return b[12:]
}

func (m *Message) overflow() {
	if m.section != AdditionalSection {
		m.flags |= FlagTC
		m.limit = m.n // nothing after what was left out
	}
}

// Address writes an A or an AAAA record, as the address is.
func (m *Message) Address(owner int, ttl uint32, a netip.Addr) bool {
	if a.Is4() {
		v := a.As4()
		b := m.record(owner, TypeA, ttl, len(v))
		return copy(b, v[:]) != 0
	}
	v := a.As16()
	b := m.record(owner, TypeAAAA, ttl, len(v))
	return copy(b, v[:]) != 0
}

// Named writes a record whose data is a name (CNAME, PTR, NS), given in wire form, and gives the offset of that name, 0 if it does not fit.
func (m *Message) Named(owner int, t Type, ttl uint32, name string) int {
	b := m.record(owner, t, ttl, len(name))
	if copy(b, name) == 0 {
		return 0
	}
	return m.n - len(name)
}

// SRV writes a service record (RFC 2782; the target is never compressed) and gives the offset of the target, 0 if it does not fit. The
// target is label (if any) under name, both in wire form, label without its length.
func (m *Message) SRV(owner int, ttl uint32, priority, weight, port uint16, label, name string) int {
	size := len(name)
	if label != "" {
		size += 1 + len(label)
	}
	b := m.record(owner, TypeSRV, ttl, 6+size)
	if b == nil {
		return 0
	}
	binary.BigEndian.PutUint16(b, priority)
	binary.BigEndian.PutUint16(b[2:], weight)
	binary.BigEndian.PutUint16(b[4:], port)
	b = b[6:]
	if label != "" {
		b[0] = byte(len(label))
		b = b[1+copy(b[1:], label):]
	}
	copy(b, name)
	return m.n - size
}

// Strings writes a record whose data is character strings (TXT, HINFO), each of at most 255 bytes.
func (m *Message) Strings(owner int, t Type, ttl uint32, texts ...string) bool {
	size := 0
	for _, s := range texts {
		size += 1 + len(s)
	}
	b := m.record(owner, t, ttl, size)
	for _, s := range texts {
		if b == nil {
			return false
		}
		b[0] = byte(len(s))
		b = b[1+copy(b[1:], s):]
	}
	return true
}

// SOA is what an authority says of its zone (RFC 1035 section 3.3.13); names are in wire form.
type SOA struct {
	Nameserver, Mailbox                     string
	Serial, Refresh, Retry, Expire, Minimum uint32
}

// SOA writes a start-of-authority record.
func (m *Message) SOA(owner int, ttl uint32, s *SOA) bool {
	b := m.record(owner, TypeSOA, ttl, len(s.Nameserver)+len(s.Mailbox)+20)
	if b == nil {
		return false
	}
	b = b[copy(b, s.Nameserver):]
	b = b[copy(b, s.Mailbox):]
	for i, v := range [...]uint32{s.Serial, s.Refresh, s.Retry, s.Expire, s.Minimum} {
		binary.BigEndian.PutUint32(b[4*i:], v)
	}
	return true
}

// Raw writes a whole record that somebody else packed, without compression.
func (m *Message) Raw(record []byte) bool {
	if m.n+len(record) > m.limit {
		m.overflow()
		return false
	}
	m.n += copy(m.buf[m.n:], record)
	m.counts[m.section]++
	return true
}

// Embed makes the message that of somebody else: the sections of another answer to the same question, as bytes after the question, with
// their counts. What does not fit is the caller's to have cut already.
func (m *Message) Embed(sections []byte, counts [3]uint16, cut bool) bool {
	if m.n+len(sections) > m.limit {
		return false
	}
	m.n += copy(m.buf[m.n:], sections)
	m.counts = counts
	if cut {
		m.flags |= FlagTC
	}
	return true
}

// Room is the number of bytes that records can still take.
func (m *Message) Room() int { return m.limit - m.n }

// Tail gives the bytes written from offset on, to be corrected in place.
func (m *Message) Tail(from int) []byte { return m.buf[from:m.n] }

// End finishes the message: its code, flags of the second header word to set besides, and the OPT record if the query had one. The bytes
// are the buffer's.
func (m *Message) End(code Code, flags uint16) []byte {
	if m.edns {
		b := m.buf[m.n : m.n+optLen]
		ttl := uint32(code>>4) << 24
		if m.do {
			ttl |= 1 << 15 // RFC 3225 section 3: copied
		}
		b[0] = 0
		binary.BigEndian.PutUint16(b[1:], TypeOPT)
		binary.BigEndian.PutUint16(b[3:], m.offer)
		binary.BigEndian.PutUint32(b[5:], ttl)
		binary.BigEndian.PutUint16(b[9:], 0)
		m.n += optLen
		m.counts[AdditionalSection]++
	}
	h := m.buf[:HeaderLen]
	binary.BigEndian.PutUint16(h[2:], m.flags|flags|code&15)
	binary.BigEndian.PutUint16(h[4:], m.asked)
	for i, c := range m.counts {
		binary.BigEndian.PutUint16(h[6+2*i:], c)
	}
	return m.buf[:m.n]
}
