//go:build !linux

package listen

import (
	"net"
	"net/netip"
)

// originalDst is known on Linux only.
func originalDst(net.Conn) (netip.AddrPort, bool) { return netip.AddrPort{}, false }
