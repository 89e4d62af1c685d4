package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// ErrProxyProtocol is a connection that does not begin with a PROXY protocol header where one is required.
var ErrProxyProtocol = errors.New("listen: no valid PROXY protocol header")

// signature begins a header of version 2.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// maxProxyHeader bounds a header of version 2, with its extensions.
const maxProxyHeader = 16 + 4096

// readProxyHeader reads a header of the PROXY protocol (version 1 or 2) and not a byte more. The addresses are not valid if the header gives none
// (LOCAL, UNKNOWN): then those of the connection count.
func readProxyHeader(r io.Reader) (src, dst netip.AddrPort, err error) {
	var head [16]byte
	const shortest = 13 // a line of version 1 is that long without its end
	if _, err = io.ReadFull(r, head[:shortest]); err != nil {
		return src, dst, ErrProxyProtocol
	}
	if string(head[:12]) == signature {
		if _, err = io.ReadFull(r, head[shortest:]); err != nil {
			return src, dst, ErrProxyProtocol
		}
		return readProxyV2(r, head)
	}
	if !bytes.HasPrefix(head[:], []byte("PROXY ")) {
		return src, dst, ErrProxyProtocol
	}
	line := append(make([]byte, 0, 107), head[:shortest]...) // the longest there is, with its end
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == cap(line) {
			return src, dst, ErrProxyProtocol
		}
		if _, err := io.ReadFull(r, line[len(line):len(line)+1]); err != nil {
			return src, dst, ErrProxyProtocol
		}
		line = line[:len(line)+1]
	}
	return parseProxyV1(string(line[:len(line)-2]))
}

func parseProxyV1(line string) (src, dst netip.AddrPort, err error) {
	words := strings.Split(line, " ")
	if len(words) >= 2 && words[1] == "UNKNOWN" {
		return src, dst, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return src, dst, ErrProxyProtocol
	}
	one := func(host, port string) netip.AddrPort {
		ip, err := netip.ParseAddr(host)
		n, err2 := strconv.ParseUint(port, 10, 16)
		if err != nil || err2 != nil || ip.Zone() != "" || ip.Is4() != (words[1] == "TCP4") {
			return netip.AddrPort{}
		}
		return netip.AddrPortFrom(ip, uint16(n))
	}
	src, dst = one(words[2], words[4]), one(words[3], words[5])
	if !src.IsValid() || !dst.IsValid() {
		return netip.AddrPort{}, netip.AddrPort{}, ErrProxyProtocol
	}
	return src, dst, nil
}

func readProxyV2(r io.Reader, head [16]byte) (src, dst netip.AddrPort, err error) {
	n := int(binary.BigEndian.Uint16(head[14:]))
	if head[12]>>4 != 2 || n > maxProxyHeader-16 {
		return src, dst, ErrProxyProtocol
	}
	rest := make([]byte, n)
	if _, err := io.ReadFull(r, rest); err != nil {
		return src, dst, ErrProxyProtocol
	}
	switch head[12] & 15 {
	case 0: // LOCAL: the proxy's own
		return src, dst, nil
	case 1:
	default:
		return src, dst, ErrProxyProtocol
	}
	size := 0
	switch head[13] {
	case 0x11:
		size = 4
	case 0x21:
		size = 16
	case 0x00: // UNSPEC
		return src, dst, nil
	default:
		return src, dst, ErrProxyProtocol
	}
	if len(rest) < 2*size+4 {
		return src, dst, ErrProxyProtocol
	}
	a, _ := netip.AddrFromSlice(rest[:size])
	b, _ := netip.AddrFromSlice(rest[size : 2*size])
	ports := rest[2*size:]
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(ports)), netip.AddrPortFrom(b, binary.BigEndian.Uint16(ports[2:])), nil
}
