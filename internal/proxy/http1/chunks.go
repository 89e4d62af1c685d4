package http1

import "github.com/weftmesh/weft/internal/proxy/message"

// maxExtensions is how many bytes of chunk extensions a message may have: nobody uses them, and they cost the sender little.
const maxExtensions = 4 << 10

// Chunks finds the data in a chunked body (RFC 9112 section 7.1), in whatever pieces the bytes come. The zero value begins.
//
// The caller hands it framing with Next, and data itself: as many bytes as Data says are data, which it need not see, and Take tells it how many
// went by. After Done a trailer section follows.
type Chunks struct {
	data       int64
	digits     uint8
	state      chunkState
	extensions uint16
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkDone
)

// Data is how many bytes of data come next; 0 means that framing does, if not Done.
func (c *Chunks) Data() int64 {
	if c.state == chunkData {
		return c.data
	}
	return 0
}

// Take says that n bytes of data went by; it is not more than Data.
func (c *Chunks) Take(n int64) {
	if c.data -= n; c.data == 0 {
		c.state = chunkDataCR
	}
}

// Done tells whether the last chunk was seen: what follows is the trailer section.
func (c *Chunks) Done() bool { return c.state == chunkDone }

// Next reads framing: it gives how many bytes of b were that. When it is all of them and there is no Data yet, more bytes are needed.
func (c *Chunks) Next(b []byte) (n int, err error) {
	for n < len(b) && c.state != chunkData && c.state != chunkDone {
		if err := c.step(b[n]); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (c *Chunks) step(ch byte) error {
	switch c.state {
	case chunkSize:
		return c.size(ch)
	case chunkExtension:
		if ch == '\r' {
			c.state = chunkSizeLF
			return nil
		}
		if c.extensions++; ch < ' ' && ch != '\t' || ch == 0x7f || c.extensions > maxExtensions {
			return ErrChunkExtension
		}
	case chunkSizeLF:
		if ch != '\n' {
			return ErrChunkSize
		}
		c.digits = 0
		c.state = chunkData
		if c.data == 0 {
			c.state = chunkDone
		}
	case chunkDataCR:
		if ch != '\r' {
			return ErrChunkEnd
		}
		c.state = chunkDataLF
	case chunkDataLF:
		if ch != '\n' {
			return ErrChunkEnd
		}
		c.state = chunkSize
	}
	return nil
}

// size reads a byte of the size: hexadecimal digits, at most 15 of them, and then at once the end of the line or an extension.
func (c *Chunks) size(ch byte) error {
	switch {
	case isHex(ch) && c.digits < 15:
		v := ch - '0'
		if v > 9 {
			v = (ch | 0x20) - 'a' + 10
		}
		c.data = c.data<<4 | int64(v)
		c.digits++
	case c.digits > 0 && ch == '\r':
		c.state = chunkSizeLF
	case c.digits > 0 && ch == ';':
		c.state = chunkExtension
	default:
		return ErrChunkSize
	}
	return nil
}

// ParseTrailers reads a trailer section that a Finder found, with its empty line.
func ParseTrailers(section []byte, maxFields int, to *message.Fields) error {
	return fields(section, maxFields, to, nil)
}

// trailer takes a trailer field: those that would frame or route the message are an attack, others that are not allowed there (RFC 9110 section
// 6.5.1) are left out.
func trailer(name, value string, to *message.Fields) error {
	switch name {
	case "transfer-encoding", "content-length", "host":
		return ErrTrailerField
	}
	if mayTrail(name) {
		to.Add(name, value)
	}
	return nil
}

// mayTrail tells whether a field may be a trailer, of those that do not concern the connection.
func mayTrail(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "expect", "authorization", "cookie", "set-cookie",
		"content-encoding", "content-type", "content-range", "range", "cache-control", "max-forwards", "pragma", "age", "expires", "date",
		"location", "vary", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto":
		return false
	}
	return true
}
