// Package freeport keeps ports free for servers that a test starts later, and that have to be told their port before.
package freeport

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Hold gives a TCP port of 127.0.0.1 on which a server that sets SO_REUSEADDR, as Go's and Envoy do, can listen until the test
// ends, and again after it has stopped. Nobody else is given it in between: a socket is bound to it that does not listen, so
// that connecting to it is refused, and the kernel takes it for no connection and for no listener on port 0.
func Hold(t testing.TB) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	loopback := [4]byte{127, 0, 0, 1}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback}); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(netip.AddrFrom4(loopback), uint16(at.(*unix.SockaddrInet4).Port))
}
