package transport

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/weftmesh/weft/internal/proxy/http1"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// clientStream is an exchange on a connection that we opened.
type clientStream struct {
	client  *Client
	asked   http1.Asked
	framing http1.Framing // of the response
	in      receiver
	out     sender
	lazy    bool // the whole request is in out, and ReadHead sends it
	headed  bool // the head of the response was read, and it was not interim
	closes  bool // some interim response leaves nothing to be trusted
}

var clientStreams = sync.Pool{New: func() any { return new(clientStream) }}

func takeClientStream(c *Client) *clientStream {
	x := clientStreams.Get().(*clientStream)
	x.client = c
	x.in.w, x.out.w = &c.wire, &c.wire
	x.in.maxHead, x.in.maxFields = c.maxHead, c.maxFields
	return x
}

// release gives the stream and its memory back. Nobody uses it any more.
func (x *clientStream) release() {
	x.in.next()
	x.in.release()
	x.out.free()
	trailers := x.in.trailers
	*x = clientStream{}
	x.in.trailers = trailers
	clientStreams.Put(x)
}

func (x *clientStream) Write(p []byte) (int, error) {
	if err := x.out.body(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (x *clientStream) Flush() error {
	if x.lazy { // then there is no body, and nobody else who uses the stream
		x.lazy = false
	}
	return x.out.flush()
}

func (x *clientStream) Finish(trailers *message.Fields) error {
	if x.lazy {
		return nil
	}
	return x.out.finish(trailers)
}

func (x *clientStream) ReadHead(r *message.Response) error {
	if x.lazy {
		x.lazy = false
		if err := x.send(); err != nil {
			return err
		}
	}
	x.in.next()
	for {
		head, err := x.in.head()
		if err != nil {
			return x.broke(err)
		}
		if head != nil {
			return x.parse(head, r)
		}
		if err := x.in.fill(); err != nil {
			return x.lost(err)
		}
	}
}

// send sends a request that has no body, and waits for the first of the response.
func (x *clientStream) send() error {
	o := &x.out
	p, n, sent, err := x.client.wire.exchange(o.gathered())
	o.free()
	o.sent += sent
	if err != nil {
		return x.lost(err)
	}
	x.in.begin(p, n)
	return nil
}

func (x *clientStream) parse(head []byte, r *message.Response) (err error) {
	r.Reset()
	if x.framing, err = http1.ParseResponse(head, x.in.maxFields, x.asked, r); err != nil {
		return x.broke(err)
	}
	x.closes = x.closes || x.framing.Close
	if r.Status >= 200 || r.Status == 101 {
		x.headed = true
		x.in.frame(&x.framing)
	}
	if x.framing.Tunnel {
		x.out.framing, x.out.done = x.framing, false
	}
	return nil
}

// broke is a server that breaks the protocol.
func (x *clientStream) broke(err error) error {
	x.client.broken = true
	x.in.err = err
	return streamError(err)
}

// lost is a connection that ended where a head was expected.
func (x *clientStream) lost(err error) error {
	if isTimeout(err) {
		return err
	}
	c := x.client
	c.broken = true
	if x.in.n > x.in.r || x.headed { // a reset is told only where nothing of the response came: it means something else then
		return io.ErrUnexpectedEOF
	}
	// What was not acknowledged before a reset may have been read all the same: the kernel does not look at what the reset acknowledges.
	reset := errors.Is(err, syscall.ECONNRESET) || c.wire.reset.Load()
	if err == errStale || x.out.sent == 0 || !reset && c.wire.unseen(x.out.sent) {
		return &message.Error{Reason: message.Refused, Unprocessed: true, Text: "http1: the server closed the connection while it was idle"}
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (x *clientStream) ResponseLength() int64             { return x.framing.Length }
func (x *clientStream) Read(p []byte) (int, error)        { return x.in.read(p) }
func (x *clientStream) ResponseTrailers() *message.Fields { return &x.in.trailers }

// Close ends the exchange, and the connection with it unless request and response were complete.
func (x *clientStream) Close(message.Reason) {
	c := x.client
	clean := !c.broken && x.headed && x.out.done && x.out.err == nil && x.in.body == bodyDone && x.in.err == nil &&
		!x.closes && !x.framing.Tunnel && x.in.r == x.in.n
	c.busy = false
	if !clean {
		c.broken = true
		_ = c.Close()
		return // somebody may be using it still: it is not given back
	}
	if c.wire.readSet.Swap(false) {
		_ = c.wire.conn.SetReadDeadline(time.Time{})
	}
	if c.wire.writeSet.Swap(false) {
		_ = c.wire.conn.SetWriteDeadline(time.Time{})
	}
	x.release()
}

func (x *clientStream) SetReadDeadline(t time.Time) error {
	x.client.wire.readSet.Store(true)
	return x.client.wire.conn.SetReadDeadline(t)
}

func (x *clientStream) SetWriteDeadline(t time.Time) error {
	x.client.wire.writeSet.Store(true)
	return x.client.wire.conn.SetWriteDeadline(t)
}
