package http1

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/proxy/message"
)

const (
	testHead   = 4 << 10
	testFields = 100
)

// conn is a connection as its reader sees it: bytes come in pieces, and messages are told as text.
type conn struct {
	asked    *Asked // of responses; nil: these are requests
	buf      []byte
	finder   Finder
	chunks   Chunks
	trailers Finder
	state    int // 0 head, 1 length, 2 chunked, 3 trailers, 4 raw
	left     int64
	framing  Framing
	body     []byte
	line     string
	out      []string
	err      error
}

// feed is given bytes and goes as far as they reach.
func (c *conn) feed(b []byte) {
	c.buf = append(c.buf, b...)
	for c.err == nil && c.advance() {
	}
}

func (c *conn) fail(err error) bool {
	c.err = err
	return false
}

func (c *conn) advance() bool {
	switch c.state {
	case 0:
		return c.head()
	case 1:
		n := min(c.left, int64(len(c.buf)))
		c.body = append(c.body, c.buf[:n]...)
		c.buf = c.buf[n:]
		if c.left -= n; c.left > 0 {
			return false
		}
		return c.done()
	case 2:
		if d := min(c.chunks.Data(), int64(len(c.buf))); d > 0 {
			c.body = append(c.body, c.buf[:d]...)
			c.buf = c.buf[d:]
			c.chunks.Take(d)
		}
		n, err := c.chunks.Next(c.buf)
		c.buf = c.buf[n:]
		if err != nil {
			return c.fail(err)
		}
		if c.chunks.Done() {
			c.state = 3
			return true
		}
		return c.chunks.Data() > 0 && len(c.buf) > 0
	case 3:
		n, err := c.trailers.FindTrailers(c.buf, testHead)
		if err != nil {
			return c.fail(err)
		}
		if n == 0 {
			return false
		}
		var f message.Fields
		if err := ParseTrailers(slices.Clone(c.buf[:n]), testFields, &f); err != nil {
			return c.fail(err)
		}
		c.buf = c.buf[n:]
		if f.Len() > 0 {
			c.line += " trailers " + tell(&f)
		}
		return c.done()
	}
	c.body = append(c.body, c.buf...)
	c.buf = nil
	return false
}

func (c *conn) head() bool {
	n, err := c.finder.Find(c.buf, testHead)
	if err != nil {
		return c.fail(err)
	}
	if n == 0 {
		return false
	}
	head := slices.Clone(c.buf[:n])
	c.buf = c.buf[n:]
	if c.asked == nil {
		var r message.Request
		c.framing, err = ParseRequest(head, testFields, &r)
		c.line = tellRequest(&r)
	} else {
		var r message.Response
		c.framing, err = ParseResponse(head, testFields, *c.asked, &r)
		c.line = fmt.Sprint(r.Status, " ", tell(&r.Fields))
	}
	if err != nil {
		return c.fail(err)
	}
	c.line = strings.Clone(c.line)
	c.finder = Finder{}
	switch f := c.framing; {
	case f.Tunnel:
		c.line += " tunnel"
		c.state = 4
	case f.Bodiless:
		return c.done()
	case f.Chunked:
		c.chunks, c.trailers, c.state = Chunks{}, Finder{}, 2
	case f.Length >= 0:
		c.left, c.state = f.Length, 1
	default:
		c.state = 4
	}
	return true
}

func (c *conn) done() bool {
	if len(c.body) > 0 {
		c.line += " body " + quote(c.body)
	}
	if c.framing.Close {
		c.line += " close"
	}
	c.out = append(c.out, c.line)
	c.body, c.state = nil, 0
	if c.framing.Close {
		c.state = 4
	}
	return true
}

// read gives everything that a connection comes to when the bytes come in pieces that end at cuts.
func read(stream []byte, asked *Asked, cuts ...int) (out []string, rest string, err error) {
	c := &conn{asked: asked}
	from := 0
	for _, cut := range append(cuts, len(stream)) {
		c.feed(stream[from:cut])
		from = cut
	}
	switch {
	case c.err != nil: // what was taken for a message must not depend on when the error was noticed
	case c.state == 4:
		rest = fmt.Sprintf("raw %q", c.body)
	case c.state != 0 || len(c.buf) > 0:
		rest = fmt.Sprintf("in state %d", c.state)
	}
	return c.out, rest, c.err
}

func tell(f *message.Fields) string {
	var b bytes.Buffer
	for _, f := range f.All() {
		fmt.Fprintf(&b, "[%s: %s]", f.Name, f.Value)
	}
	return b.String()
}

func tellRequest(r *message.Request) string {
	s := fmt.Sprintf("%s %s %s %s", r.Method, r.Authority, r.Path, r.Version)
	if r.Protocol != "" {
		s += " upgrade " + r.Protocol
	}
	if r.Fields.Len() > 0 {
		s += " " + tell(&r.Fields)
	}
	return s
}

func quote(b []byte) string { return fmt.Sprintf("%q", b) }
