package transport

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/proxy/http1"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// serverStream is an exchange on a connection that a client opened, and what is left of the last one for the next.
type serverStream struct {
	server  *Server
	req     message.Request
	framing http1.Framing
	in      receiver
	out     sender
	aborted atomic.Bool
	silent  atomic.Bool // the end of the connection is that of the body, so an end before it would not be noticed

	mu        sync.Mutex // where the client waits for 100: the side that reads may have to write
	continued bool
}

var serverStreams = sync.Pool{New: func() any { return new(serverStream) }}

func takeServerStream(s *Server) *serverStream {
	x := serverStreams.Get().(*serverStream)
	x.server = s
	x.in.w, x.out.w = &s.wire, &s.wire
	x.in.maxHead, x.in.maxFields = s.options.MaxHeadBytes, s.options.MaxFields
	return x
}

// release gives the stream and its memory back.
func (x *serverStream) release() {
	x.next()
	x.in.release()
	x.out.free()
	x.server, x.in.w, x.out.w = nil, nil, nil
	serverStreams.Put(x)
}

// next makes ready for another request, and tells whether something of it is there.
func (x *serverStream) next() bool {
	x.req.Reset()
	x.framing = http1.Framing{}
	x.out.reset()
	x.in.body, x.in.err = bodyDone, nil
	x.continued = false
	x.aborted.Store(false)
	x.silent.Store(false)
	return x.in.next()
}

// readHead reads the head of the request.
func (x *serverStream) readHead() error {
	s := x.server
	limited := false
	for {
		head, err := x.in.head()
		if err != nil {
			return err
		}
		if head != nil {
			if limited {
				s.wire.arm(time.Time{})
			}
			return x.parse(head)
		}
		if !limited && s.options.HeadTimeout > 0 {
			s.wire.arm(time.Now().Add(s.options.HeadTimeout))
			limited = true
		}
		switch err := x.in.fill(); {
		case err == nil:
		case isTimeout(err):
			return errHeadTimeout
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
}

func (x *serverStream) parse(head []byte) (err error) {
	if x.framing, err = http1.ParseRequest(head, x.in.maxFields, &x.req); err != nil {
		return err
	}
	x.req.Scheme = x.server.options.Scheme
	x.in.frame(&x.framing)
	return nil
}

func (x *serverStream) Request() *message.Request        { return &x.req }
func (x *serverStream) RequestLength() int64             { return x.framing.Length }
func (x *serverStream) RequestTrailers() *message.Fields { return &x.in.trailers }

func (x *serverStream) Read(p []byte) (int, error) {
	if err := x.admit(); err != nil {
		return 0, err
	}
	return x.in.read(p)
}

// awaited tells whether the client still waits to be told that it may send the body.
func (x *serverStream) awaited() bool {
	if !x.framing.Continue {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.continued
}

// admit tells a client that waits for it that somebody reads the body (RFC 9110 section 10.1.1).
func (x *serverStream) admit() error {
	if !x.framing.Continue {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.continued || x.out.began || x.in.r < x.in.n {
		x.continued = x.continued || x.in.r < x.in.n
		return nil
	}
	return x.interim(&message.Response{Status: 100})
}

func (x *serverStream) interim(r *message.Response) error {
	if r.Status == 100 {
		x.continued = true
	}
	b, _, err := http1.AppendResponse(x.out.room(), r, message.NoBody, x.asked(), false)
	if err != nil {
		return err
	}
	if err := x.out.appended(b); err != nil {
		return err
	}
	return x.out.flush()
}

func (x *serverStream) asked() http1.Asked {
	return http1.Asked{Method: x.req.Method, Protocol: x.req.Protocol, Version: x.framing.Version}
}

func (x *serverStream) WriteInterim(r *message.Response) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.framing.Version == message.HTTP10 || x.out.began || r.Status < 100 || r.Status > 199 || r.Status == 101:
		return nil
	case r.Status == 100 && (x.continued || !x.framing.Continue):
		return nil
	}
	return x.interim(r)
}

func (x *serverStream) WriteHead(r *message.Response, length int64) error {
	if x.framing.Continue {
		x.mu.Lock()
		defer x.mu.Unlock()
	}
	o := &x.out
	if o.began {
		return errTwice
	}
	// A client that still waits to be told may or may not send the body: what comes next could be either.
	leaves := x.framing.Close || x.server.draining.Load() || x.framing.Continue && !x.continued
	b, f, err := http1.AppendResponse(o.room(), r, length, x.asked(), leaves)
	if err != nil {
		return err
	}
	if err := o.appended(b); err != nil {
		return err
	}
	o.begin(&f)
	switch {
	case f.Tunnel:
		x.server.lookout.end() // in a tunnel the client may end its direction
		x.in.body = bodyRaw
		x.silent.Store(true)
		return o.flush()
	case o.done:
		return o.flush()
	case f.Length == message.Unknown && !f.Chunked:
		x.silent.Store(true)
	}
	return nil
}

func (x *serverStream) Write(p []byte) (int, error) {
	if err := x.out.body(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (x *serverStream) Flush() error                          { return x.out.flush() }
func (x *serverStream) Finish(trailers *message.Fields) error { return x.out.finish(trailers) }

// Abort closes the connection: HTTP/1 has no other way.
func (x *serverStream) Abort(message.Reason) {
	x.aborted.Store(true)
	if x.silent.Load() || isTimeout(x.out.err) { // who reads nothing does not hold what it was sent either
		x.server.wire.sever()
		return
	}
	_ = x.server.wire.base.Close()
}

// Gone is nil: nobody reads the connection while the handler does not.
func (x *serverStream) Gone() <-chan struct{} { return nil }

// OnGone has f called when the client has gone, within a second or so, on connections that can be looked at.
func (x *serverStream) OnGone(f func()) bool {
	s := x.server
	if s.wire.socket == nil {
		return false
	}
	if f == nil {
		s.lookout.end()
	} else {
		s.lookout.begin(f)
	}
	return true
}

func (x *serverStream) SetReadDeadline(t time.Time) error {
	x.server.wire.readSet.Store(true)
	return x.server.wire.conn.SetReadDeadline(t)
}

func (x *serverStream) SetWriteDeadline(t time.Time) error {
	x.server.wire.writeSet.Store(true)
	return x.server.wire.conn.SetWriteDeadline(t)
}
