package http2

import (
	"fmt"
	"strconv"
)

// Code is an error code of RST_STREAM and GOAWAY (RFC 9113 section 7).
type Code uint32

// The error codes.
const (
	NoError            Code = 0x0
	ProtocolError      Code = 0x1
	InternalError      Code = 0x2
	FlowControlError   Code = 0x3
	SettingsTimeout    Code = 0x4
	StreamClosed       Code = 0x5
	FrameSizeError     Code = 0x6
	RefusedStream      Code = 0x7
	Cancel             Code = 0x8
	CompressionError   Code = 0x9
	ConnectError       Code = 0xa
	EnhanceYourCalm    Code = 0xb
	InadequateSecurity Code = 0xc
	HTTP11Required     Code = 0xd
)

var codeNames = [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY",
	"HTTP_1_1_REQUIRED"}

// String is the name the RFC gives it.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "error code " + strconv.FormatUint(uint64(c), 10)
}

// ConnError ends a connection. What the peer did wrong is told to it in a GOAWAY; if the peer told us, Remote is set.
type ConnError struct {
	Code   Code
	Flood  Flood // of what the peer sent too much, if that is the reason
	Remote bool  // the peer said so
	Text   string
}

// Error says it in one line.
func (e *ConnError) Error() string {
	who := "the peer broke the protocol"
	switch {
	case e.Remote:
		who = "the peer closed the connection"
	case e.Flood != NoFlood:
		who = "the peer was cut off (" + e.Flood.String() + ")"
	}
	return fmt.Sprintf("http2: %s: %s: %s", who, e.Code, e.Text)
}

func connError(code Code, format string, args ...any) *ConnError {
	return &ConnError{Code: code, Text: fmt.Sprintf(format, args...)}
}

// Flood is a kind of frames with which a peer can cost us much more than it costs the peer.
type Flood uint8

// The floods that are cut off.
const (
	NoFlood Flood = iota
	// RapidReset: streams that are opened and reset at once (CVE-2023-44487).
	RapidReset
	// ProvokedReset: frames that make us reset streams which we already work on (CVE-2025-8671), or refuse them.
	ProvokedReset
	// Continuation: a field block without an end (CVE-2024-27316).
	Continuation
	// Control: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA and unknown frames out of proportion to requests and bodies.
	Control
	// Unread: the peer asks for answers and does not read them.
	Unread
)

// String is the name that a metric carries.
func (f Flood) String() string {
	return [...]string{"none", "rapid_reset", "provoked_reset", "continuation", "control", "unread"}[f]
}
