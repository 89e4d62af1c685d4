package transport

import (
	"context"
	"fmt"
	"net"
	"runtime/debug"
	"sync"

	"github.com/weftmesh/weft/internal/proxy/http2"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Server is one connection that a client opened.
type Server struct {
	conn
	handler  message.Handler
	handlers sync.WaitGroup
	resting  []chan *serverStream // goroutines that wait for another exchange to handle; nil ends them
}

// NewServer takes a connection whose client speaks HTTP/2: by ALPN, or with prior knowledge. It owns the connection from now on.
func NewServer(nc net.Conn, h message.Handler, o Options) *Server {
	s := &Server{handler: h}
	o = o.withDefaults()
	s.setup(nc, o, http2.Config{
		Server: true,
		New:    func() *http2.Stream { return &s.newStream().h2 },
		Full:   func() bool { return s.active >= 2*int(o.MaxConcurrentStreams) },
	})
	s.onHead, s.onQuiet, s.onEnd = s.begin, s.dismiss, s.dismiss
	return s
}

// Serve runs the connection to its end and waits for the handlers. Cancelling ctx closes it at once: handlers see their streams fail.
//
// The error is nil when the client closed it in order, or it was drained or idle; it is an [http2.ConnError] if one side broke off.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.end(context.Cause(ctx))
		s.nc.Close()
	})
	defer stop()
	s.start()
	s.read()
	s.handlers.Wait()
	return s.endErr
}

// Drain asks the client to open no more streams, and closes the connection when those that are open are done. It returns at once and may be
// called at any time, from any goroutine.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drain(); s.timer != nil {
		s.schedule()
	}
}

// Active is how many streams have a handler.
func (s *Server) Active() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active
}

// Serve is NewServer and Serve in one.
func Serve(ctx context.Context, nc net.Conn, h message.Handler, o Options) error {
	return NewServer(nc, h, o).Serve(ctx)
}

// begin runs the handler of a request that came.
func (s *Server) begin(st *stream) {
	x := st.owner.(*serverStream)
	x.c, x.left = &s.conn, -1
	s.active++
	if n := len(s.resting); n > 0 {
		s.resting[n-1] <- x
		s.resting = s.resting[:n-1]
		return
	}
	s.handlers.Add(1)
	go s.handle(x)
}

// handle runs handlers, one after the other: the stack has grown to what they need, which a new goroutine's would have to do each time.
func (s *Server) handle(x *serverStream) {
	defer s.handlers.Done()
	next := make(chan *serverStream, 1)
	for x != nil {
		s.run(x)
		x = s.rest(next)
	}
}

// rest waits for another exchange.
func (s *Server) rest(next chan *serverStream) *serverStream {
	s.mu.Lock()
	if s.ending || len(s.resting) >= maxFree {
		s.mu.Unlock()
		return nil
	}
	s.resting = append(s.resting, next)
	s.mu.Unlock()
	return <-next
}

// dismiss ends the goroutines that wait.
func (s *Server) dismiss() {
	for _, next := range s.resting {
		next <- nil
	}
	s.resting = nil
}

func (s *Server) run(x *serverStream) {
	defer func() {
		if p := recover(); p != nil {
			s.mu.Lock()
			s.say(http2.InternalError, true, "")
			s.end(fmt.Errorf("http2: the handler of %s %s panicked: %v\n%s", x.h2.Request.Method, x.h2.Request.Path, p, debug.Stack()))
			s.mu.Unlock()
		}
		x.release()
	}()
	s.handler.ServeExchange(x)
}

// serverStream is an exchange that a client opened.
type serverStream struct {
	stream
	goneCh chan struct{} // made when somebody asks
	onGone func()
	isGone bool
}

func (s *Server) newStream() *stream {
	if st := s.takeFree(); st != nil {
		return st
	}
	x := &serverStream{}
	x.init()
	x.owner = x
	return &x.stream
}

// release gives the stream back when its handler has returned.
func (x *serverStream) release() {
	c := x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	code := http2.InternalError
	if x.h2.LocalClosed() {
		code = http2.NoError // the response is there; the rest of the request is not needed (RFC 9113 section 8.1)
	}
	x.giveBack(code)
	x.onGone = nil
	if x.isGone {
		x.goneCh, x.isGone = nil, false
	}
	c.keepFree(&x.stream)
}

// gone is what fail calls.
func (x *serverStream) gone() {
	if !x.isGone {
		x.isGone = true
		if x.goneCh != nil {
			close(x.goneCh)
		}
		if x.onGone != nil {
			x.onGone()
		}
	}
}

// Request is the head.
func (x *serverStream) Request() *message.Request { return &x.h2.Request }

// RequestLength is the length of the body.
func (x *serverStream) RequestLength() int64 { return x.h2.Length }

// RequestTrailers is complete after io.EOF.
func (x *serverStream) RequestTrailers() *message.Fields { return &x.h2.Trailers }

// Arrived tells how much of the body can be read at once, and whether that is all there is, without trailers.
func (x *serverStream) Arrived() (n int, all bool) {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	return x.in.bytes, x.inEnd && x.h2.Trailers.Len() == 0
}

// Write sends a part of the body.
func (x *serverStream) Write(p []byte) (int, error) { return x.write(p) }

// WriteInterim sends a 1xx response.
func (x *serverStream) WriteInterim(r *message.Response) error {
	return x.writeHead(r, message.Unknown, true)
}

// WriteHead sends the head of the response.
func (x *serverStream) WriteHead(r *message.Response, length int64) error {
	return x.writeHead(r, length, false)
}

func (x *serverStream) writeHead(r *message.Response, length int64, interim bool) error {
	c := x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := x.headRoom(); err != nil {
		return err
	}
	if x.ended {
		return errFinished
	}
	c.lend()
	c.h2.Respond(&x.h2, r, length)
	if !interim {
		x.left = length
		if x.h2.LocalClosed() {
			x.ended, x.bodiless, x.left = true, true, 0
		}
	}
	// A body of a known length is about to come, and goes with it; if it takes its time, Flush sends the head.
	if x.left <= 0 {
		c.kick()
	}
	return nil
}

// Abort ends the exchange where it stands.
func (x *serverStream) Abort(r message.Reason) {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	x.abort(codeOf(r), &message.Error{Reason: r, Text: "http2: the exchange was aborted"})
}

// Gone is closed when the client reset the stream or is gone.
func (x *serverStream) Gone() <-chan struct{} {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	if x.goneCh == nil {
		x.goneCh = make(chan struct{})
		if x.isGone {
			close(x.goneCh)
		}
	}
	return x.goneCh
}

// OnGone has f called then.
func (x *serverStream) OnGone(f func()) bool {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	x.onGone = f
	if x.isGone && f != nil {
		f()
	}
	return true
}
