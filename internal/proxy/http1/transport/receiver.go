package transport

import (
	"errors"
	"io"
	"os"

	"github.com/weftmesh/weft/internal/proxy/http1"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// receiver is the side of an exchange that reads: first a head, then a body. It owns the memory that the strings of the message are views of.
type receiver struct {
	w         *wire
	maxHead   int
	maxFields int

	page *page  // of buf, unless that had to grow
	bulk *bulk  // of buf, in place of the page
	buf  []byte // what was read is in front of n, what is unread from r on, and in front of keep is what strings are views of
	keep int
	r, n int

	finder   http1.Finder
	body     bodyState
	left     int64 // of a body whose length is known
	chunks   http1.Chunks
	trailers message.Fields
	err      error // what every read gives from now on
	limited  io.LimitedReader
}

type bodyState uint8

const (
	bodyDone bodyState = iota
	bodyLength
	bodyChunked
	bodyTrailers
	bodyRaw // to the end of the connection
)

// begin is given what has been read already.
func (in *receiver) begin(p *page, n int) {
	in.page, in.buf = p, p[:]
	in.keep, in.r, in.n = 0, 0, n
}

// prefix is begin with bytes that somebody else read.
func (in *receiver) prefix(b []byte) {
	in.page = takePage()
	in.buf = in.page[:]
	if len(b) > len(in.buf) {
		in.buf = make([]byte, len(b)+pageBytes)
	}
	in.keep, in.r, in.n = 0, 0, copy(in.buf, b)
}

// next makes ready for another message, and tells whether something of it is there. Nothing may be used any more that the last one was made of.
func (in *receiver) next() bool {
	in.keep = 0
	in.finder, in.chunks = http1.Finder{}, http1.Chunks{}
	in.trailers.Reset()
	return in.r < in.n
}

// release gives the memory back.
func (in *receiver) release() {
	in.page.release()
	if in.bulk != nil {
		bulks.Put(in.bulk)
	}
	in.page, in.bulk, in.buf = nil, nil, nil
	in.keep, in.r, in.n = 0, 0, 0
}

// widen takes more memory for a body of which much is still to come, if all that was read of it is used.
func (in *receiver) widen() {
	if in.bulk == nil && in.r == in.n && in.data() >= bulkBytes {
		in.bulk = bulks.Get().(*bulk)
		in.buf = in.bulk[:]
		in.keep, in.r, in.n = 0, 0, 0
	}
}

// fill reads more, in memory where at least a byte fits.
func (in *receiver) fill() error {
	if in.buf == nil {
		p, n, err := in.w.receive()
		if err == nil {
			in.begin(p, n)
		}
		return err
	}
	if in.r == in.n {
		in.r, in.n = in.keep, in.keep
	}
	if in.n == len(in.buf) {
		if in.r > in.keep {
			in.n = in.keep + copy(in.buf[in.keep:], in.buf[in.r:in.n])
		} else {
			// Strings are views of the old memory still: it goes back to the pool with the exchange.
			buf := make([]byte, 2*len(in.buf))
			copy(buf[in.keep:], in.buf[in.r:in.n])
			in.n = in.keep + in.n - in.r
			in.buf = buf
		}
		in.r = in.keep
	}
	n, err := in.w.read(in.buf[in.n:])
	in.n += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// head finds the next head in what was read; nil means that more is needed. Its memory is kept from now on.
func (in *receiver) head() ([]byte, error) {
	end, err := in.finder.Find(in.buf[in.r:in.n], in.maxHead)
	if err != nil || end == 0 {
		return nil, err
	}
	head := in.buf[in.r : in.r+end]
	in.r += end
	in.keep = in.r
	return head, nil
}

// frame says what body follows the head.
func (in *receiver) frame(f *http1.Framing) {
	in.err = nil
	switch {
	case f.Tunnel:
		in.body = bodyRaw
	case f.Bodiless:
		in.body = bodyDone
	case f.Chunked:
		in.body = bodyChunked
		in.settle()
	case f.Length == message.Unknown:
		in.body = bodyRaw
	default:
		in.body, in.left = bodyLength, f.Length
	}
}

// settle goes as far as it can with what was read: over framing up to data, or to the end.
func (in *receiver) settle() {
	if in.body == bodyChunked && in.chunks.Data() == 0 {
		n, err := in.chunks.Next(in.buf[in.r:in.n])
		in.r += n
		if err != nil {
			in.err = err
			return
		}
		if in.chunks.Done() {
			in.body, in.finder = bodyTrailers, http1.Finder{}
		}
	}
	if in.body == bodyTrailers {
		end, err := in.finder.FindTrailers(in.buf[in.r:in.n], in.maxHead)
		if err == nil && end > 0 {
			err = http1.ParseTrailers(in.buf[in.r:in.r+end], in.maxFields, &in.trailers)
			in.r += end
			in.keep = in.r
			in.body = bodyDone
		}
		in.err = err
	}
}

// data is how many bytes of the body may come next, without regard to what was read.
func (in *receiver) data() int64 {
	switch in.body {
	case bodyLength:
		return in.left
	case bodyChunked:
		return in.chunks.Data()
	case bodyRaw:
		return 1 << 62
	}
	return 0
}

// ready tells whether view would not wait.
func (in *receiver) ready() bool {
	return in.err != nil || in.body == bodyDone || in.r < in.n && in.data() > 0
}

// view gives the next bytes of the body where they are; consume takes them. At the end of the body it gives io.EOF.
func (in *receiver) view() ([]byte, error) {
	if err := in.wait(); err != nil {
		return nil, err
	}
	return in.buf[in.r : in.r+int(min(in.data(), int64(in.n-in.r)))], nil
}

// wait reads until there is data, or an end.
func (in *receiver) wait() error {
	in.retry()
	for !in.ready() {
		if err := in.fill(); err != nil {
			in.fail(err)
			break
		}
		in.settle()
	}
	if in.err != nil {
		return in.err
	}
	if in.body == bodyDone {
		return io.EOF
	}
	return nil
}

// retry forgets that a deadline passed: a later one may be kept.
func (in *receiver) retry() {
	if isTimeout(in.err) {
		in.err = nil
	}
}

// fail notes why no more can be read.
func (in *receiver) fail(err error) {
	switch {
	case err == io.EOF && in.body == bodyRaw:
		in.body = bodyDone
	case err == io.EOF:
		in.err = io.ErrUnexpectedEOF
	default:
		in.err = err
	}
}

func (in *receiver) consume(n int) {
	in.r += n
	in.took(int64(n))
}

func (in *receiver) took(n int64) {
	switch in.body {
	case bodyLength:
		if in.left -= n; in.left == 0 {
			in.body = bodyDone
		}
	case bodyChunked:
		in.chunks.Take(n)
		in.settle()
	}
}

// read is Read of both streams.
func (in *receiver) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	in.retry()
	// Much at once needs no second place on its way.
	if want := min(in.data(), int64(len(p))); in.r == in.n && in.err == nil && want >= pageBytes/2 {
		n, err := in.w.read(p[:want])
		if n > 0 {
			in.took(int64(n))
			return n, nil
		}
		if err != nil {
			in.fail(err)
		}
		return 0, in.final()
	}
	b, err := in.view()
	if err != nil {
		return 0, streamError(err)
	}
	n := copy(p, b)
	in.consume(n)
	return n, nil
}

// final is what a read gives that found no bytes.
func (in *receiver) final() error {
	switch {
	case in.err != nil:
		return streamError(in.err)
	case in.body == bodyDone:
		return io.EOF
	}
	return nil
}

// drain throws away what is left of the body, up to so many bytes, and tells whether that was all of it.
func (in *receiver) drain(limit int) bool {
	for limit >= 0 {
		b, err := in.view()
		if err != nil {
			return err == io.EOF
		}
		limit -= len(b)
		in.consume(len(b))
	}
	return false
}

// streamError makes an error one of the kind that streams give.
func streamError(err error) error {
	if err == io.EOF { // each body ends with it, and it is not to cost an allocation
		return err
	}
	var broken *http1.Error
	if errors.As(err, &broken) {
		return &message.Error{Reason: message.Protocol, Text: broken.Error()}
	}
	return err
}

func isTimeout(err error) bool { return err != nil && errors.Is(err, os.ErrDeadlineExceeded) }
