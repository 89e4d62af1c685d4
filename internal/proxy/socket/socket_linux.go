package socket

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// Conn is a TCP connection. One reads at a time, and one writes.
type Conn struct {
	*net.TCPConn
	raw     syscall.RawConn
	in      transfer
	hurried bool

	mu     sync.Mutex // who reads through TLS may have to write as well
	out    transfer
	gather bool
	held   *piece
	n      int // of held
}

// piece is what is gathered at most before it is written.
type piece [96 << 10]byte

var pieces = sync.Pool{New: func() any { return new(piece) }}

// transfer is a call that is under way.
type transfer struct {
	p   []byte
	n   int
	err error
	try func(fd uintptr) bool // made once, so that a call costs no memory
}

// longest is what is copied so fast that nobody is kept waiting.
const longest = 96 << 10

// Direct gives a connection as a [*Conn] if it is a TCP connection, and as it is otherwise.
func Direct(nc net.Conn) net.Conn {
	tcp, is := nc.(*net.TCPConn)
	if !is {
		return nc
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nc
	}
	c := &Conn{TCPConn: tcp, raw: raw}
	c.in.try = func(fd uintptr) bool {
		if c.in.call(syscall.SYS_RECVFROM, syscall.MSG_DONTWAIT, "read", fd) {
			return true
		}
		if c.hurried {
			c.in.err = ErrEmpty
		}
		return c.hurried
	}
	c.out.try = func(fd uintptr) bool {
		for c.out.call(syscall.SYS_SENDTO, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, "write", fd) {
			if len(c.out.p) == 0 || c.out.err != nil {
				return true
			}
		}
		return false
	}
	return c
}

// NetConn is the connection that it was made of.
func (c *Conn) NetConn() net.Conn { return c.TCPConn }

// Hurry has reads give ErrEmpty where they would wait, or wait again. It is for who reads.
func (c *Conn) Hurry(on bool) { c.hurried = on }

// call does what can be done at once; it is false if that is nothing. The calls are those of sockets, which are a little shorter than read and write.
func (t *transfer) call(number, flags uintptr, name string, fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.p))), uintptr(len(t.p)), flags, 0, 0)
		switch errno {
		case 0:
			t.n, t.p = t.n+int(n), t.p[n:]
		case syscall.EAGAIN:
			return false
		case syscall.EINTR:
			continue
		default:
			t.err = os.NewSyscallError(name, errno)
		}
		return true
	}
}

// end tells what came of the call, after waiting for it.
func (t *transfer) end(waited error) (n int, err error) {
	n, err = t.n, t.err
	if waited != nil {
		err = waited
	}
	t.p, t.n, t.err = nil, 0, nil
	return n, err
}

// Read implements [net.Conn].
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 || len(p) > longest && !c.hurried {
		return c.TCPConn.Read(p)
	}
	c.in.p = p
	n, err := c.in.end(c.raw.Read(c.in.try))
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write implements [net.Conn].
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gather {
		return c.send(p)
	}
	if c.held == nil {
		c.held = pieces.Get().(*piece)
	}
	if len(p) > len(c.held)-c.n {
		if err := c.flush(); err != nil {
			return 0, err
		}
		if len(p) > len(c.held) {
			return c.send(p)
		}
	}
	c.n += copy(c.held[c.n:], p)
	return len(p), nil
}

// Gather keeps what is written until Flush, as far as there is room: many records of TLS go in one call.
func (c *Conn) Gather() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gather = true
}

// Flush writes what was gathered, and ends that.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.flush()
	if c.held != nil {
		pieces.Put(c.held)
	}
	c.gather, c.held = false, nil
	return err
}

func (c *Conn) flush() error {
	if c.n == 0 {
		return nil
	}
	_, err := c.send(c.held[:c.n])
	c.n = 0
	return err
}

func (c *Conn) send(p []byte) (int, error) {
	if len(p) == 0 || len(p) > longest {
		return c.TCPConn.Write(p)
	}
	c.out.p = p
	return c.out.end(c.raw.Write(c.out.try))
}
