package http2

import "encoding/binary"

func (c *Conn) settingsFrame(h frameHeader, p []byte) (Event, *ConnError) {
	switch {
	case h.stream != 0:
		return Event{}, connError(ProtocolError, "SETTINGS on a stream")
	case h.has(flagAck) && len(p) != 0, len(p)%6 != 0:
		return Event{}, connError(FrameSizeError, "SETTINGS of %d bytes", len(p))
	case h.has(flagAck):
		c.settled = true
		return Event{Kind: EventSettingsAck}, nil
	}
	if !c.gotFirst {
		c.gotFirst = true
		c.peer.maxStreams = maxWindow // it has no limit unless it says so
	}
	for ; len(p) > 0; p = p[6:] {
		if err := c.apply(setting{binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])}); err != nil {
			return Event{}, err
		}
	}
	c.out = appendFrameHeader(c.out, frameHeader{typ: frameSettings, flags: flagAck})
	return Event{Kind: EventSettings}, nil
}

func (c *Conn) apply(s setting) *ConnError {
	switch s.id {
	case settingHeaderTableSize:
		c.enc.resize(s.value)
	case settingEnablePush:
		if s.value > 1 || s.value == 1 && !c.cfg.Server {
			return connError(ProtocolError, "SETTINGS_ENABLE_PUSH %d", s.value)
		}
	case settingMaxConcurrentStreams:
		c.peer.maxStreams = s.value
	case settingInitialWindowSize:
		if s.value > maxWindow {
			return connError(FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE %d", s.value)
		}
		change := int64(s.value) - c.peer.streamWindow
		c.peer.streamWindow = int64(s.value)
		for _, o := range c.open.all() {
			if o.sendWindow += change; o.sendWindow > maxWindow {
				return connError(FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE %d makes the window of stream %d too large", s.value, o.id)
			}
		}
	case settingMaxFrameSize:
		if s.value < maxFrameLen || s.value >= 1<<24 {
			return connError(ProtocolError, "SETTINGS_MAX_FRAME_SIZE %d", s.value)
		}
	case settingEnableConnectProtocol:
		if s.value > 1 || s.value == 0 && c.peer.extendedConnect {
			return connError(ProtocolError, "SETTINGS_ENABLE_CONNECT_PROTOCOL %d", s.value)
		}
		c.peer.extendedConnect = s.value == 1
	}
	return nil
}

func (c *Conn) windowFrame(h frameHeader, p []byte) (Event, *ConnError) {
	if len(p) != 4 {
		return Event{}, connError(FrameSizeError, "WINDOW_UPDATE of %d bytes", len(p))
	}
	n := int64(binary.BigEndian.Uint32(p) & maxWindow)
	if h.stream == 0 {
		if n == 0 {
			return Event{}, connError(ProtocolError, "WINDOW_UPDATE of nothing")
		}
		if c.sendWindow += n; c.sendWindow > maxWindow {
			return Event{}, connError(FlowControlError, "the window of the connection is too large")
		}
		return Event{Kind: EventWindow}, nil
	}
	s := c.open.get(h.stream)
	switch {
	case s == nil && c.idle(h.stream):
		return Event{}, connError(ProtocolError, "WINDOW_UPDATE of stream %d, which nobody opened", h.stream)
	case s == nil:
		return Event{}, nil
	case n == 0:
		return c.fail(s, ProtocolError, "WINDOW_UPDATE of nothing")
	}
	if s.sendWindow += n; s.sendWindow > maxWindow {
		return c.fail(s, FlowControlError, "the window of the stream is too large")
	}
	return Event{Kind: EventWindow, Stream: s}, nil
}
