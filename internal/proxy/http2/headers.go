package http2

import (
	"encoding/binary"

	"github.com/weftmesh/weft/internal/proxy/message"
)

func (c *Conn) headersFrame(h frameHeader, p []byte) (Event, *ConnError) {
	if h.stream == 0 || h.stream&1 == 0 {
		return Event{}, connError(ProtocolError, "HEADERS on stream %d", h.stream)
	}
	if h.has(flagPadded) {
		if len(p) == 0 || int(p[0]) >= len(p) {
			return Event{}, connError(ProtocolError, "HEADERS with more padding than there is")
		}
		p = p[1 : len(p)-int(p[0])]
	}
	wrong := ""
	if h.has(flagPriority) {
		if len(p) < 5 {
			return Event{}, connError(FrameSizeError, "HEADERS without the priority that its flag tells of")
		}
		if binary.BigEndian.Uint32(p)&maxWindow == h.stream {
			wrong = "a stream depends on itself"
		}
		p = p[5:]
	}
	if h.has(flagEndHeaders) {
		return c.headers(h.stream, p, h.has(flagEndStream), wrong)
	}
	c.block.stream, c.block.end, c.block.wrong, c.block.frames = h.stream, h.has(flagEndStream), wrong, 1
	c.block.bytes = append(c.block.bytes[:0], p...)
	return Event{}, nil
}

func (c *Conn) continuationFrame(h frameHeader, p []byte) (Event, *ConnError) {
	b := &c.block
	if b.stream == 0 {
		return Event{}, connError(ProtocolError, "CONTINUATION without HEADERS")
	}
	// A block is never much longer than the fields that it stands for, and nobody has a reason to cut it into crumbs.
	limit := 2*int(c.cfg.MaxHeaderListBytes) + maxFrameLen
	if b.frames++; len(b.bytes)+len(p) > limit || b.frames > 32+limit/maxFrameLen {
		return Event{}, &ConnError{Code: EnhanceYourCalm, Flood: Continuation, Text: "a field block that does not end"}
	}
	b.bytes = append(b.bytes, p...)
	if !h.has(flagEndHeaders) {
		return Event{}, nil
	}
	block := *b
	*b = pendingBlock{}
	return c.headers(block.stream, block.bytes, block.end, block.wrong)
}

// headers handles a field block that is complete.
func (c *Conn) headers(id uint32, p []byte, end bool, wrong string) (Event, *ConnError) {
	s := c.open.get(id)
	switch {
	case s == nil && c.cfg.Server && id > c.lastID:
		return c.request(id, p, end, wrong)
	case s == nil && c.idle(id):
		return Event{}, connError(ProtocolError, "HEADERS on stream %d, which nobody opened", id)
	case s == nil && c.ended.has(id):
		return Event{}, connError(StreamClosed, "HEADERS on stream %d, which is closed", id)
	case s == nil && !c.reset.mayHave(id) && id <= c.limit:
		return Event{}, connError(ProtocolError, "HEADERS on stream %d, after stream %d", id, c.lastID)
	case s == nil:
		return c.ignored(p)
	case s.remoteClosed:
		if err := c.decoded(c.dec.ignore(p)); err != nil {
			return Event{}, err
		}
		return c.fail(s, StreamClosed, "HEADERS after the end of the stream")
	case c.cfg.Server || s.gotHead:
		return c.trailers(s, p, end, wrong)
	}
	return c.response(s, p, end, wrong)
}

// decoded tells what a block that cannot be decoded does.
func (c *Conn) decoded(err error) *ConnError {
	if err != nil {
		return connError(CompressionError, "%v", err)
	}
	return nil
}

// ignored keeps the tables in step.
func (c *Conn) ignored(p []byte) (Event, *ConnError) {
	if !c.control.spend(c.now) {
		return Event{}, &ConnError{Code: EnhanceYourCalm, Flood: Control, Text: "too many frames that carry nothing"}
	}
	return Event{}, c.decoded(c.dec.ignore(p))
}

func (c *Conn) request(id uint32, p []byte, end bool, wrong string) (Event, *ConnError) {
	if id > c.limit { // we said that we take no more; the peer tries elsewhere
		c.lastID = id
		return c.ignored(p)
	}
	full := uint32(c.open.n) >= c.cfg.MaxConcurrentStreams || c.cfg.Full != nil && c.cfg.Full()
	if full {
		c.lastID = id
		if err := c.decoded(c.dec.ignore(p)); err != nil {
			return Event{}, err
		}
		if !c.settled { // it does not know our limit yet
			c.sendReset(id, RefusedStream)
			return Event{}, nil
		}
		return Event{}, c.refuse(id, RefusedStream)
	}
	s := c.spare
	if c.spare = nil; s == nil {
		s = c.cfg.New()
	}
	if err := c.decoded(c.dec.readRequest(p, &s.Request)); err != nil {
		return Event{}, err
	}
	if wrong == "" {
		wrong = c.dec.wrong
	}
	if wrong == "" && end && c.dec.length > 0 {
		wrong = "content-length without a body"
	}
	if wrong == "" && s.Request.Protocol != "" && !c.cfg.ExtendedConnect {
		wrong = ":protocol was not offered"
	}
	c.lastID = id
	switch {
	case wrong != "":
		s.Reset()
		c.spare = s
		return Event{}, c.refuse(id, ProtocolError)
	case c.dec.tooLarge():
		s.Reset()
		c.spare = s
		return Event{}, c.refuseTooLarge(id, end)
	}
	c.add(s, id)
	c.control.earn(4)
	s.gotHead, s.remoteClosed = true, end
	s.headRequest, s.connect = s.Request.Method == "HEAD", s.Request.Method == "CONNECT"
	s.Length = message.Unknown
	if !s.connect {
		s.recvLeft = c.dec.length
	}
	s.Length = lengthOf(s.recvLeft, end)
	return Event{Kind: EventHead, Stream: s, End: end}, nil
}

// refuseTooLarge answers a request whose fields are more than we take (section 10.5.1).
func (c *Conn) refuseTooLarge(id uint32, end bool) *ConnError {
	start := c.beginHeaders()
	c.out = c.enc.field(c.out, ":status", "431")
	c.endHeaders(start, id, true)
	if end {
		return nil
	}
	return c.refuse(id, NoError)
}

func (c *Conn) response(s *Stream, p []byte, end bool, wrong string) (Event, *ConnError) {
	s.Response.Reset()
	if err := c.decoded(c.dec.readResponse(p, &s.Response)); err != nil {
		return Event{}, err
	}
	status := s.Response.Status
	interim := status < 200
	noBody := s.headRequest || status == 204 || status == 304
	if wrong == "" {
		wrong = c.dec.wrong
	}
	switch {
	case wrong != "":
	case c.dec.tooLarge():
		return c.fail(s, EnhanceYourCalm, "a response with more header fields than are taken")
	case status == 101:
		wrong = "101 in HTTP/2"
	case interim && end:
		wrong = "an interim response that ends the stream"
	case end && c.dec.length > 0 && !noBody:
		wrong = "content-length without a body"
	}
	if wrong != "" {
		return c.fail(s, ProtocolError, "a response that is malformed: "+wrong)
	}
	c.control.earn(4)
	if interim {
		return Event{Kind: EventHead, Stream: s}, nil
	}
	s.gotHead, s.remoteClosed = true, end
	s.recvLeft, s.Length = c.dec.length, lengthOf(c.dec.length, end)
	switch {
	case s.connect && status < 300: // a tunnel; its length means nothing
		s.recvLeft, s.Length = -1, lengthOf(-1, end)
	case noBody:
		s.recvLeft = 0
		if s.Length = message.NoBody; c.dec.length > 0 {
			s.Length = c.dec.length // of the body that there would be
		} else if s.headRequest && c.dec.length < 0 {
			s.Length = message.Unknown
		}
	}
	c.closeIfDone(s)
	return Event{Kind: EventHead, Stream: s, End: end}, nil
}

func (c *Conn) trailers(s *Stream, p []byte, end bool, wrong string) (Event, *ConnError) {
	if err := c.decoded(c.dec.readTrailers(p, &s.Trailers)); err != nil {
		return Event{}, err
	}
	if wrong == "" {
		wrong = c.dec.wrong
	}
	switch {
	case wrong != "":
	case c.dec.tooLarge():
		return c.fail(s, EnhanceYourCalm, "trailers with more fields than are taken")
	case !end:
		wrong = "they do not end the stream"
	case s.recvLeft > 0:
		wrong = "the body is shorter than content-length"
	}
	if wrong != "" {
		return c.fail(s, ProtocolError, "trailers that are malformed: "+wrong)
	}
	s.remoteClosed = true
	c.closeIfDone(s)
	return Event{Kind: EventTrailers, Stream: s, End: true}, nil
}
