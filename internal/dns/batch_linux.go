package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// udpSocket is a UDP socket that reads and writes several packets with one call of the kernel (recvmmsg(2), sendmmsg(2)).
//
// The calls never wait (MSG_DONTWAIT; waiting is the poller's), so they are made without telling the scheduler. Told of a call, it wakes its
// monitor thread whenever the process was idle, and at some thousand queries a second that costs more than all the rest of a query.
type udpSocket struct {
	conn    *net.UDPConn
	raw     syscall.RawConn
	control bool // packets come with the address they were sent to, and replies must leave from there
}

// listenUDP binds a socket that shares its port with others of this process; the kernel spreads askers over them.
func listenUDP(ctx context.Context, address string) (*udpSocket, error) {
	u := &udpSocket{}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
	}}
	pc, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	u.conn = pc.(*net.UDPConn)
	if u.raw, err = u.conn.SyscallConn(); err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	_ = u.conn.SetReadBuffer(4 << 20) // as far as the system lets us; without, bursts are lost a little sooner
	if local, _ := netip.ParseAddrPort(u.conn.LocalAddr().String()); local.Addr().IsUnspecified() {
		u.control = true
		var serr error
		if err := errors.Join(u.raw.Control(func(fd uintptr) { serr = packetInfo(int(fd)) }), serr); err != nil {
			return nil, errors.Join(err, pc.Close())
		}
	}
	return u, nil
}

// packetInfo makes the kernel tell where packets were sent to.
func packetInfo(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	if domain == unix.AF_INET {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
}

// batchSize is how many packets are read or written at a time.
const batchSize = 32

// controlSize is room for one packet-info control message of either family.
const controlSize = 64

// batch is packets with their addresses, in the form that the kernel wants. The headers point into the other fields, so a batch stays where
// it was made.
type batch struct {
	headers  []mmsghdr
	iovecs   []unix.Iovec
	names    []unix.RawSockaddrInet6
	controls [][controlSize]byte
	buffers  []byte
	size     int
	n        int
	errno    syscall.Errno
	run      func(fd uintptr) bool // kept, so that no call makes a closure
	sent     int
}

type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

func newBatch(size int, control bool) *batch { return makeBatch(batchSize, size, control) }

func makeBatch(n, size int, control bool) *batch {
	b := &batch{
		headers: make([]mmsghdr, n), iovecs: make([]unix.Iovec, n), names: make([]unix.RawSockaddrInet6, n),
		buffers: make([]byte, n*size), size: size,
	}
	b.controls = make([][controlSize]byte, n)
	for i := range n {
		h := &b.headers[i].hdr
		b.iovecs[i].Base = &b.buffers[i*size]
		b.iovecs[i].SetLen(size)
		h.Iov = &b.iovecs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Namelen = unix.SizeofSockaddrInet6
		if control {
			h.Control = &b.controls[i][0]
			h.SetControllen(controlSize)
		}
	}
	return b
}

// receive waits for packets and gives their number.
func (u *udpSocket) receive(b *batch) (int, error) {
	if b.run == nil {
		b.run = b.receiveFrom
	}
	for i := range b.n { // the last call wrote into these
		h := &b.headers[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		if h.Control != nil {
			h.SetControllen(controlSize)
		}
	}
	if err := u.raw.Read(b.run); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, b.errno
	}
	return b.n, nil
}

func (b *batch) receiveFrom(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers[0])), uintptr(len(b.headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			b.n = 0
			return false
		case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH: // word of an earlier answer that could not be delivered
			continue
		}
		b.n, b.errno = int(n), errno
		if errno != 0 {
			b.n = 0
		}
		return true
	}
}

// packet gives the bytes of the i-th packet received.
func (b *batch) packet(i int) []byte {
	return b.buffers[i*b.size:][:min(int(b.headers[i].n), b.size)]
}

// ipv6 tells the family that the i-th packet came by.
func (b *batch) ipv6(i int) bool {
	n := &b.names[i]
	return n.Family == unix.AF_INET6 && !netip.AddrFrom16(n.Addr).Is4In6()
}

// buffer gives the room for the i-th packet to send.
func (b *batch) buffer(i int) []byte { return b.buffers[i*b.size:][:b.size] }

// reply makes the i-th packet to send, whose bytes are in its buffer, an answer to the j-th that was received.
func (b *batch) reply(i int, bytes []byte, in *batch, j int) {
	h, from := &b.headers[i].hdr, &in.headers[j].hdr
	b.names[i] = in.names[j]
	h.Namelen = from.Namelen
	b.iovecs[i].SetLen(len(bytes))
	h.Control = nil
	h.SetControllen(0)
	if n := int(from.Controllen); from.Control != nil && n > 0 && n <= controlSize {
		b.controls[i] = in.controls[j]
		if anyInterface(b.controls[i][:n]) {
			h.Control = &b.controls[i][0]
			h.SetControllen(n)
		}
	}
}

// anyInterface makes a packet-info message that was received one that can be sent: from the same address, by whatever interface leads
// there, except for link-local addresses, which mean nothing without theirs.
func anyInterface(control []byte) bool {
	if len(control) < unix.SizeofCmsghdr {
		return false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	data := control[unix.CmsgLen(0):]
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		(*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Ifindex = 0
		return true
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
		if !netip.AddrFrom16(info.Addr).IsLinkLocalUnicast() {
			info.Ifindex = 0
		}
		return true
	}
	return false
}

// single gives the i-th packet received as a batch of its own, that can be answered later.
func (b *batch) single(i int) *batch {
	one := makeBatch(1, len(b.packet(i)), true)
	one.headers[0].n = uint32(copy(one.buffers, b.packet(i)))
	one.reply(0, one.buffers, b, i)
	return one
}

// answer makes the single packet of a batch the one to send.
func (b *batch) answer(bytes []byte) {
	b.iovecs[0].Base = &bytes[0]
	b.iovecs[0].SetLen(len(bytes))
}

// send sends the first n packets. One that cannot be sent is left out: its asker will ask again.
func (u *udpSocket) send(b *batch, n int) {
	if b.run == nil {
		b.run = b.sendTo
	}
	b.n, b.sent = n, 0
	if n > 0 {
		_ = u.raw.Write(b.run) // fails only when the socket is closed
	}
	runtime.KeepAlive(b)
}

func (b *batch) sendTo(fd uintptr) bool {
	for b.sent < b.n {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.headers[b.sent])), uintptr(b.n-b.sent), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.sent += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			b.sent++
		}
	}
	return true
}
