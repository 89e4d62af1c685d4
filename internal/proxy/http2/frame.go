package http2

import "encoding/binary"

// Preface is what a client sends first (RFC 9113 section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frameType is a type of frame (RFC 9113 section 6).
type frameType uint8

const (
	frameData         frameType = 0x0
	frameHeaders      frameType = 0x1
	framePriority     frameType = 0x2
	frameRSTStream    frameType = 0x3
	frameSettings     frameType = 0x4
	framePushPromise  frameType = 0x5
	framePing         frameType = 0x6
	frameGoAway       frameType = 0x7
	frameWindowUpdate frameType = 0x8
	frameContinuation frameType = 0x9
)

// Flags of frames. Their meaning depends on the type.
const (
	flagEndStream  = 0x1 // DATA, HEADERS
	flagAck        = 0x1 // SETTINGS, PING
	flagEndHeaders = 0x4 // HEADERS, CONTINUATION
	flagPadded     = 0x8 // DATA, HEADERS
	flagPriority   = 0x20
)

const (
	frameHeaderLen = 9
	// maxFrameLen is the longest payload that we take, and the longest that we send: a longer one would keep other streams waiting.
	maxFrameLen = 16 << 10
	maxWindow   = 1<<31 - 1
	// initialWindow is the size of every window until somebody says something else (section 6.9.2).
	initialWindow = 65535
)

// frameHeader is what every frame begins with (section 4.1).
type frameHeader struct {
	length int
	typ    frameType
	flags  uint8
	stream uint32
}

func (h frameHeader) has(flag uint8) bool { return h.flags&flag != 0 }

// parseFrameHeader reads the first nine bytes of p.
func parseFrameHeader(p []byte) frameHeader {
	_ = p[8]
	return frameHeader{
		length: int(p[0])<<16 | int(p[1])<<8 | int(p[2]),
		typ:    frameType(p[3]),
		flags:  p[4],
		stream: binary.BigEndian.Uint32(p[5:]) & maxWindow, // the reserved bit is ignored
	}
}

func appendFrameHeader(dst []byte, h frameHeader) []byte {
	return append(dst, byte(h.length>>16), byte(h.length>>8), byte(h.length), byte(h.typ), h.flags,
		byte(h.stream>>24), byte(h.stream>>16), byte(h.stream>>8), byte(h.stream))
}

func appendRSTStream(dst []byte, stream uint32, code Code) []byte {
	dst = appendFrameHeader(dst, frameHeader{length: 4, typ: frameRSTStream, stream: stream})
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendWindowUpdate(dst []byte, stream, n uint32) []byte {
	dst = appendFrameHeader(dst, frameHeader{length: 4, typ: frameWindowUpdate, stream: stream})
	return binary.BigEndian.AppendUint32(dst, n)
}

func appendPing(dst []byte, flags uint8, data [8]byte) []byte {
	dst = appendFrameHeader(dst, frameHeader{length: 8, typ: framePing, flags: flags})
	return append(dst, data[:]...)
}

func appendGoAway(dst []byte, last uint32, code Code, text string) []byte {
	dst = appendFrameHeader(dst, frameHeader{length: 8 + len(text), typ: frameGoAway})
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	return append(dst, text...)
}

// setting is a parameter of SETTINGS (section 6.5.2).
type setting struct {
	id    uint16
	value uint32
}

const (
	settingHeaderTableSize       = 0x1
	settingEnablePush            = 0x2
	settingMaxConcurrentStreams  = 0x3
	settingInitialWindowSize     = 0x4
	settingMaxFrameSize          = 0x5
	settingMaxHeaderListSize     = 0x6
	settingEnableConnectProtocol = 0x8 // RFC 8441
)

func appendSettings(dst []byte, settings ...setting) []byte {
	dst = appendFrameHeader(dst, frameHeader{length: 6 * len(settings), typ: frameSettings})
	for _, s := range settings {
		dst = binary.BigEndian.AppendUint16(dst, s.id)
		dst = binary.BigEndian.AppendUint32(dst, s.value)
	}
	return dst
}
