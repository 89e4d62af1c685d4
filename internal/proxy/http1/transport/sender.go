package transport

import (
	"errors"
	"syscall"

	"github.com/weftmesh/weft/internal/proxy/http1"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// sender is the side of an exchange that writes: heads, then a body. Small pieces are gathered in a page; large ones go past it.
type sender struct {
	w       *wire
	page    *page
	n       int // of page: what was not written yet
	framing http1.Framing
	left    int64 // of a body whose length is known
	sent    int   // of everything, as far as the kernel took it
	began   bool  // the head, which is not interim, was made
	done    bool  // and the body
	err     error
}

// Errors of whoever uses a stream.
var (
	errNoHead  = errors.New("http1: a body without a head")
	errTooLong = errors.New("http1: more of a body than its length")
	errShort   = errors.New("http1: less of a body than its length")
	errTwice   = errors.New("http1: a second head")
	errEnded   = errors.New("http1: the message is over")
)

var chunkEnd = []byte(http1.ChunkEnd)

// room is where n more bytes can be appended, or as many as fit.
func (o *sender) room() []byte {
	if o.page == nil {
		o.page = takePage()
	}
	return o.page[:o.n:pageBytes]
}

// appended takes b, which is room with something appended: if that did not fit it is elsewhere, and written at once.
func (o *sender) appended(b []byte) error {
	if len(b) <= pageBytes {
		o.n = len(b)
		return nil
	}
	o.n = 0
	return o.fail(o.write(b))
}

func (o *sender) write(b []byte) error {
	o.w.armWrite()
	n, err := o.w.write(b)
	o.sent += n
	return err
}

// reset makes ready for another message.
func (o *sender) reset() {
	o.framing, o.left, o.sent, o.began, o.done, o.err = http1.Framing{}, 0, 0, false, false, nil
}

func (o *sender) fail(err error) error {
	if err != nil && o.err == nil {
		o.err = err
		if errors.Is(err, syscall.ECONNRESET) {
			o.w.reset.Store(true)
		}
	}
	return err
}

// begin says what body follows the head that was appended.
func (o *sender) begin(f *http1.Framing) {
	o.framing, o.began = *f, true
	o.left = f.Length
	if f.Bodiless && !f.Tunnel {
		o.done = true
	}
}

// raw tells whether the body is on the wire as it is.
func (o *sender) raw() bool { return !o.framing.Chunked }

// body sends a part of the body.
func (o *sender) body(p []byte) error {
	switch f := &o.framing; {
	case o.err != nil:
		return o.err
	case len(p) == 0:
		return nil
	case !o.began:
		return errNoHead
	case f.Bodiless:
		return nil // a response to HEAD: the handler need not know
	case o.done:
		return errEnded
	case f.Chunked:
		return o.chunk(p)
	case f.Length >= 0 && !f.Tunnel:
		if int64(len(p)) > o.left {
			return o.fail(errTooLong)
		}
		if o.left -= int64(len(p)); o.left == 0 {
			o.done = true
			if err := o.put(p, nil); err != nil {
				return err
			}
			return o.flush()
		}
	}
	return o.put(p, nil)
}

// chunk sends p as a chunk.
func (o *sender) chunk(p []byte) error {
	if pageBytes-o.n < 24 {
		if err := o.flush(); err != nil {
			return err
		}
	}
	if err := o.appended(http1.AppendChunk(o.room(), len(p))); err != nil {
		return err
	}
	return o.put(p, chunkEnd)
}

// put sends p and then end, together with what was gathered.
func (o *sender) put(p, end []byte) error {
	if o.n+len(p)+len(end) <= pageBytes {
		b := append(o.room(), p...)
		o.n = len(append(b, end...))
		return nil
	}
	if o.w.plain && o.n == 0 && len(end) == 0 {
		return o.fail(o.write(p))
	}
	if o.w.plain {
		n, err := o.w.writeAll(o.gathered(), p, end)
		o.sent += n
		o.free()
		return o.fail(err)
	}
	o.w.gather()
	err := o.records(p, end)
	if late := o.w.scatter(); err == nil {
		err = o.fail(late)
	}
	return err
}

// records is put for TLS: a record is filled before the next one begins.
func (o *sender) records(p, end []byte) error {
	n := copy(o.room()[o.n:pageBytes], p)
	o.n += n
	p = p[n:]
	if err := o.flush(); err != nil {
		return err
	}
	if len(p) >= pageBytes/2 {
		if err := o.fail(o.write(p)); err != nil {
			return err
		}
		p = nil
	}
	b := append(o.room(), p...)
	o.n = len(append(b, end...))
	return nil
}

func (o *sender) gathered() []byte {
	if o.page == nil {
		return nil
	}
	return o.page[:o.n]
}

// flush writes what was gathered.
func (o *sender) flush() error {
	if o.err != nil || o.n == 0 {
		return o.err
	}
	err := o.write(o.page[:o.n])
	o.free()
	return o.fail(err)
}

func (o *sender) free() {
	o.page.release()
	o.page, o.n = nil, 0
}

// finish ends the message.
func (o *sender) finish(trailers *message.Fields) error {
	switch f := &o.framing; {
	case o.err != nil:
		return o.err
	case !o.began:
		return errNoHead
	case o.done:
		return o.flush()
	case f.Tunnel:
		if err := o.flush(); err != nil {
			return err
		}
		o.done = true
		return o.fail(o.w.closeWrite())
	case f.Chunked:
		b, err := http1.AppendTrailers(o.room(), trailers)
		if err != nil {
			return o.fail(err)
		}
		if err := o.appended(b); err != nil {
			return err
		}
	case f.Length >= 0 && o.left > 0:
		return o.fail(errShort)
	}
	o.done = true
	return o.flush()
}
