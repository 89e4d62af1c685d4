package wire

import "encoding/binary"

// Record is the place of one record in a message.
type Record struct {
	Section Section
	Type    Type
	TTL     int // offset of the TTL
	End     int // offset of what comes after
}

// Records gives the places of all records of a whole message with one question, and where the question ends; false if it is malformed.
// The limits of the counts are those of the bytes: a message cannot claim more records than it holds.
func Records(b []byte) (rs []Record, question int, ok bool) {
	if len(b) < HeaderLen || binary.BigEndian.Uint16(b[4:]) != 1 {
		return nil, 0, false
	}
	at := skipName(b, HeaderLen)
	if at < 0 || at+4 > len(b) {
		return nil, 0, false
	}
	at += 4
	question = at
	for s := AnswerSection; s <= AdditionalSection; s++ {
		for range binary.BigEndian.Uint16(b[6+2*int(s):]) {
			at = skipName(b, at)
			if at < 0 || at+10 > len(b) {
				return nil, 0, false
			}
			r := Record{Section: s, Type: binary.BigEndian.Uint16(b[at:]), TTL: at + 4}
			at += 10 + int(binary.BigEndian.Uint16(b[at+8:]))
			if at > len(b) {
				return nil, 0, false
			}
			r.End = at
			rs = append(rs, r)
		}
	}
	return rs, question, true
}
