package http2

import (
	"errors"
	"strconv"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// ErrNotOffered is what Start gives for a request with a Protocol when the peer does not take those (RFC 8441 section 3).
var ErrNotOffered = errors.New("http2: the peer does not take extended CONNECT")

// Start opens a stream with a request, if CanOpen. The stream is empty.
func (c *Conn) Start(s *Stream, r *message.Request, length int64) error {
	if r.Protocol != "" && !c.peer.extendedConnect {
		return ErrNotOffered
	}
	id := c.lastID + 2
	if c.lastID == 0 {
		id = 1
	}
	c.add(s, id)
	s.headRequest, s.connect = r.Method == "HEAD", r.Method == "CONNECT" || r.Protocol != ""
	start := c.beginHeaders()
	e := c.enc
	method := r.Method
	if s.connect {
		method = "CONNECT"
	}
	c.out = e.field(c.out, ":method", method)
	if !s.connect || r.Protocol != "" {
		c.out = e.field(c.out, ":scheme", r.Scheme)
	}
	if r.Authority != "" {
		c.out = e.field(c.out, ":authority", r.Authority)
	}
	if !s.connect || r.Protocol != "" {
		c.out = e.field(c.out, ":path", r.Path)
	}
	if r.Protocol != "" {
		c.out = e.field(c.out, ":protocol", r.Protocol)
	}
	for _, f := range r.Fields.All() {
		if f.Name != "host" {
			c.field(f.Name, f.Value)
		}
	}
	if length > 0 && !s.connect {
		c.length(length)
	}
	end := length == message.NoBody && !s.connect
	c.endHeaders(start, id, end)
	s.localClosed = end
	return nil
}

// Respond sends the head of a response; with message.NoBody, or if such a response has no body, that is all of it.
func (c *Conn) Respond(s *Stream, r *message.Response, length int64) {
	if !s.open || s.localClosed {
		return
	}
	status := r.Status
	if status == 101 && s.connect { // what HTTP/1.1 says when a protocol was changed (RFC 8441 section 4)
		status = 200
	}
	interim := status < 200
	tunnel := s.connect && !interim && status < 300
	end := !interim && !tunnel && (length == message.NoBody || s.headRequest || status == 204 || status == 304)
	start := c.beginHeaders()
	var digits [8]byte
	c.out = c.enc.field(c.out, ":status", statusText(digits[:0], status))
	for _, f := range r.Fields.All() {
		c.field(f.Name, f.Value)
	}
	if length > 0 && !interim && status != 204 && !tunnel {
		c.length(length)
	}
	c.endHeaders(start, s.id, end)
	if end {
		c.endLocal(s)
	}
}

func statusText(buf []byte, status int) string {
	switch status { // those that are in the static table, and a constant costs nothing
	case 200:
		return "200"
	case 204:
		return "204"
	case 304:
		return "304"
	case 404:
		return "404"
	case 503:
		return "503"
	}
	return string(strconv.AppendInt(buf, int64(status), 10))
}

// Room is how many bytes Data would take now.
func (c *Conn) Room(s *Stream) int {
	return max(0, int(min(s.sendWindow, c.sendWindow, int64(maxOutBytes-len(c.out)))))
}

// OutFull tells that what is to be sent should leave before anything is added.
func (c *Conn) OutFull() bool { return len(c.out) >= maxOutBytes }

// StreamBlocked tells whether the stream's own window is used up.
func (c *Conn) StreamBlocked(s *Stream) bool { return s.sendWindow <= 0 }

// Data sends a part of the body, as much as there is Room for, and tells how much that was.
func (c *Conn) Data(s *Stream, p []byte) (n int) {
	for len(p) > 0 && s.open && !s.localClosed {
		k := min(len(p), c.Room(s), maxFrameLen)
		if k == 0 {
			break
		}
		c.dataFrame(s, p[:k], 0)
		c.control.earn(10)
		p, n = p[k:], n+k
	}
	return n
}

func (c *Conn) dataFrame(s *Stream, p []byte, flags uint8) {
	c.lastData, c.dataID = len(c.out), s.id
	c.out = appendFrameHeader(c.out, frameHeader{length: len(p), typ: frameData, flags: flags, stream: s.id})
	c.out = append(c.out, p...)
	s.sendWindow -= int64(len(p))
	c.sendWindow -= int64(len(p))
}

// End ends our direction: with trailers if there are some, else with the last DATA frame, if that has not left yet, or an empty one.
func (c *Conn) End(s *Stream, trailers *message.Fields) {
	if !s.open || s.localClosed {
		return
	}
	switch {
	case trailers != nil && trailers.Len() > 0:
		start := c.beginHeaders()
		for _, f := range trailers.All() {
			c.field(f.Name, f.Value)
		}
		c.endHeaders(start, s.id, true)
	case c.lastData >= 0 && c.dataID == s.id:
		c.out[c.lastData+4] |= flagEndStream
	default:
		c.dataFrame(s, nil, flagEndStream)
	}
	c.endLocal(s)
}

func (c *Conn) endLocal(s *Stream) {
	s.localClosed = true
	c.closeIfDone(s)
}

// Abort ends a stream where it stands.
func (c *Conn) Abort(s *Stream, code Code) {
	if s.open {
		c.sendReset(s.id, code)
		c.forget(s)
	}
}

// Drop forgets a stream of which the peer knows nothing.
func (c *Conn) Drop(s *Stream) {
	if s.open {
		c.forget(s)
	}
}

// Ping asks the peer for an answer.
func (c *Conn) Ping(data [8]byte) { c.out = appendPing(c.out, 0, data) }

// GoAway tells the peer to open no more streams. With final, those that it opened since are not looked at; without, they are, so that a first
// one warns and loses nothing (section 6.8).
func (c *Conn) GoAway(code Code, final bool, text string) {
	last := uint32(maxWindow)
	if final {
		last = c.lastID
		if !c.cfg.Server {
			last = 0
		}
		c.limit = last
	}
	c.out = appendGoAway(c.out, last, code, text)
}

// field adds a field of a message, unless it says something about another connection.
func (c *Conn) field(name, value string) {
	if !ofConnection(name) {
		c.out = c.enc.field(c.out, name, value)
	}
}

func (c *Conn) length(n int64) {
	var digits [20]byte
	c.out = c.enc.field(c.out, "content-length", string(strconv.AppendInt(digits[:0], n, 10)))
}

// beginHeaders leaves room for a frame header.
func (c *Conn) beginHeaders() (start int) {
	start = len(c.out)
	var header [frameHeaderLen]byte
	c.out = c.enc.begin(append(c.out, header[:]...))
	return start
}

// endHeaders makes frames of the block that began at start.
func (c *Conn) endHeaders(start int, stream uint32, end bool) {
	h := frameHeader{length: len(c.out) - start - frameHeaderLen, typ: frameHeaders, flags: flagEndHeaders, stream: stream}
	if end {
		h.flags |= flagEndStream
	}
	if h.length <= maxFrameLen {
		appendFrameHeader(c.out[:start], h)
		return
	}
	block := append([]byte(nil), c.out[start+frameHeaderLen:]...)
	c.out = c.out[:start]
	h.flags &^= flagEndHeaders
	for len(block) > 0 {
		h.length = min(len(block), maxFrameLen)
		if h.length == len(block) {
			h.flags |= flagEndHeaders
		}
		c.out = append(appendFrameHeader(c.out, h), block[:h.length]...)
		block = block[h.length:]
		h.typ, h.flags = frameContinuation, 0
	}
}
