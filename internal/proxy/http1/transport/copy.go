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
	return CopyUntil(dst, src, idle, time.Time{})
}

// CopyUntil is Copy with an end to it, whatever moves; the zero time is none. Deadlines that the streams have are only replaced where there is a
// limit.
func CopyUntil(dst Writer, src Reader, idle time.Duration, until time.Time) (n int64, readErr, writeErr error) {
	c := copying{dst: dst, src: src, idle: idle, until: until}
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
		if !until.IsZero() { // a window may open byte by byte
			_ = dst.SetWriteDeadline(until)
		}
	}
	return c.direct()
}

type copying struct {
	dst   Writer
	src   Reader
	idle  time.Duration
	until time.Time
	in    *receiver // of src, if it is ours
	out   *sender   // of dst, if it is
}

// extend gives both sides their time again.
func (c *copying) extend() {
	until := c.until
	if c.idle > 0 {
		if at := time.Now().Add(c.idle); until.IsZero() || at.Before(until) {
			until = at
		}
	}
	if !until.IsZero() {
		_ = c.src.SetReadDeadline(until)
		_ = c.dst.SetWriteDeadline(until)
	}
}

// any copies through a buffer.
func (c *copying) any() (total int64, readErr, writeErr error) {
	buf := copyBuffers.Get().(*[copyBytes]byte)
	defer copyBuffers.Put(buf)
	for {
		c.extend()
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
		if err == io.EOF {
			return total, nil, nil
		}
		if err != nil {
			return total, err, nil
		}
	}
}

// direct copies from where the source has read it.
func (c *copying) direct() (total int64, readErr, writeErr error) {
	in := c.in
	for {
		if !in.ready() || isTimeout(in.err) {
			if err := c.dst.Flush(); err != nil {
				return total, nil, err
			}
			c.extend()
			if c.spliceable() {
				n, readErr, writeErr := c.splice()
				total += n
				if n == 0 || readErr != nil || writeErr != nil {
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
		if err != nil {
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
		return from == readable
	default:
		return from != ended
	}
}
