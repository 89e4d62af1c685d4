package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftmesh/weft/internal/proxy/socket"
)

// wire is a connection, with what sockets can do beyond net.Conn. One goroutine reads and one writes; they may be the same.
type wire struct {
	conn   net.Conn
	base   net.Conn        // the socket: conn, or what conn is encrypted over
	socket syscall.RawConn // of base; nil if it is none
	below  *socket.Conn    // what conn is encrypted over, if it is one
	shaken bool            // the handshake over below is done; of the side that writes
	plain  bool            // conn is the socket, so bytes may go past conn
	tcp    *net.TCPConn    // conn, if it is plain TCP

	armed time.Time // the read deadline that we set ourselves
	// stall is how long a write may wait for the other side, 0 for as long as it likes; writeBy is the deadline that we set for that.
	stall   time.Duration
	writeBy time.Time
	// A handler set a deadline.
	readSet, writeSet atomic.Bool
	reset             atomic.Bool // a write found that the other side had reset the connection; the next read says only that it ended

	// What the functions below are given and leave, and they themselves: made once, so that a call costs no memory.
	onReadable func(fd uintptr) bool
	onWritable func(fd uintptr) bool
	onPeek     func(fd uintptr)
	request    []byte // to be sent before waiting
	sent       int
	into       []byte // to be read into; nil is a page that is taken when there is something
	page       *page
	n          int
	err        error
	peeked     peek
	writing    struct { // of the side that writes
		left []byte
		err  error
	}

	first  []byte // what an idle connection reads into, if it is no socket
	vec    net.Buffers
	pieces [3][]byte
}

// firstBytes holds most heads.
const firstBytes = 512

// peek is what can be seen of a connection without reading from it.
type peek uint8

const (
	quiet    peek = iota // open, and nothing to read
	readable             // something to read
	ended                // the other side closed it, or it is broken
)

func (w *wire) init(conn net.Conn) {
	w.conn, w.base = conn, conn
	for w.below == nil {
		c, ok := w.base.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		w.below, _ = c.(*socket.Conn)
		w.base = c.NetConn()
	}
	switch c := w.base.(type) { // only these: what wraps them may promote SyscallConn, and yet do something to the bytes
	case *net.TCPConn:
		w.socket, _ = c.SyscallConn()
		if w.base == conn {
			w.tcp = c
		}
	case *net.UnixConn:
		w.socket, _ = c.SyscallConn()
	}
	if !rawSockets {
		w.socket = nil
	}
	w.plain = w.socket != nil && w.base == conn
	w.onReadable, w.onWritable = w.advance, w.push
	w.onPeek = func(fd uintptr) { w.peeked = peekFD(fd) }
}

// writeAll writes three pieces in one call; they may be empty. It is for plain connections.
func (w *wire) writeAll(a, b, c []byte) (int, error) {
	w.armWrite()
	n := 0
	for _, piece := range [...][]byte{a, b, c} {
		if len(piece) > 0 {
			w.pieces[n] = piece
			n++
		}
	}
	w.vec = w.pieces[:n]
	sent, err := w.vec.WriteTo(w.conn)
	w.vec, w.pieces = nil, [3][]byte{}
	return int(sent), err
}

// read reads at least a byte into p, as conn does, and as many records of TLS as are there and have room.
func (w *wire) read(p []byte) (int, error) {
	if !w.plain || len(p) > bulkBytes {
		n, err := w.conn.Read(p)
		if w.below != nil && err == nil && len(p)-n >= pageBytes {
			w.below.Hurry(true)
			for more := 0; err == nil && len(p)-n >= pageBytes; n += more {
				more, err = w.conn.Read(p[n:])
			}
			w.below.Hurry(false)
			err = nil // there was nothing, or the next read fails as well
		}
		return n, err
	}
	w.into = p
	err := w.socket.Read(w.onReadable)
	n := w.n
	if err == nil {
		err = w.err
	}
	w.into, w.n, w.err = nil, 0, nil
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

// write writes all of p, as conn does.
func (w *wire) write(p []byte) (int, error) {
	if !w.plain || len(p) > bulkBytes {
		return w.conn.Write(p)
	}
	w.writing.left = p
	err := w.socket.Write(w.onWritable)
	n := len(p) - len(w.writing.left)
	if err == nil {
		err = w.writing.err
	}
	w.writing.left, w.writing.err = nil, nil
	return n, err
}

// gather has what is written from now on go together at scatter, where that spares calls. A handshake would wait for an answer to what is not sent.
func (w *wire) gather() {
	if w.below == nil {
		return
	}
	if c, ok := w.conn.(*tls.Conn); ok && !w.shaken {
		w.shaken = c.ConnectionState().HandshakeComplete
	}
	if w.shaken {
		w.below.Gather()
	}
}

// scatter ends gather.
func (w *wire) scatter() error {
	if w.shaken {
		return w.below.Flush()
	}
	return nil
}

// push is called when writing begins, and then whenever there may be room, until it gives true.
func (w *wire) push(fd uintptr) bool {
	for len(w.writing.left) > 0 {
		n, again, err := writeFD(fd, w.writing.left)
		if again {
			return false
		}
		if w.writing.err = err; err != nil {
			return true
		}
		w.writing.left = w.writing.left[n:]
	}
	return true
}

// receive waits until something can be read, and gives it in a page that was taken only then.
func (w *wire) receive() (*page, int, error) {
	if !w.plain {
		if w.first == nil {
			w.first = make([]byte, firstBytes)
		}
		n, err := w.conn.Read(w.first)
		switch {
		case n == 0 && err == nil:
			return nil, 0, io.ErrNoProgress
		case n == 0:
			return nil, 0, err
		}
		p := takePage()
		n = copy(p[:], w.first[:n])
		if n == firstBytes && w.below != nil { // more of the record is decrypted already
			w.below.Hurry(true)
			more, _ := w.conn.Read(p[n:]) // what fails now fails again
			w.below.Hurry(false)
			n += more
		}
		return p, n, nil
	}
	err := w.socket.Read(w.onReadable)
	p, n := w.page, w.n
	if err == nil {
		err = w.err
	}
	w.page, w.n, w.err = nil, 0, nil
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		p.release()
		p, n = nil, 0
	}
	return p, n, err
}

// advance is called when the wait begins, and then whenever the socket may be readable, until it gives true.
func (w *wire) advance(fd uintptr) bool {
	if w.request != nil {
		return w.send(fd)
	}
	if w.into != nil {
		var again bool
		w.n, again, w.err = readFD(fd, w.into)
		return !again
	}
	p := takePage()
	n, again, err := readFD(fd, p[:])
	if again {
		p.release()
		return false
	}
	w.page, w.n, w.err = p, n, err
	return true
}

// Errors that do not leave the package.
var (
	errStale  = errors.New("the connection ended while it was idle")
	errPartly = errors.New("only a part was sent")
)

// send is advance when there is a request to be sent first: the runtime watches the socket by now, so nothing that comes is missed, and the read
// that would only find that there is no answer yet is left out. It looks first whether the other side is still there.
func (w *wire) send(fd uintptr) bool {
	b := w.request
	w.request = nil
	if peekFD(fd) != quiet {
		w.err = errStale
		return true
	}
	var again bool
	if w.sent, again, w.err = writeFD(fd, b); w.err == nil && (again || w.sent < len(b)) {
		w.err = errPartly
	}
	return w.err != nil
}

// exchange sends b and waits for an answer: a write and a receive in fewer system calls. sent is how much of b went.
func (w *wire) exchange(b []byte) (p *page, n, sent int, err error) {
	if w.plain {
		w.request, w.sent = b, 0
		p, n, err = w.receive()
		sent, w.request = w.sent, nil
		if err != errPartly {
			return p, n, sent, err
		}
	}
	wrote, err := w.write(b[sent:])
	if sent += wrote; err != nil {
		return nil, 0, sent, err
	}
	p, n, err = w.receive()
	return p, n, sent, err
}

// look peeks at the connection. What is no socket is taken to be quiet.
func (w *wire) look() peek {
	if w.socket == nil {
		return quiet
	}
	if w.socket.Control(w.onPeek) != nil {
		return ended
	}
	return w.peeked
}

// left tells whether the other side has closed its direction of the connection, or the connection is broken, whatever is still to be read. Unlike the
// other calls it may be made from any goroutine.
func (w *wire) left() bool {
	gone := false
	return w.socket.Control(func(fd uintptr) { gone = closedFD(fd) }) != nil || gone
}

// spoke tells whether the other side, while nobody asked it anything, said something or closed the connection: an answer to nothing would be taken
// for that of the next request. It does not wait.
func (w *wire) spoke() bool {
	if w.below == nil && w.look() != quiet {
		return true
	}
	if w.plain {
		return false
	}
	// What came with the last answer may be past the socket already, and not be decrypted yet.
	if w.first == nil {
		w.first = make([]byte, firstBytes)
	}
	if w.below != nil {
		w.below.Hurry(true)
		n, err := w.conn.Read(w.first)
		w.below.Hurry(false)
		return n > 0 || err != socket.ErrEmpty && !isTimeout(err)
	}
	_ = w.conn.SetReadDeadline(time.Unix(1, 0))
	n, err := w.conn.Read(w.first)
	_ = w.conn.SetReadDeadline(time.Time{})
	return n > 0 || !isTimeout(err)
}

// unseen tells whether it is certain that the other side saw nothing of the last sent bytes, of a connection that was not reset.
func (w *wire) unseen(sent int) bool {
	if sent == 0 {
		return true
	}
	if _, tcp := w.base.(*net.TCPConn); !tcp || w.socket == nil {
		return false
	}
	unacked := int64(0)
	if w.socket.Control(func(fd uintptr) { unacked = unacknowledged(fd) }) != nil {
		return false
	}
	return unacked >= int64(sent)
}

// arm sets our own limit for reads; the zero time is none. A limit that is there already and not much earlier is left.
func (w *wire) arm(until time.Time) {
	if w.readSet.Load() || !until.Equal(w.armed) {
		w.readSet.Store(false)
		w.armed = until
		_ = w.conn.SetReadDeadline(until)
	}
}

// armWrite sees to it that the next write does not wait without an end, unless a handler has said how long it may. The deadline is moved seldom.
func (w *wire) armWrite() {
	if w.stall <= 0 || w.writeSet.Load() {
		return
	}
	if now := time.Now(); w.writeBy.Sub(now) < w.stall {
		w.writeBy = now.Add(2 * w.stall)
		_ = w.conn.SetWriteDeadline(w.writeBy)
	}
}

// disarmWrite takes back what limits writes.
func (w *wire) disarmWrite() {
	w.writeBy = time.Time{}
	_ = w.conn.SetWriteDeadline(time.Time{})
}

// closeWrite says that nothing more comes from us, where the connection can say that.
func (w *wire) closeWrite() error {
	if c, ok := w.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// sever closes the connection so that the other side notices that something is missing, even where the end of the connection would be that of a
// body: a plain socket is reset, and TLS is not told that it is over.
func (w *wire) sever() {
	if tcp, ok := w.base.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = w.base.Close()
}
