package transport

import (
	"errors"
	"io"
	"net"
)

// input is what was read from a connection and not handled yet. A connection on which little comes has a small buffer only.
type input struct {
	small []byte
	large *buffer
	buf   []byte // one of the two
	r, w  int
	got   int // by the last read
}

// fill begins with bytes that somebody else read.
func (in *input) fill(prefix []byte) {
	in.buf = in.small
	if len(prefix) > 0 {
		in.buf, in.w = append([]byte(nil), prefix...), len(prefix)
	}
}

func (in *input) bytes() []byte { return in.buf[in.r:in.w] }
func (in *input) skip(n int)    { in.r += n }

// compact makes room behind what is left, in the buffer that fits.
func (in *input) compact() {
	rest := in.buf[in.r:in.w]
	switch {
	case len(rest) == 0 && in.got < len(in.small)/2:
		in.release()
		in.buf = in.small
	case len(rest) > 0 || in.got >= len(in.small):
		if in.large == nil {
			in.large = readBuffers.Get().(*buffer)
		}
		if len(rest) > len(in.large.b)/2 { // a prefix that is longer than usual
			in.large.b = append(make([]byte, 0, 2*len(rest)+readBytes), rest...)
			in.large.b = in.large.b[:cap(in.large.b)]
		} else {
			copy(in.large.b, rest)
		}
		in.buf = in.large.b
	}
	in.r, in.w = 0, len(rest)
}

func (in *input) release() {
	if in.large != nil && len(in.large.b) == readBytes {
		readBuffers.Put(in.large)
	}
	in.large = nil
}

func (in *input) read(nc net.Conn) error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	n, err := nc.Read(in.buf[in.w:])
	in.w += n
	in.got = n
	return err
}

// lost makes of a read's error what a user is told: an end between frames is in order.
func lost(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
