package http2

import (
	"encoding/binary"
)

// Receive takes the first frame of what came, or as much of it as is there if it is DATA, at a time in nanoseconds since the connection began. It tells how many bytes
// that was, 0 if there must be more, and what it meant. The caller goes on with the rest.
//
// An error ends the connection. What the peer is told about it is in the output.
func (c *Conn) Receive(now int64, in []byte) (n int, ev Event, err *ConnError) {
	c.now = now
	n, ev, err = c.receive(in)
	if err != nil && !err.Remote {
		last := c.lastID
		if !c.cfg.Server {
			last = 0
		}
		c.out = appendGoAway(c.out, last, err.Code, err.Text)
	}
	return n, ev, err
}

func (c *Conn) receive(in []byte) (int, Event, *ConnError) {
	if c.preface > 0 {
		n := min(c.preface, len(in))
		if string(in[:n]) != Preface[len(Preface)-c.preface:][:n] {
			return 0, Event{}, connError(ProtocolError, "no preface")
		}
		c.preface -= n
		return n, Event{}, nil
	}
	if c.data.active {
		n, ev := c.receiveData(in)
		return n, ev, nil
	}
	if len(in) < frameHeaderLen {
		return 0, Event{}, nil
	}
	h := parseFrameHeader(in)
	if h.length > maxFrameLen {
		return 0, Event{}, connError(FrameSizeError, "a frame of %d bytes", h.length)
	}
	if !c.gotFirst && (h.typ != frameSettings || h.has(flagAck)) {
		return 0, Event{}, connError(ProtocolError, "the first frame is not SETTINGS")
	}
	if c.block.stream != 0 && (h.typ != frameContinuation || h.stream != c.block.stream) {
		return 0, Event{}, connError(ProtocolError, "a frame between HEADERS and CONTINUATION")
	}
	if h.typ == frameData {
		return c.beginData(h, in)
	}
	if len(in) < frameHeaderLen+h.length {
		return 0, Event{}, nil
	}
	if len(c.out) > 2*maxOutBytes {
		return 0, Event{}, &ConnError{Code: EnhanceYourCalm, Flood: Unread, Text: "answers are asked for and not read"}
	}
	payload := in[frameHeaderLen : frameHeaderLen+h.length]
	ev, err := c.frame(h, payload)
	return frameHeaderLen + h.length, ev, err
}

// frame handles every frame but DATA.
func (c *Conn) frame(h frameHeader, p []byte) (Event, *ConnError) {
	switch h.typ {
	case frameHeaders:
		return c.headersFrame(h, p)
	case frameContinuation:
		return c.continuationFrame(h, p)
	case frameRSTStream:
		return c.resetFrame(h, p)
	}
	if !c.control.spend(c.now) {
		return Event{}, &ConnError{Code: EnhanceYourCalm, Flood: Control, Text: "too many frames that carry nothing"}
	}
	switch h.typ {
	case frameSettings:
		return c.settingsFrame(h, p)
	case framePing:
		return c.pingFrame(h, p)
	case frameWindowUpdate:
		return c.windowFrame(h, p)
	case frameGoAway:
		return c.goAwayFrame(h, p)
	case framePriority:
		return c.priorityFrame(h, p)
	case framePushPromise:
		return Event{}, connError(ProtocolError, "PUSH_PROMISE")
	}
	return Event{}, nil // an unknown type is ignored (section 4.1)
}

func (c *Conn) resetFrame(h frameHeader, p []byte) (Event, *ConnError) {
	switch {
	case len(p) != 4:
		return Event{}, connError(FrameSizeError, "RST_STREAM of %d bytes", len(p))
	case h.stream == 0 || c.idle(h.stream):
		return Event{}, connError(ProtocolError, "RST_STREAM of stream %d, which nobody opened", h.stream)
	}
	s := c.open.get(h.stream)
	if s == nil {
		if !c.control.spend(c.now) {
			return Event{}, &ConnError{Code: EnhanceYourCalm, Flood: Control, Text: "too many frames that carry nothing"}
		}
		return Event{}, nil
	}
	// A stream that was given time was wanted: a client may well time out often. One that is reset at once only costs.
	if c.cfg.Server && c.now-s.opened < 1e9 && !c.resets.spend(c.now) {
		return Event{}, &ConnError{Code: EnhanceYourCalm, Flood: RapidReset, Text: "too many streams are reset as soon as they are open"}
	}
	s.remoteClosed = true
	c.forget(s)
	return Event{Kind: EventReset, Stream: s, Code: Code(binary.BigEndian.Uint32(p))}, nil
}

func (c *Conn) pingFrame(h frameHeader, p []byte) (Event, *ConnError) {
	switch {
	case len(p) != 8:
		return Event{}, connError(FrameSizeError, "PING of %d bytes", len(p))
	case h.stream != 0:
		return Event{}, connError(ProtocolError, "PING on a stream")
	case h.has(flagAck):
		return Event{Kind: EventPong, Data: p}, nil
	}
	c.out = appendPing(c.out, flagAck, [8]byte(p))
	return Event{}, nil
}

func (c *Conn) goAwayFrame(h frameHeader, p []byte) (Event, *ConnError) {
	switch {
	case len(p) < 8:
		return Event{}, connError(FrameSizeError, "GOAWAY of %d bytes", len(p))
	case h.stream != 0:
		return Event{}, connError(ProtocolError, "GOAWAY on a stream")
	}
	c.goAway = true
	return Event{
		Kind: EventGoAway, Last: binary.BigEndian.Uint32(p) & maxWindow, Code: Code(binary.BigEndian.Uint32(p[4:])), Text: string(p[8:min(len(p), 200)]),
	}, nil
}

// priorityFrame ignores priorities, as section 5.3.2 allows, if they are well-formed.
func (c *Conn) priorityFrame(h frameHeader, p []byte) (Event, *ConnError) {
	switch {
	case h.stream == 0:
		return Event{}, connError(ProtocolError, "PRIORITY of no stream")
	case len(p) != 5:
		if s := c.open.get(h.stream); s != nil {
			return c.fail(s, FrameSizeError, "PRIORITY of a wrong length")
		}
		return Event{}, connError(FrameSizeError, "PRIORITY of %d bytes", len(p))
	case binary.BigEndian.Uint32(p)&maxWindow == h.stream:
		if s := c.open.get(h.stream); s != nil {
			return c.fail(s, ProtocolError, "a stream depends on itself")
		}
		return Event{}, connError(ProtocolError, "stream %d depends on itself", h.stream)
	}
	return Event{}, nil
}

// fail ends a stream because of what the peer did with it.
func (c *Conn) fail(s *Stream, code Code, text string) (Event, *ConnError) {
	if err := c.refuse(s.id, code); err != nil {
		return Event{}, err
	}
	c.forget(s)
	return Event{Kind: EventReset, Stream: s, Code: code, Local: true, Text: text}, nil
}

// refuse resets a stream that may not be open, and counts it.
func (c *Conn) refuse(id uint32, code Code) *ConnError {
	if !c.provoked.spend(c.now) {
		return &ConnError{Code: EnhanceYourCalm, Flood: ProvokedReset, Text: "too many streams had to be reset"}
	}
	c.sendReset(id, code)
	return nil
}

func (c *Conn) sendReset(id uint32, code Code) {
	c.out = appendRSTStream(c.out, id, code)
	c.reset.add(id)
}
