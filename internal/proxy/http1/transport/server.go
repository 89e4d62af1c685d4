package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/proxy/http1"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Server is one connection that a client opened.
type Server struct {
	wire    wire
	handler message.Handler
	options Options

	mu       sync.Mutex // of idle, against Drain
	idle     bool       // the read that waits may be woken
	draining atomic.Bool
	active   atomic.Bool
	stream   *serverStream // nil while the connection is idle
	lookout  lookout
}

// NewServer takes a connection whose client speaks HTTP/1.x. It owns the connection from now on.
func NewServer(nc net.Conn, h message.Handler, o Options) *Server {
	s := &Server{handler: h, options: o.withDefaults()}
	s.wire.init(nc)
	s.wire.stall = s.options.StallTimeout
	s.lookout.w = &s.wire
	return s
}

// Serve is NewServer and Serve in one.
func Serve(ctx context.Context, nc net.Conn, h message.Handler, o Options) error {
	return NewServer(nc, h, o).Serve(ctx)
}

// errHeadTimeout is a client that is too slow.
var errHeadTimeout = &http1.Error{Status: 408, Detail: "head_timeout"}

// Serve runs the connection to its end, one exchange after the other, in the goroutine that calls it. Cancelling ctx closes it at once: handlers
// see their streams fail.
//
// The error is nil when the client closed it in order, or it was drained or idle; it is an [http1.Error] if the client broke the protocol.
func (s *Server) Serve(ctx context.Context) error {
	defer s.wire.conn.Close()
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, s.wire.sever)
		defer stop()
	}
	defer s.leave()
	defer s.lookout.stop()
	if len(s.options.Prefix) > 0 {
		s.enter(nil, 0)
		s.stream.in.prefix(s.options.Prefix)
		s.options.Prefix = nil
	}
	for n := 1; ; n++ {
		if s.stream == nil {
			if err := s.awaitRequest(); err != nil || s.stream == nil {
				return err
			}
		}
		s.active.Store(true)
		last := s.options.MaxRequests > 0 && n >= s.options.MaxRequests
		again, err := s.serveOne(last)
		s.active.Store(false)
		if !again {
			return err
		}
	}
}

// Drain closes the connection after the exchange that is under way, whose response says so if it has not begun, and at once if there is none. It
// returns at once and may be called at any time, from any goroutine.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle {
		_ = s.wire.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// Active tells whether an exchange is under way.
func (s *Server) Active() bool { return s.active.Load() }

// enter begins with the first bytes of a request.
func (s *Server) enter(p *page, n int) {
	s.stream = takeServerStream(s)
	if p != nil {
		s.stream.in.begin(p, n)
	}
}

// leave gives back what an exchange needs and an idle connection does not.
func (s *Server) leave() {
	if s.stream != nil {
		s.stream.release()
		s.stream = nil
	}
}

// awaitRequest waits for the first bytes of a request, without memory for them. There is no stream afterwards if the connection is over.
func (s *Server) awaitRequest() error {
	var since time.Time
	limit := s.options.IdleTimeout
	if limit > 0 {
		since = time.Now()
		// A deadline that is there from earlier exchanges is moved only when it passes: that is seldom, and moving it on each is not free.
		if s.wire.readSet.Load() || s.wire.armed.IsZero() || s.wire.armed.Before(since) {
			s.wire.arm(since.Add(limit))
		}
	} else {
		s.wire.arm(time.Time{})
	}
	for {
		if !s.setIdle(true) {
			return nil
		}
		p, n, err := s.wire.receive()
		woken := !s.setIdle(false)
		switch {
		case err == nil:
			if woken {
				_ = s.wire.conn.SetReadDeadline(time.Time{})
				s.wire.armed = time.Time{}
			}
			s.enter(p, n)
			return nil
		case woken || err == io.EOF:
			return nil
		case !isTimeout(err):
			return err
		case time.Since(since) >= limit:
			return nil
		}
		s.wire.arm(since.Add(limit))
	}
}

// setIdle tells whether the connection goes on.
func (s *Server) setIdle(idle bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = idle
	return !s.draining.Load()
}

// serveOne reads a head, runs the handler and tells whether another request may follow.
func (s *Server) serveOne(last bool) (again bool, err error) {
	x := s.stream
	if err := x.readHead(); err != nil {
		return false, s.refuse(err)
	}
	if last {
		x.framing.Close = true
	}
	if x.in.body != bodyDone || x.req.Method == "CONNECT" || x.req.Protocol != "" {
		s.wire.arm(time.Time{}) // from now on reads are the handler's
	}
	s.handler.ServeExchange(x)
	return s.after(x)
}

// after looks how the handler left the exchange.
func (s *Server) after(x *serverStream) (again bool, err error) {
	if s.wire.writeSet.Swap(false) {
		s.wire.disarmWrite()
	}
	switch {
	case x.aborted.Load():
		return false, nil
	case !x.out.done || x.out.err != nil:
		s.wire.sever()
		return false, x.out.err
	case x.out.framing.Tunnel:
		return false, nil
	}
	whole := x.in.body == bodyDone && x.in.err == nil
	if !whole && !x.awaited() {
		s.limit()
		whole = x.in.drain(s.options.DrainBytes)
		s.wire.disarmWrite()
	}
	if !whole || x.out.framing.Close {
		if !whole || x.in.r < x.in.n {
			s.linger()
		}
		return false, nil
	}
	if !x.next() {
		s.leave()
	} else if s.draining.Load() {
		return false, nil
	}
	return true, nil
}

// refuse answers what is no request, if there is anything to answer, and closes the connection.
func (s *Server) refuse(err error) error {
	var wrong *http1.Error
	if !errors.As(err, &wrong) {
		return err
	}
	s.limit()
	var r message.Response
	r.Status = wrong.Status
	var b [128]byte
	head, _, err := http1.AppendResponse(b[:0], &r, message.NoBody, http1.Asked{Method: "GET", Version: message.HTTP11}, true)
	if err == nil {
		_, err = s.wire.conn.Write(head)
	}
	if err == nil {
		s.linger()
	}
	return wrong
}

// limit bounds what is done for an exchange that is over.
func (s *Server) limit() {
	if d := s.options.LingerTimeout; d > 0 {
		s.wire.armed = time.Time{}
		_ = s.wire.conn.SetDeadline(time.Now().Add(d))
	}
}

// linger says that no more comes, and reads on for a while what the client still sends, so that it reads the response before it hears that
// nobody listens (RFC 9112 section 9.6).
func (s *Server) linger() {
	s.limit()
	if s.wire.closeWrite() != nil {
		return
	}
	p := takePage()
	defer p.release()
	for left := s.options.DrainBytes; left > 0; {
		n, err := s.wire.conn.Read(p[:])
		if err != nil {
			return
		}
		left -= n
	}
}
