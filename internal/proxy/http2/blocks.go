package http2

import (
	"errors"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// blocks reads the peer's field blocks (RFC 7541). hpack's own decoder is not used because it makes a string of each field that is not in its
// table, and two of each that comes into it, as all fields of some servers' responses do. Here they go where the message keeps its strings.
type blocks struct {
	table   table
	allowed uint32 // the largest table that the peer may have

	// emit is told of each field, and tells whether it is sound: as if it had been told so, because it was looked at the last time.
	emit  func(name, value string, sound bool) bool
	quiet bool // nobody wants the fields: the tables are kept in step only
	waste message.Fields
}

// Why a block cannot be read.
var (
	errTruncated  = errors.New("a field block that ends within a field")
	errNoIndex    = errors.New("an index that nothing has")
	errInteger    = errors.New("an integer that does not end")
	errHuffman    = errors.New("a string that is not in the Huffman code")
	errLateResize = errors.New("an update of the table's size behind fields")
	errTooLarge   = errors.New("an update of the table's size to more than may be")
)

// read reads a block, whose strings go into the memory of some fields. After an error the tables are out of step.
func (b *blocks) read(p []byte, into *message.Fields) (err error) {
	for begun := false; len(p) > 0; {
		first := p[0]
		if first&0xe0 == 0x20 { // section 6.3
			if begun {
				return errLateResize
			}
			var size uint64
			if size, p, err = readInt(p, 5); err != nil {
				return err
			}
			if size > uint64(b.allowed) {
				return errTooLarge
			}
			b.table.resize(uint32(size))
			continue
		}
		begun = true
		f := into
		if b.quiet {
			f = &b.waste
			f.Reset()
		}
		switch {
		case first&0x80 != 0: // section 6.1
			p, err = b.indexed(p, f)
		case first&0x40 != 0: // section 6.2.1
			p, err = b.literal(p, 6, f)
		default: // sections 6.2.2 and 6.2.3
			p, err = b.literal(p, 4, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// indexed reads a field that is in a table.
func (b *blocks) indexed(p []byte, into *message.Fields) ([]byte, error) {
	index, p, err := readInt(p, 7)
	if err != nil {
		return nil, err
	}
	if index-1 < staticLen { // 0 is far beyond
		if f := &staticFields[index]; !b.quiet {
			b.emit(f.name, f.value, index != 1) // an authority is never empty
		}
		return p, nil
	}
	e := b.table.get(index - 1 - staticLen)
	switch {
	case index == 0 || e == nil:
		return nil, errNoIndex
	case !b.quiet:
		e.sound = b.emit(b.nameOf(e, into), into.Copy(b.table.value(e)), e.sound)
	}
	return p, nil
}

func (b *blocks) nameOf(e *tableEntry, into *message.Fields) string {
	if e.static != 0 {
		return staticFields[e.static].name
	}
	return into.Copy(b.table.name(e))
}

// literal reads a field whose value is in the block; bits are those of the index of its name. With 6 it goes into the table.
func (b *blocks) literal(p []byte, bits uint, into *message.Fields) ([]byte, error) {
	index, p, err := readInt(p, bits)
	if err != nil {
		return nil, err
	}
	wanted := !b.quiet || bits == 6
	static, name := uint8(0), ""
	switch {
	case index == 0:
		if name, p, err = readString(p, wanted, into); err != nil {
			return nil, err
		}
	case index <= staticLen:
		static, name = uint8(index), staticFields[index].name
	default:
		e := b.table.get(index - 1 - staticLen)
		if e == nil {
			return nil, errNoIndex
		}
		static, name = e.static, b.nameOf(e, into)
	}
	value, p, err := readString(p, wanted, into)
	if err != nil {
		return nil, err
	}
	sound := !b.quiet && b.emit(name, value, false)
	if bits == 6 {
		b.table.add(static, name, value, sound)
	}
	return p, nil
}

// readInt reads an integer whose first bits are the lower ones of the first byte (section 5.1), and gives what follows.
func readInt(p []byte, bits uint) (n uint64, rest []byte, err error) {
	if len(p) == 0 {
		return 0, nil, errTruncated
	}
	limit := uint64(1)<<bits - 1
	if n = uint64(p[0]) & limit; n < limit {
		return n, p[1:], nil
	}
	for i, c := range p[1:] {
		if i == 9 {
			return 0, nil, errInteger
		}
		if n += uint64(c&0x7f) << (7 * i); c < 0x80 {
			return n, p[i+2:], nil
		}
	}
	return 0, nil, errTruncated
}

// readString reads a string (section 5.2) into the memory of some fields, if it is wanted.
func readString(p []byte, wanted bool, into *message.Fields) (s string, rest []byte, err error) {
	n, rest, err := readInt(p, 7)
	switch {
	case err != nil:
		return "", nil, err
	case n > uint64(len(rest)):
		return "", nil, errTruncated
	}
	raw, rest := rest[:n], rest[n:]
	switch {
	case !wanted:
	case p[0]&0x80 == 0:
		s = into.Copy(raw)
	default:
		text, ok := appendHuffman(into.Room(huffmanRoom(len(raw))), raw)
		if !ok {
			return "", nil, errHuffman
		}
		s = into.Keep(text)
	}
	return s, rest, nil
}
