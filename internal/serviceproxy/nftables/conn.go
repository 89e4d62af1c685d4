package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// conn is a socket to nf_tables. The kernel works while a request is being sent: when send returns, it is done and the answers wait.
type conn struct {
	nl      *netlink.Conn
	raw     syscall.RawConn
	receive []byte
}

const (
	// maxTransactionBytes bounds one transaction. 10,000 frontends with two endpoints each take 9 MB.
	maxTransactionBytes = 48 << 20
	sendBufferBytes     = 64 << 20
	receiveBufferBytes  = 8 << 20
	// maxAnswerBytes is more than the kernel puts into one packet of a dump.
	maxAnswerBytes = 64 << 10
)

// dial opens a socket in a network namespace; 0 is the caller's.
func dial(netNS int) (*conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netNS})
	if err != nil {
		return nil, fmt.Errorf("netlink socket to nf_tables: %w", err)
	}
	// Answers quote the request otherwise. Both options are there since Linux 4.12 and only make errors shorter and clearer.
	_ = nl.SetOption(netlink.CapAcknowledge, true)
	_ = nl.SetOption(netlink.ExtendedAcknowledge, true)
	c := &conn{nl: nl, receive: make([]byte, maxAnswerBytes)}
	if err := errors.Join(nl.SetWriteBuffer(sendBufferBytes), nl.SetReadBuffer(receiveBufferBytes)); err != nil {
		_ = nl.Close()
		return nil, fmt.Errorf("netlink socket buffers: %w", err)
	}
	if c.raw, err = nl.SyscallConn(); err != nil {
		_ = nl.Close()
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	return c, nil
}

func (c *conn) close() error { return c.nl.Close() }

// kernelError is an error nf_tables answered with.
type kernelError struct {
	errno   unix.Errno
	message string // what the kernel adds, if anything
}

func (e *kernelError) Error() string {
	if e.message != "" {
		return "nf_tables: " + e.errno.Error() + ": " + e.message
	}
	return "nf_tables: " + e.errno.Error()
}

func (e *kernelError) Unwrap() error { return e.errno }

func (c *conn) send(b []byte) error {
	var err error
	if werr := c.raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(err, unix.EAGAIN)
	}); werr != nil {
		return werr
	}
	return err
}

// next calls f for each message that waits, without waiting for more, and tells whether there were any.
func (c *conn) next(f func(kind, flags uint16, seq uint32, body []byte)) (bool, error) {
	var n int
	var err error
	if rerr := c.raw.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), c.receive)
		return true
	}); rerr != nil {
		return false, rerr
	}
	if errors.Is(err, unix.EAGAIN) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for b := c.receive[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return false, fmt.Errorf("netlink message of %d bytes in %d", size, len(b))
		}
		f(binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint32(b[8:]), b[unix.NLMSG_HDRLEN:size])
		b = b[min(len(b), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return true, nil
}

// transact sends a batch whose last message, of the given sequence number, asks for an acknowledgement. Either all of it is in force then, or
// nothing and there is an error.
func (c *conn) transact(ctx context.Context, b []byte, last uint32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.send(b); err != nil {
		return fmt.Errorf("sending a transaction of %d bytes: %w", len(b), err)
	}
	var errs []error
	acknowledged := false
	for {
		more, err := c.next(func(kind, flags uint16, seq uint32, body []byte) {
			if kind != unix.NLMSG_ERROR {
				return
			}
			if err := answer(flags, body); err != nil {
				if len(errs) < 10 {
					errs = append(errs, err)
				}
			} else if seq == last {
				acknowledged = true
			}
		})
		if err != nil {
			return fmt.Errorf("reading the answer to a transaction: %w", err)
		}
		if !more {
			break
		}
	}
	if len(errs) == 0 && !acknowledged {
		return errors.New("nf_tables did not acknowledge a transaction")
	}
	return errors.Join(errs...)
}

// answer reads an NLMSG_ERROR.
func answer(flags uint16, body []byte) error {
	if len(body) < 4 {
		return errors.New("short netlink error")
	}
	code := int32(binary.NativeEndian.Uint32(body))
	if code == 0 {
		return nil
	}
	e := &kernelError{errno: unix.Errno(-code)}
	if flags&unix.NLM_F_ACK_TLVS != 0 && len(body) >= 4+unix.NLMSG_HDRLEN {
		e.message = text(child(body[4+unix.NLMSG_HDRLEN:], unix.NLMSGERR_ATTR_MSG))
	}
	return e
}

var errInterrupted = errors.New("nf_tables changed while it was read")

// request sends one message and calls f with the body of every answer, without nfgenmsg. Errors of the kernel are *kernelError.
func (c *conn) request(ctx context.Context, b []byte, f func(kind uint16, body []byte)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.send(b); err != nil {
		return err
	}
	dump := binary.NativeEndian.Uint16(b[6:])&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	var failed error
	for done := false; !done; {
		more, err := c.next(func(kind, flags uint16, _ uint32, body []byte) {
			if flags&unix.NLM_F_DUMP_INTR != 0 && failed == nil {
				failed = errInterrupted
			}
			switch kind {
			case unix.NLMSG_DONE:
				done = true
			case unix.NLMSG_ERROR:
				failed, done = answer(flags, body), true
			default:
				if len(body) >= 4 {
					f(kind&0xff, body[4:])
				}
			}
		})
		if err != nil {
			return err
		}
		if !more && (!dump || failed != nil) {
			break
		}
		if !more && !done {
			return errors.New("nf_tables ended a dump early")
		}
	}
	return failed
}
