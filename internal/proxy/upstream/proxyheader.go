package upstream

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// proxyVersion is a version of the PROXY protocol (haproxy.org, proxy-protocol.txt); 0 is none.
type proxyVersion uint8

const (
	proxyVersion1 proxyVersion = 1
	proxyVersion2 proxyVersion = 2
)

// signature begins a header of version 2.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// appendHeader appends the header that tells of a connection from source to local. Addresses that are not valid, or of two families, are told as
// unknown: the endpoint then takes those of the connection itself.
func (v proxyVersion) appendHeader(b []byte, source, local netip.AddrPort) []byte {
	from, to := source.Addr().Unmap(), local.Addr().Unmap()
	known := from.IsValid() && to.IsValid() && from.Is4() == to.Is4()
	if v == proxyVersion1 {
		switch {
		case !known:
			return append(b, "PROXY UNKNOWN\r\n"...)
		case from.Is4():
			b = append(b, "PROXY TCP4 "...)
		default:
			b = append(b, "PROXY TCP6 "...)
		}
		b = from.WithZone("").AppendTo(b)
		b = append(b, ' ')
		b = to.WithZone("").AppendTo(b)
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(source.Port()), 10)
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(local.Port()), 10)
		return append(b, "\r\n"...)
	}
	b = append(b, signature...)
	if !known {
		return append(b, 0x20, 0x00, 0, 0) // LOCAL, unspecified, no addresses
	}
	family, size := byte(0x11), uint16(12)
	if !from.Is4() {
		family, size = 0x21, 36
	}
	b = append(b, 0x21, family)
	b = binary.BigEndian.AppendUint16(b, size)
	b = append(b, from.AsSlice()...)
	b = append(b, to.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, source.Port())
	return binary.BigEndian.AppendUint16(b, local.Port())
}
