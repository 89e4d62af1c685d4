package http2

import "github.com/weftmesh/weft/internal/proxy/message"

// Stream is one exchange on a connection. Whoever makes it owns it, and may use it again (after Reset) once it is Closed or abandoned.
type Stream struct {
	// User is the maker's, and never looked at.
	User any

	// Request is what a server received; the head an event tells of. Response is the same of a client: the maker may take it at each EventHead.
	Request  message.Request
	Response message.Response
	Trailers message.Fields
	// Length is the length of the body that is received, as package message says it.
	Length int64

	streamState
}

// streamState is what the connection knows of a stream.
type streamState struct {
	id          uint32
	opened      int64 // nanoseconds
	sendWindow  int64 // what we may send; SETTINGS can make it negative
	recvWindow  int64 // what the peer may send
	recvCredit  int64 // read here, and not told to the peer yet
	recvLeft    int64 // content-length that has not come; -1 if there is none
	headRequest bool  // the request was HEAD: the response has no body
	connect     bool  // the request was CONNECT: there is no content-length once it succeeded

	open         bool // the connection knows it
	gotHead      bool
	remoteClosed bool // the peer ended its direction, or reset
	localClosed  bool
}

// ID is the stream's number on its connection, 0 before it has one.
func (s *Stream) ID() uint32 { return s.id }

// Closed tells that both directions are, or the stream was reset: nothing more happens to it.
func (s *Stream) Closed() bool { return !s.open }

// RemoteClosed tells that the peer sent all that it is going to send.
func (s *Stream) RemoteClosed() bool { return s.remoteClosed }

// LocalClosed tells that we did.
func (s *Stream) LocalClosed() bool { return s.localClosed }

// Reset makes the stream empty again and keeps its memory.
func (s *Stream) Reset() {
	s.Request.Reset()
	s.Response.Reset()
	s.Trailers.Reset()
	s.Length, s.streamState = 0, streamState{}
}

// EventKind is what happened.
type EventKind uint8

// The kinds of events. Each tells which of the fields of Event are set.
const (
	// EventNone: nothing that the caller must know.
	EventNone EventKind = iota
	// EventHead: a request came (Stream is new), or a response, which may be an interim one. End: there is no body.
	EventHead
	// EventData: Data of a body came. It is a part of the input, and counts against the windows until Consumed is told. End: that was the body.
	EventData
	// EventTrailers: trailers came, and the body ended.
	EventTrailers
	// EventReset: the stream is over before its time. Code says why; Local if we had to end it, and Text what the peer did.
	EventReset
	// EventWindow: there is more room to send on Stream, or on all streams if it is nil.
	EventWindow
	// EventSettings: the peer's settings changed.
	EventSettings
	// EventSettingsAck: the peer knows ours.
	EventSettingsAck
	// EventPong: a ping was answered; Data is its eight bytes.
	EventPong
	// EventGoAway: the peer takes no new streams and knows nothing of streams above Last.
	EventGoAway
)

// Event is what a frame meant.
type Event struct {
	Kind   EventKind
	Stream *Stream
	Data   []byte
	End    bool
	Code   Code
	Local  bool
	Text   string
	Last   uint32
}
