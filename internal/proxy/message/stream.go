package message

import "time"

// Lengths of a body, beside a number of bytes.
const (
	// NoBody: the message ends with its head.
	NoBody int64 = 0
	// Unknown: the body ends when its reader says so.
	Unknown int64 = -1
)

// ServerStream is an exchange as the connection sees it that a client opened. One goroutine reads, one writes; they may be the same.
//
// After a response 101 (HTTP/1.1), or 2xx to a CONNECT, Read and Write carry the bytes of the tunnel, and Finish ends our direction of it.
type ServerStream interface {
	// Request is the head. It belongs to the exchange and may be changed.
	Request() *Request

	// RequestLength is the body's length in bytes, NoBody or Unknown.
	RequestLength() int64

	// Read reads the body. After io.EOF, RequestTrailers is complete. Any other error means that the client is gone or broke the protocol.
	Read(p []byte) (int, error)
	RequestTrailers() *Fields

	// WriteInterim sends a 1xx response other than 101. Versions without them drop it.
	WriteInterim(*Response) error

	// WriteHead sends the head; with NoBody it ends the response. Framing fields (content-length, transfer-encoding, connection) are written from
	// length and are not to be in Fields. A response to HEAD, 204 and 304 may tell a length and has no body all the same.
	WriteHead(r *Response, length int64) error

	// Write sends a part of the body. What is written is on its way when Write returns, or when Flush does.
	Write(p []byte) (int, error)
	Flush() error

	// Finish ends the response; trailers may be nil.
	Finish(trailers *Fields) error

	// Abort ends the exchange where it stands: the client must notice that the response is incomplete. It may be called from any goroutine, and at any time.
	Abort(Reason)

	// Gone is closed when the client has gone or reset the stream, if the connection can tell while nobody reads; nil if it cannot.
	Gone() <-chan struct{}

	// OnGone has f called once when that happens, which may be now; it is false if the connection cannot tell. f is called with the connection
	// locked: it does not wait, and does not use the stream. OnGone(nil) takes f back: it is not running and will not be called.
	OnGone(f func()) bool

	// SetDeadline limits reads and writes; the zero time is no limit.
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// ClientStream is an exchange as the connection sees it that we opened to an endpoint: the request's head is sent when it is made. One goroutine
// writes, one reads; they may be the same. A tunnel works as with [ServerStream].
type ClientStream interface {
	// Write sends a part of the request's body.
	Write(p []byte) (int, error)
	Flush() error
	// Finish ends the request; trailers may be nil. A request that was begun with NoBody is finished already.
	Finish(trailers *Fields) error

	// ReadHead waits for the head of the response and puts it in r. After an interim response (1xx but 101) it is called again.
	ReadHead(r *Response) error
	// ResponseLength is the body's length in bytes, NoBody or Unknown, once the head was read.
	ResponseLength() int64
	// Read reads the body; as with ServerStream.
	Read(p []byte) (int, error)
	ResponseTrailers() *Fields

	// Close ends the exchange. If request and response are complete the connection goes on to the next exchange, where it can; else the stream is
	// reset, and with HTTP/1.1 the connection closed. Every stream must be closed, once.
	Close(Reason)

	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// Reason is why an exchange was ended early.
type Reason uint8

const (
	// Done: it was not ended early.
	Done Reason = iota
	// Cancelled: nobody wants it any more.
	Cancelled
	// Internal: something failed on our side, or further up.
	Internal
	// Refused: it was not begun and may be tried elsewhere.
	Refused
	// Protocol: the other side broke the protocol.
	Protocol
)

// Error is what a stream's methods give when the other side ended the exchange or broke the protocol, where that says more than an I/O error.
type Error struct {
	Reason Reason
	// Unprocessed says that the other side did not begin with the request (GOAWAY, REFUSED_STREAM, a connection closed while it was idle): it
	// may be sent again whatever its method.
	Unprocessed bool
	Text        string
}

// Error is the text.
func (e *Error) Error() string { return e.Text }

// Handler serves exchanges.
type Handler interface {
	// ServeExchange runs one exchange to its end. Stream and everything seen through it must not be used after it returns.
	ServeExchange(ServerStream)
}
