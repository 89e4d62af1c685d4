package transport

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/proxy/http2"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/socket"
)

// conn is what both sides of a connection have in common: a state machine behind a lock, and the two ways to the network.
type conn struct {
	nc    net.Conn
	o     Options
	began time.Time

	// What differs between the sides. They are called with mu held.
	onHead   func(*stream)
	onGoAway func(http2.Event) // nil: it is nothing
	onQuiet  func()            // there was no stream for a while; nil: as well
	onEnd    func()            // nil: as well

	mu       sync.Mutex
	h2       *http2.Conn
	lent     *buffer   // what h2 writes into; nil while there is nothing to write
	flushing bool      // a goroutine writes
	takes    uint64    // how often what h2 wrote was taken to be sent
	waiting  []*stream // writers that wait for the connection's window, or for room
	active   int       // streams that are in somebody's hands
	free     []*stream // and some that are in nobody's, for the next ones
	ending   bool      // what is to be sent is sent, and that is all
	endErr   error     // why
	dead     bool      // nothing comes and nothing goes

	upkeep
	flush    func() // write, made once
	flushers sync.WaitGroup
	first    [1 << 10]byte // what is read into while little comes
}

// buffer is memory that is used while there is something to send or to receive.
type buffer struct{ b []byte }

const (
	readBytes = 32 << 10
	sendBytes = 4 << 10   // to begin with
	keepBytes = 256 << 10 // a larger one is not kept
)

var (
	readBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, readBytes)} }}
	sendBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, sendBytes)} }}
)

func keepSendBuffer(b *buffer) {
	if cap(b.b) <= keepBytes {
		b.b = b.b[:0]
		sendBuffers.Put(b)
	}
}

func (c *conn) setup(nc net.Conn, o Options, cfg http2.Config) {
	cfg.MaxConcurrentStreams = o.MaxConcurrentStreams
	cfg.StreamWindowBytes, cfg.ConnectionWindowBytes = o.StreamWindowBytes, o.ConnectionWindowBytes
	cfg.MaxHeaderListBytes, cfg.ExtendedConnect = o.MaxHeaderListBytes, !o.NoExtendedConnect
	c.nc, c.o, c.began, c.h2 = socket.Direct(nc), o, time.Now(), http2.NewConn(cfg)
	c.flush = c.write
}

// start lets the clock run and sends our preface.
func (c *conn) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.startTimer()
	c.kick()
}

// maxFree is how many streams a connection keeps for those to come, and freeFor how long it does when there are none. They are its own: a
// process-wide pool would be a lock that connections share.
const (
	maxFree = 128
	freeFor = 5 * time.Second
)

func (c *conn) takeFree() *stream {
	n := len(c.free)
	if n == 0 {
		return nil
	}
	s := c.free[n-1]
	c.free[n-1], c.free = nil, c.free[:n-1]
	return s
}

func (c *conn) keepFree(s *stream) {
	if len(c.free) < maxFree && !c.ending {
		s.reset()
		c.free = append(c.free, s)
	}
}

// now is nanoseconds of a clock that only goes forward.
func (c *conn) now() int64 { return int64(time.Since(c.began)) }

// read runs the connection until nothing more comes of it.
func (c *conn) read() {
	in := input{small: c.first[:]}
	in.fill(c.o.Prefix)
	c.o.Prefix = nil
	c.receive(&in)
	var err error
	for err == nil {
		err = in.read(c.nc)
		c.receive(&in)
	}
	in.release()
	c.mu.Lock()
	c.end(lost(err))
	c.dead = true
	c.timer.Stop()
	c.mu.Unlock()
	c.nc.Close()
	c.flushers.Wait()
}

// receive handles what was read.
func (c *conn) receive(in *input) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.lastRead = now
	c.lend()
	defer c.kick()
	for !c.ending {
		n, ev, err := c.h2.Receive(now, in.bytes())
		if err != nil {
			c.end(err)
			break
		}
		if n == 0 {
			in.compact()
			return
		}
		in.skip(n)
		c.handle(&ev)
	}
	in.skip(len(in.bytes())) // what comes after the end is read, so that the peer gets to read ours, and not looked at
}

func (c *conn) handle(ev *http2.Event) {
	var s *stream
	if ev.Stream != nil {
		s = ev.Stream.User.(*stream)
	}
	switch ev.Kind {
	case http2.EventHead:
		s.inEnd = ev.End
		c.onHead(s)
	case http2.EventData:
		s.deliver(ev.Data)
		if ev.End {
			s.inEnd = true
			s.reading.signal()
		}
	case http2.EventTrailers:
		s.inEnd = true
		s.reading.signal()
	case http2.EventReset:
		s.fail(errorOf(ev), true)
	case http2.EventWindow:
		if s != nil {
			s.writing.signal()
		} else {
			c.wake()
		}
	case http2.EventSettings:
		c.wake()
		c.h2.Streams(func(h *http2.Stream) { h.User.(*stream).writing.signal() })
	case http2.EventPong:
		c.pong([8]byte(ev.Data))
	case http2.EventGoAway:
		c.peerLeaves(ev)
	}
}

// peerLeaves handles GOAWAY.
func (c *conn) peerLeaves(ev *http2.Event) {
	if ev.Code != http2.NoError {
		c.peerErr = &http2.ConnError{Code: ev.Code, Remote: true, Text: ev.Text}
	}
	if c.onGoAway != nil {
		c.onGoAway(*ev)
	}
}

// end fails the streams, lets what is to be sent be sent, and closes. The first reason stays.
func (c *conn) end(err error) {
	if c.ending {
		return
	}
	if c.peerErr != nil && (err == nil || !errors.As(err, new(*http2.ConnError))) {
		err = c.peerErr
	}
	c.ending, c.endErr = true, err
	if c.onEnd != nil {
		c.onEnd()
	}
	c.h2.Streams(func(h *http2.Stream) {
		s := h.User.(*stream)
		c.h2.Drop(h)
		s.fail(c.lossOf(s), true)
	})
	c.wake()
	c.nc.SetWriteDeadline(time.Now().Add(lingerTimeout))
	c.startFlush()
}

// lingerTimeout is how long a connection that ends may take for its last words, and how long the peer's are then waited for: closing a
// connection with bytes that nobody read makes TCP throw away what the peer did not read yet.
const lingerTimeout = time.Second

// lossOf is what a stream's user is told when the connection is lost.
func (c *conn) lossOf(s *stream) error {
	e := &message.Error{Reason: message.Internal, Text: "http2: the connection was lost"}
	if c.endErr != nil {
		e.Text = c.endErr.Error()
	}
	e.Unprocessed = s.take == c.takes // its head has not left
	return e
}

// errorOf is what a stream's user is told when it was reset.
func errorOf(ev *http2.Event) *message.Error {
	e := &message.Error{Reason: message.Internal, Text: "http2: the peer reset the stream: " + ev.Code.String()}
	switch {
	case ev.Local:
		e.Reason, e.Text = message.Protocol, "http2: the peer broke the protocol: "+ev.Text
	case ev.Code == http2.RefusedStream:
		e.Reason, e.Unprocessed = message.Refused, true
	case ev.Code == http2.Cancel:
		e.Reason = message.Cancelled
	case ev.Code == http2.NoError:
		e.Reason = message.Done
	case ev.Code == http2.ProtocolError:
		e.Reason = message.Protocol
	}
	return e
}

// codeOf is what the peer is told when we end a stream early.
func codeOf(r message.Reason) http2.Code {
	switch r {
	case message.Done:
		return http2.NoError
	case message.Cancelled:
		return http2.Cancel
	case message.Refused:
		return http2.RefusedStream
	case message.Protocol:
		return http2.ProtocolError
	}
	return http2.InternalError
}
