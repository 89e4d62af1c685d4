package transport

import (
	"errors"
	"io"
	"time"

	"github.com/weftmesh/weft/internal/proxy/http2"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// stream is what both sides of an exchange have in common. Everything is under the connection's lock.
type stream struct {
	h2 http2.Stream
	c  *conn
	// owner is the exchange on the server's or the client's side that this is a part of.
	owner any

	in     inbox
	inEnd  bool   // all that comes is here
	dst    []byte // of the reader that waits, and how much of it was filled
	filled int

	err      error // why nothing more comes, and nothing more can be sent
	queued   bool  // in conn.waiting
	ended    bool  // Finish, or a head without a body
	bodiless bool  // the response may tell of a body, and has none
	left     int64 // of the body that is sent, -1 if unknown
	take     uint64

	reading, writing waiter
}

var errFinished = errors.New("http2: written to after its end")

func (s *stream) init() {
	s.reading.ch, s.writing.ch = make(chan struct{}, 1), make(chan struct{}, 1)
	s.h2.User = s
}

// reset makes the stream fit for another exchange. The state machine and the connection know it no more.
func (s *stream) reset() {
	s.h2.Reset()
	s.reading.reset()
	s.writing.reset()
	s.inEnd, s.dst, s.filled, s.err = false, nil, 0, nil
	s.queued, s.ended, s.bodiless, s.left, s.take = false, false, false, 0, 0
}

// deliver takes a part of the body: straight to the reader, if it waits.
func (s *stream) deliver(p []byte) {
	if len(p) == 0 {
		return
	}
	if s.dst != nil && s.in.bytes == 0 {
		n := copy(s.dst[s.filled:], p)
		s.filled += n
		p = p[n:]
	}
	s.in.put(p)
	s.reading.signal()
}

// fail ends the exchange. What came in full stays readable.
func (s *stream) fail(err error, gone bool) {
	if s.err == nil {
		s.err = err
	}
	if !s.inEnd {
		s.discard()
	}
	if o, ok := s.owner.(interface{ gone() }); ok && gone {
		o.gone()
	}
	s.reading.signal()
	s.writing.signal()
}

// discard throws away what nobody reads any more, so that the window of the connection is there for others.
func (s *stream) discard() {
	if n := s.in.clear(); n > 0 && !s.c.ending {
		s.c.lend()
		s.c.h2.Consumed(nil, n)
		s.c.kick()
	}
}

// Read reads the body.
func (s *stream) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case s.in.bytes > 0:
			return s.consumed(s.in.take(p)), nil
		case s.inEnd:
			return 0, io.EOF
		case s.err != nil:
			return 0, s.err
		}
		c.kick() // the peer may wait for a head before it sends more
		s.dst, s.filled = p, 0
		err := s.reading.wait(&c.mu, 0)
		n, s.dst, s.filled = s.filled, nil, 0
		if n > 0 {
			return s.consumed(n), nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func (s *stream) consumed(n int) int {
	c := s.c
	if c.ending {
		return n
	}
	c.lend()
	if s.inEnd || s.err != nil {
		c.h2.Consumed(nil, n)
	} else {
		c.h2.Consumed(&s.h2, n)
	}
	c.kick()
	return n
}

// write sends a part of the body.
func (s *stream) write(p []byte) (n int, err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case s.err != nil:
			return n, s.err
		case s.bodiless:
			return len(p), nil
		case s.ended:
			return n, errFinished
		}
		c.lend()
		k := c.h2.Data(&s.h2, p[n:])
		n += k
		if s.left > 0 {
			s.left = max(0, s.left-int64(k))
		}
		if n == len(p) {
			// With all of the body here its end is about to come, and goes with it.
			if s.left != 0 {
				c.kick()
			}
			return n, nil
		}
		if err := s.waitForRoom(); err != nil {
			return n, err
		}
	}
}

// waitForRoom waits until there may be room to send. A peer that leaves none for long loses the stream: what waits here holds memory.
func (s *stream) waitForRoom() error {
	c := s.c
	c.lend()
	c.kick()
	if !s.queued && !c.h2.StreamBlocked(&s.h2) {
		s.queued = true
		c.waiting = append(c.waiting, s)
	}
	err := s.writing.wait(&c.mu, c.o.StallTimeout)
	if err != nil && s.err == nil && (s.writing.deadline.IsZero() || time.Now().Before(s.writing.deadline)) {
		s.abort(http2.Cancel, &message.Error{Reason: message.Cancelled, Text: "http2: the peer reads nothing"})
		return s.err
	}
	return err
}

// headRoom waits until what is to be sent is less than what is bounded, so that heads are bounded too.
func (s *stream) headRoom() error {
	for s.c.h2.OutFull() && s.err == nil {
		if err := s.waitForRoom(); err != nil {
			return err
		}
	}
	return s.err
}

// Flush sends what was written.
func (s *stream) Flush() error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kick()
	return s.err
}

// Finish ends our direction.
func (s *stream) Finish(trailers *message.Fields) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.ended:
		return nil
	case s.err != nil:
		return s.err
	case s.left > 0:
		return errors.New("http2: the body is shorter than was said")
	}
	c.lend()
	s.ended = true
	c.h2.End(&s.h2, trailers)
	c.kick()
	return nil
}

// abort ends the exchange where it stands.
func (s *stream) abort(code http2.Code, err error) {
	c := s.c
	if !s.h2.Closed() {
		c.lend()
		c.h2.Abort(&s.h2, code)
		c.kick()
	}
	s.fail(err, false)
}

// giveBack ends what the connection knows of the stream.
func (s *stream) giveBack(code http2.Code) {
	c := s.c
	if !s.h2.Closed() {
		s.abort(code, errFinished)
	}
	s.discard()
	if s.queued {
		for i, w := range c.waiting {
			if w == s {
				c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
				break
			}
		}
	}
	if c.active--; c.active == 0 {
		c.idle()
	}
}

// SetReadDeadline limits Read; the zero time is no limit.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.reading.set(t)
	return nil
}

// SetWriteDeadline limits Write; the zero time is no limit.
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.writing.set(t)
	return nil
}
