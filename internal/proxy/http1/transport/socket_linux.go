package transport

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawSockets: the functions below work here.
const rawSockets = true

// The calls below do not wait, so the scheduler is not told of them: it would have its monitor thread run to look after each. They are those of
// sockets, which cost a little less than those of any file.

// readFD reads without waiting.
func readFD(fd uintptr, p []byte) (n int, again bool, err error) {
	return transfer("read", syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT)
}

// writeFD writes as much as there is room for.
func writeFD(fd uintptr, p []byte) (n int, again bool, err error) {
	return transfer("write", syscall.SYS_SENDTO, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

func transfer(name string, call, fd uintptr, p []byte, flags uintptr) (n int, again bool, err error) {
	for {
		n, _, errno := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), false, nil
		case syscall.EAGAIN:
			return 0, true, nil
		case syscall.EINTR:
		default:
			return 0, false, os.NewSyscallError(name, errno)
		}
	}
}

// peekFD looks without taking anything.
func peekFD(fd uintptr) peek {
	var b [1]byte
	n, again, err := transfer("read", syscall.SYS_RECVFROM, fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case again:
		return quiet
	case err != nil || n == 0:
		return ended
	}
	return readable
}

// closedFD tells whether the other side sends no more.
func closedFD(fd uintptr) bool {
	at := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(at[:], 0)
	return err == nil && n > 0
}

// unacknowledged is how many of the bytes sent on a TCP connection the other side's kernel has not acknowledged.
func unacknowledged(fd uintptr) int64 {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0
	}
	acked := max(int64(info.Bytes_acked)-1, 0) // the handshake counts as one
	return int64(info.Bytes_sent) - int64(info.Bytes_retrans) - acked
}
