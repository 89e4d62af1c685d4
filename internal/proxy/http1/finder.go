package http1

import "bytes"

// Finder finds the end of a head, or of a trailer section, in a buffer that grows. It looks at each byte once, whatever pieces the bytes come in,
// and says the same. The zero value begins.
type Finder struct {
	next  int // where to look on
	line  int // where the line that is looked at begins
	lines int
}

// Find gives the length of the head that b begins with, its empty line included, or 0 if more bytes are needed. b begins with what it began with
// the last time; max is how long the head may be. One empty line in front of a head belongs to it (RFC 9112 section 2.2).
func (f *Finder) Find(b []byte, max int) (int, error) {
	// What cannot become a message is not waited for: TLS, say, or an empty line after an empty line.
	if len(b) > 0 && lower[b[0]] == 0 && b[0] != '\r' {
		if b[0] == '\n' {
			return 0, ErrLineEnd
		}
		return 0, ErrRequestLine
	}
	return f.find(b, max, true)
}

// FindTrailers is Find for a trailer section, which may be nothing but the empty line.
func (f *Finder) FindTrailers(b []byte, max int) (int, error) { return f.find(b, max, false) }

func (f *Finder) find(b []byte, max int, leading bool) (int, error) {
	limit := min(len(b), max)
	for {
		i := bytes.IndexByte(b[f.next:limit], '\n')
		if i < 0 {
			f.next = limit
			switch {
			case limit < max:
				return 0, nil
			case f.lines == 0 && leading:
				return 0, ErrRequestLineLength
			}
			return 0, ErrHeadLength
		}
		end := f.next + i + 1
		if end == f.line+1 || b[end-2] != '\r' {
			return 0, ErrLineEnd
		}
		if end == f.line+2 && (f.line > 0 || !leading) {
			return end, nil
		}
		f.line, f.next = end, end
		f.lines++
	}
}
