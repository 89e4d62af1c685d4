package upstream

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// lateBind has the kernel choose a source port when it knows the destination: the ports of one source are enough for each destination then. Where that
// is not known, it chooses earlier.
func lateBind(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) })
}
