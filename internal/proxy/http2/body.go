package http2

// beginData handles the header of a DATA frame; its bytes follow as they come.
func (c *Conn) beginData(h frameHeader, in []byte) (int, Event, *ConnError) {
	n, pad := frameHeaderLen, 0
	if h.has(flagPadded) {
		if h.length == 0 {
			return 0, Event{}, connError(FrameSizeError, "DATA without the padding that its flag tells of")
		}
		if len(in) < frameHeaderLen+1 {
			return 0, Event{}, nil
		}
		n++
		if pad = int(in[frameHeaderLen]); pad >= h.length {
			return 0, Event{}, connError(ProtocolError, "DATA with more padding than there is")
		}
	}
	s := c.open.get(h.stream)
	switch {
	case h.stream == 0 || s == nil && c.idle(h.stream):
		return 0, Event{}, connError(ProtocolError, "DATA on stream %d, which nobody opened", h.stream)
	case int64(h.length) > c.recvWindow:
		return 0, Event{}, connError(FlowControlError, "DATA of %d bytes, the window of the connection has %d", h.length, c.recvWindow)
	case s == nil && c.ended.has(h.stream):
		return 0, Event{}, connError(StreamClosed, "DATA on stream %d, which is closed", h.stream)
	}
	left := h.length - (n - frameHeaderLen) - pad
	switch {
	case left > 0 && s != nil:
		c.control.earn(4)
	case !(s != nil && h.has(flagEndStream)) && !c.control.spend(c.now):
		return 0, Event{}, &ConnError{Code: EnhanceYourCalm, Flood: Control, Text: "too many frames that carry nothing"}
	}
	c.recvWindow -= int64(h.length)
	c.refund(int64(h.length - left)) // padding
	c.data = dataFrame{stream: s, left: left, pad: pad, end: h.has(flagEndStream), active: true}
	var ev Event
	var err *ConnError
	if s != nil {
		ev, err = c.checkData(s, h, left)
	}
	if err == nil && ev.Kind == EventNone && left+pad == 0 {
		_, ev = c.receiveData(nil)
	}
	return n, ev, err
}

// checkData judges a DATA frame by its stream.
func (c *Conn) checkData(s *Stream, h frameHeader, n int) (Event, *ConnError) {
	s.recvWindow -= int64(h.length)
	s.recvCredit += int64(h.length - n)
	switch {
	case s.remoteClosed:
		return c.fail(s, StreamClosed, "DATA after the end of the stream")
	case !s.gotHead:
		return c.fail(s, ProtocolError, "DATA before the head")
	case s.recvWindow < 0:
		return c.fail(s, FlowControlError, "more DATA than the window of the stream has")
	case s.recvLeft >= 0 && (int64(n) > s.recvLeft || h.has(flagEndStream) && int64(n) < s.recvLeft):
		return c.fail(s, ProtocolError, "the body is not as long as content-length")
	case s.recvLeft >= 0:
		s.recvLeft -= int64(n)
	}
	return Event{}, nil
}

// receiveData takes what there is of a DATA frame.
func (c *Conn) receiveData(in []byte) (int, Event) {
	d := &c.data
	n := min(d.left, len(in))
	d.left -= n
	pad := 0
	if d.left == 0 {
		pad = min(d.pad, len(in)-n)
		d.pad -= pad
	}
	s, last := d.stream, d.left == 0
	d.active = d.left+d.pad > 0
	switch {
	case s == nil:
		c.refund(int64(n))
		return n + pad, Event{}
	case last && d.end && !s.remoteClosed:
		s.remoteClosed = true
		c.closeIfDone(s)
		return n + pad, Event{Kind: EventData, Stream: s, Data: in[:n], End: true}
	case n == 0:
		return pad, Event{}
	}
	return n + pad, Event{Kind: EventData, Stream: s, Data: in[:n]}
}

// Consumed tells that n bytes of a body were read or thrown away: the peer may send as many again. The stream is nil if it is Closed.
func (c *Conn) Consumed(s *Stream, n int) {
	c.refund(int64(n))
	if s == nil || !s.open || s.remoteClosed {
		return
	}
	if s.recvCredit += int64(n); s.recvCredit >= int64(c.cfg.StreamWindowBytes)/2 {
		c.out = appendWindowUpdate(c.out, s.id, uint32(s.recvCredit))
		s.recvWindow += s.recvCredit
		s.recvCredit = 0
	}
}

// refund gives window of the connection back. Halves of it keep the peer going, and need few frames.
func (c *Conn) refund(n int64) {
	if c.recvCredit += n; c.recvCredit >= int64(c.cfg.ConnectionWindowBytes)/2 {
		c.out = appendWindowUpdate(c.out, 0, uint32(c.recvCredit))
		c.recvWindow += c.recvCredit
		c.recvCredit = 0
	}
}
