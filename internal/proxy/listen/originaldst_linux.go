package listen

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// originalDst asks the kernel where a connection went before netfilter redirected it (SO_ORIGINAL_DST).
func originalDst(nc net.Conn) (at netip.AddrPort, ok bool) {
	t, isTCP := nc.(*net.TCPConn)
	if !isTCP {
		return at, false
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return at, false
	}
	_ = raw.Control(func(fd uintptr) {
		// Both calls only lend their size to what the kernel writes: a sockaddr_in is 16 bytes, a sockaddr_in6 28.
		if addrPort(nc.LocalAddr()).Addr().Is4() {
			if m, err := unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST); err == nil {
				at = netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Multiaddr[4:8])), binary.BigEndian.Uint16(m.Multiaddr[2:4]))
				ok = true
			}
			return
		}
		if m, err := unix.GetsockoptIPv6MTUInfo(int(fd), unix.SOL_IPV6, unix.SO_ORIGINAL_DST); err == nil {
			var port [2]byte
			binary.NativeEndian.PutUint16(port[:], m.Addr.Port)
			at = netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), binary.BigEndian.Uint16(port[:]))
			ok = true
		}
	})
	return at, ok
}
