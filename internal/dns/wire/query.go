package wire

import "encoding/binary"

// Verdict says what is to become of a packet.
type Verdict uint8

const (
	// Answer: a query to be answered.
	Answer Verdict = iota
	// Drop: not a query at all; an answer could only feed a loop or a reflection.
	Drop
	// Malformed: answer FORMERR.
	Malformed
	// Unimplemented: an opcode other than QUERY; answer NOTIMP.
	Unimplemented
	// UnknownEDNS: an EDNS version above 0; answer BADVERS (RFC 6891 section 6.1.3).
	UnknownEDNS
)

// Query is one parsed query. It is reused from packet to packet.
type Query struct {
	ID    uint16
	Flags uint16 // the header's second word as it came
	Name  Name
	Type  Type
	Class uint16

	// Question is the question as it came, in the asker's own letter case. It belongs to the packet.
	Question []byte

	EDNS    bool
	DO      bool   // the asker wants DNSSEC records (RFC 3225)
	UDPSize uint16 // what the asker can take over UDP, at least [PlainUDP]
}

// Parse reads a packet. The query refers to the packet's bytes until it is parsed into again. After [Drop] it holds nothing; otherwise ID
// and Flags are set, and Question unless it could not be read.
func (q *Query) Parse(b []byte) Verdict {
	q.Question, q.EDNS, q.DO, q.UDPSize = nil, false, false, PlainUDP
	if len(b) < HeaderLen {
		return Drop
	}
	q.ID = binary.BigEndian.Uint16(b)
	q.Flags = binary.BigEndian.Uint16(b[2:])
	if q.Flags&FlagQR != 0 {
		return Drop
	}
	if q.Flags&opcodeMask != 0 {
		return Unimplemented
	}
	if binary.BigEndian.Uint16(b[4:]) != 1 { // RFC 9619: a query has one question
		return Malformed
	}
	n, err := q.Name.parse(b[HeaderLen:])
	if err != nil || len(b) < HeaderLen+n+4 {
		return Malformed
	}
	end := HeaderLen + n + 4
	q.Question = b[HeaderLen:end]
	q.Type = binary.BigEndian.Uint16(b[end-4:])
	q.Class = binary.BigEndian.Uint16(b[end-2:])
	return q.parseRecords(b, end)
}

// parseRecords walks what follows the question and reads the OPT record.
func (q *Query) parseRecords(b []byte, at int) Verdict {
	an, ns, ar := int(binary.BigEndian.Uint16(b[6:])), int(binary.BigEndian.Uint16(b[8:])), int(binary.BigEndian.Uint16(b[10:]))
	version := uint8(0)
	for i := range an + ns + ar {
		start := at
		at = skipName(b, at)
		if at < 0 || at+10 > len(b) {
			return Malformed
		}
		typ, class, ttl := binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:]), binary.BigEndian.Uint32(b[at+4:])
		at += 10 + int(binary.BigEndian.Uint16(b[at+8:]))
		if at > len(b) {
			return Malformed
		}
		if typ != TypeOPT {
			continue
		}
		if q.EDNS || b[start] != 0 || i < an+ns { // RFC 6891 section 6.1.1: one, named by the root, among the additional records
			return Malformed
		}
		q.EDNS, q.UDPSize, version, q.DO = true, max(class, PlainUDP), uint8(ttl>>16), ttl&(1<<15) != 0
	}
	if version != 0 {
		return UnknownEDNS
	}
	return Answer
}

// skipName gives the offset after the name at that offset, -1 if there is none. Pointers are not followed.
func skipName(b []byte, at int) int {
	for at < len(b) {
		switch l := int(b[at]); {
		case l == 0:
			return at + 1
		case l >= 0xC0:
			if at+2 > len(b) {
				return -1
			}
			return at + 2
		case l > MaxLabel:
			return -1
		default:
			at += 1 + l
		}
	}
	return -1
}
