package transport

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"time"
)

// Reader is the side of a stream that gives bytes: a message.ServerStream or a message.ClientStream, of any version.
type Reader interface {
	Read(p []byte) (int, error)
	SetReadDeadline(time.Time) error
}

// Writer is the side of a stream that takes bytes.
type Writer interface {
	Write(p []byte) (int, error)
	Flush() error
	SetWriteDeadline(time.Time) error
}

const (
	// spliceFrom is what a body must still have for the kernel to move it: below that the pipe it goes through costs more than it saves.
	spliceFrom = 32 << 10
	// splicePiece is moved between two looks at the idle limit.
	splicePiece = 1 << 20
	// copyBytes is moved at once otherwise, if the source has no buffer of its own.
	copyBytes = 32 << 10
)

var copyBuffers = sync.Pool{New: func() any { return new([copyBytes]byte) }}

// Copy sends the rest of a body, or one direction of a tunnel, from one stream to another until it ends; it does not finish dst. What was read is
// flushed before it waits for more. Between two HTTP/1 streams over TCP the kernel does it (splice(2)) where the bytes need not be looked at.
//
// idle is how long neither side may move a byte; 0 is no limit. It tells how many bytes went, and which side failed, if one did.
func Copy(dst Writer, src Reader, idle time.Duration) (n int64, readErr, writeErr error) {
	return CopyWithin(dst, src, Limits{Idle: idle})
}

// Limits are how long a copy may take.
type Limits struct {
	Idle  time.Duration // how long nothing may move; 0 is no limit
	Until time.Time     // the end, whatever moves; the zero time is none
	Pulse *Pulse        // what moves in the other direction counts as well; nil is that only this one does
}

// CopyWithin is Copy within limits. Deadlines that the streams have are only replaced where there is a limit.
func CopyWithin(dst Writer, src Reader, l Limits) (n int64, readErr, writeErr error) {
	c := copying{dst: dst, src: src, Limits: l}
	switch s := src.(type) {
	case *serverStream:
		if err := s.admit(); err != nil {
			return 0, err, nil
		}
		c.in = &s.in
	case *clientStream:
		c.in = &s.in
	default:
		return c.any()
	}
	switch d := dst.(type) {
	case *serverStream:
		c.out = &d.out
	case *clientStream:
		c.out = &d.out
	default:
		if !l.Until.IsZero() { // a window may open byte by byte
			_ = dst.SetWriteDeadline(l.Until)
		}
	}
	return c.direct()
}

type copying struct {
	Limits
	dst    Writer
	src    Reader
	in     *receiver // of src, if it is ours
	out    *sender   // of dst, if it is
	last   time.Time // when this direction moved something
	by     time.Time // the deadline of writes
	readBy time.Time
}

// extend gives both sides their time again, or who is read from what is left of it if nothing moved. What the kernel moves is known only when it is
// back, so it comes back in good time.
func (c *copying) extend(moved, splice bool) {
	c.by, c.readBy = c.Until, c.Until
	if c.Idle > 0 {
		now := time.Now()
		if moved {
			c.moved(now)
		}
		left := c.left(now)
		if splice {
			left = min(left, c.Idle/4)
		}
		c.by, c.readBy = sooner(c.by, now.Add(c.Idle)), sooner(c.readBy, now.Add(left))
	}
	if c.by.IsZero() {
		return
	}
	_ = c.src.SetReadDeadline(c.readBy)
	_ = c.dst.SetWriteDeadline(c.by)
	if c.Pulse != nil && c.Pulse.Stopped() { // the deadline of who did that is to hold
		_ = c.src.SetReadDeadline(time.Unix(1, 0))
	}
}

func (c *copying) moved(now time.Time) {
	if c.last = now; c.Pulse != nil {
		c.Pulse.Beat(now)
	}
}

// left is how long nothing may move from now on.
func (c *copying) left(now time.Time) time.Duration {
	left := c.Idle - now.Sub(c.last)
	if c.Pulse != nil {
		left = max(left, c.Pulse.Left(now, c.Idle))
	}
	return left
}

// alive tells whether a read may be tried again that did not end in its time: something moved meanwhile, and it was our deadline that passed.
func (c *copying) alive(err error) bool {
	if c.Idle <= 0 || !isTimeout(err) || c.Pulse != nil && c.Pulse.Stopped() {
		return false
	}
	now := time.Now()
	return !now.Before(c.readBy) && (c.Until.IsZero() || now.Before(c.Until)) && c.left(now) > 0
}

// sooner is the earlier of two times; the zero time is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// any copies through a buffer.
func (c *copying) any() (total int64, readErr, writeErr error) {
	buf := copyBuffers.Get().(*[copyBytes]byte)
	defer copyBuffers.Put(buf)
	for moved := true; ; {
		c.extend(moved, false)
		n, err := c.src.Read(buf[:])
		if n > 0 {
			if _, err := c.dst.Write(buf[:n]); err != nil {
				return total, nil, err
			}
			if err := c.dst.Flush(); err != nil {
				return total, nil, err
			}
			total += int64(n)
		}
		if moved = n > 0; err == io.EOF {
			return total, nil, nil
		}
		if err != nil && !c.alive(err) {
			return total, err, nil
		}
	}
}

// direct copies from where the source has read it.
func (c *copying) direct() (total int64, readErr, writeErr error) {
	in := c.in
	for moved := true; ; {
		if !in.ready() || isTimeout(in.err) {
			if err := c.dst.Flush(); err != nil {
				return total, nil, err
			}
			splice := c.spliceable()
			c.extend(moved, splice)
			if splice {
				n, readErr, writeErr := c.splice()
				total += n
				if moved = n > 0; moved && c.Idle > 0 {
					c.moved(time.Now())
				}
				// Had the time to write passed as well, something might be lost in between.
				again := c.alive(readErr) && time.Now().Before(c.by)
				if writeErr != nil || !again && (readErr != nil || n == 0) {
					return total, streamError(readErr), writeErr
				}
				continue
			}
			in.widen()
		}
		b, err := in.view()
		if err == io.EOF {
			return total, nil, nil
		}
		if moved = err == nil; !moved {
			if c.alive(err) {
				continue
			}
			return total, streamError(err), nil
		}
		if _, err := c.dst.Write(b); err != nil {
			return total, nil, err
		}
		total += int64(len(b))
		in.consume(len(b))
	}
}

// spliceable tells whether the kernel can move what comes next: nothing is buffered, and both sides carry the body as it is.
func (c *copying) spliceable() bool {
	in, o := c.in, c.out
	return o != nil && in.w.tcp != nil && o.w.tcp != nil && in.body != bodyChunked && in.data() >= spliceFrom && in.r == in.n &&
		o.n == 0 && o.err == nil && o.began && !o.done && o.raw() && !o.framing.Bodiless &&
		(o.framing.Tunnel || o.framing.Length < 0 || o.left >= in.data())
}

// splice moves a piece. At the end of a tunnel it gives 0 and no error.
func (c *copying) splice() (n int64, readErr, writeErr error) {
	in, o := c.in, c.out
	in.retry()
	in.limited = io.LimitedReader{R: in.w.tcp, N: min(in.data(), splicePiece)}
	o.w.armWrite()
	n, err := o.w.tcp.ReadFrom(&in.limited)
	in.limited.R = nil
	o.sent += int(n)
	if o.framing.Length >= 0 && !o.framing.Tunnel {
		o.left -= n
		o.done = o.left == 0
	}
	if n > 0 {
		in.took(n)
	}
	switch {
	case err != nil && c.writeSide(err):
		return n, nil, o.fail(err)
	case err != nil:
		in.fail(err)
	case n == 0:
		in.fail(io.EOF)
	}
	if in.body == bodyDone {
		return n, nil, nil
	}
	return n, in.err, nil
}

// writeSide tells which side an error comes from, which splice does not. A side that has something to give, or is open and has nothing, is not the
// one that was reset; and if it has something to give, it is not the one that was waited for.
func (c *copying) writeSide(err error) bool {
	switch from := c.in.w.look(); {
	case errors.Is(err, syscall.EPIPE):
		return true
	case isTimeout(err):
		return from == readable && !time.Now().Before(c.by)
	default:
		return from != ended
	}
}
