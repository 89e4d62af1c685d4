package announce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// mac is an Ethernet address.
type mac [6]byte

// String reads "02:00:00:00:00:01".
func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

var (
	broadcast = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = netip.MustParseAddr("ff02::1")
)

const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	etherBytes = 14
	arpBytes   = 28
	ipv6Bytes  = 40

	arpRequest, arpReply = 1, 2

	protoICMPv6         = 58
	icmpSolicitation    = 135
	icmpAdvertisement   = 136
	solicitationBytes   = 24 // of ICMP, without options
	optionSourceAddress = 1
	optionTargetAddress = 2

	flagSolicited, flagOverride = 0x40, 0x20
)

// query is a question for the Ethernet address of an IP address: an ARP request or a neighbour solicitation.
type query struct {
	target   netip.Addr
	asker    netip.Addr // unspecified if the asker only wants to know whether the address is taken (RFC 5227 probe, RFC 4862 DAD)
	askerMAC mac
}

// announcement tells whether the asker does not ask but tells that the address is its own.
func (q query) announcement() bool { return q.asker == q.target }

// appendEthernet begins a frame.
func appendEthernet(b []byte, to, from mac, etherType uint16) []byte {
	b = append(append(b, to[:]...), from[:]...)
	return binary.BigEndian.AppendUint16(b, etherType)
}

// parseARP reads a frame that holds an ARP request for IPv4 over Ethernet (RFC 826).
func parseARP(frame []byte) (query, error) {
	if len(frame) < etherBytes+arpBytes {
		return query{}, fmt.Errorf("ARP frame of %d bytes", len(frame))
	}
	if t := binary.BigEndian.Uint16(frame[12:]); t != etherARP {
		return query{}, fmt.Errorf("ether type %#04x is not ARP", t)
	}
	p := frame[etherBytes:]
	if [6]byte(p[:6]) != [6]byte{0, 1, 8, 0, 6, 4} { // Ethernet, IPv4, and the lengths of their addresses
		return query{}, errors.New("ARP for something else than IPv4 over Ethernet")
	}
	if op := binary.BigEndian.Uint16(p[6:]); op != arpRequest {
		return query{}, fmt.Errorf("ARP operation %d is not a request", op)
	}
	q := query{
		askerMAC: mac(p[8:14]),
		asker:    netip.AddrFrom4([4]byte(p[14:18])),
		target:   netip.AddrFrom4([4]byte(p[24:28])),
	}
	if !unicast(q.askerMAC) {
		return query{}, errors.New("ARP request of a multicast Ethernet address")
	}
	return q, nil
}

// unicast tells whether an Ethernet address can be one station's.
func unicast(m mac) bool { return m[0]&1 == 0 && m != mac{} }

// appendARP writes a frame; to is whom the frame goes to.
func appendARP(b []byte, op uint16, to, sender mac, senderIP netip.Addr, target mac, targetIP netip.Addr) []byte {
	b = appendEthernet(b, to, sender, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, op)
	for _, side := range []struct {
		mac mac
		ip  netip.Addr
	}{{sender, senderIP}, {target, targetIP}} {
		ip := side.ip.As4()
		b = append(append(b, side.mac[:]...), ip[:]...)
	}
	return b
}

// parseSolicitation reads a frame that holds a neighbour solicitation, and checks what RFC 4861, section 7.1.1, says a node must check.
func parseSolicitation(frame []byte) (query, error) {
	if len(frame) < etherBytes+ipv6Bytes+solicitationBytes {
		return query{}, fmt.Errorf("neighbour solicitation of %d bytes", len(frame))
	}
	if t := binary.BigEndian.Uint16(frame[12:]); t != etherIPv6 {
		return query{}, fmt.Errorf("ether type %#04x is not IPv6", t)
	}
	ip := frame[etherBytes:]
	size := int(binary.BigEndian.Uint16(ip[4:]))
	switch {
	case ip[0]>>4 != 6:
		return query{}, fmt.Errorf("IP version %d", ip[0]>>4)
	case ip[6] != protoICMPv6:
		return query{}, fmt.Errorf("next header %d is not ICMPv6", ip[6])
	case ip[7] != 255:
		return query{}, fmt.Errorf("hop limit %d: it came through a router", ip[7])
	case size < solicitationBytes || size > len(ip)-ipv6Bytes:
		return query{}, fmt.Errorf("payload of %d bytes in a frame of %d", size, len(frame))
	}
	src, dst := netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	icmp := ip[ipv6Bytes : ipv6Bytes+size]
	q := query{asker: src, askerMAC: mac(frame[6:12]), target: netip.AddrFrom16([16]byte(icmp[8:24]))}
	switch {
	case icmp[0] != icmpSolicitation || icmp[1] != 0:
		return query{}, fmt.Errorf("ICMPv6 type %d code %d is not a neighbour solicitation", icmp[0], icmp[1])
	case checksum(src, dst, icmp) != 0:
		return query{}, errors.New("checksum is wrong")
	case q.target.IsMulticast() || q.target.Is4In6():
		return query{}, fmt.Errorf("target %v", q.target)
	case src.IsMulticast():
		return query{}, fmt.Errorf("source %v", src)
	}
	hasSource := false
	for options := icmp[solicitationBytes:]; len(options) > 0; {
		if len(options) < 8 || options[1] == 0 || int(options[1])*8 > len(options) {
			return query{}, errors.New("options do not fit")
		}
		if options[0] == optionSourceAddress && options[1] == 1 {
			hasSource, q.askerMAC = true, mac(options[2:8])
		}
		options = options[int(options[1])*8:]
	}
	switch {
	case src.IsUnspecified() && dst != solicitedNode(q.target):
		return query{}, fmt.Errorf("duplicate address detection sent to %v", dst)
	case src.IsUnspecified() && hasSource:
		return query{}, errors.New("duplicate address detection with a source address option")
	case !unicast(q.askerMAC):
		return query{}, errors.New("neighbour solicitation of a multicast Ethernet address")
	}
	return q, nil
}

// appendAdvertisement writes a frame with a neighbour advertisement (RFC 4861, section 4.4) of an address that is ours.
func appendAdvertisement(b []byte, target netip.Addr, flags byte, from, to mac, toIP netip.Addr) []byte {
	b = appendEthernet(b, to, from, etherIPv6)
	const size = solicitationBytes + 8
	b = append(b, 0x60, 0, 0, 0, 0, size, protoICMPv6, 255)
	ours, theirs := target.As16(), toIP.As16()
	b = append(append(b, ours[:]...), theirs[:]...)
	start := len(b)
	b = append(b, icmpAdvertisement, 0, 0, 0, flags, 0, 0, 0)
	b = append(b, ours[:]...)
	b = append(b, optionTargetAddress, 1)
	b = append(b, from[:]...)
	binary.BigEndian.PutUint16(b[start+2:], checksum(target, toIP, b[start:]))
	return b
}

// checksum is that of ICMPv6 with its pseudo header (RFC 4443, section 2.3); over a message that has a right one it is zero.
func checksum(src, dst netip.Addr, icmp []byte) uint16 {
	var sum uint32
	add := func(b []byte) {
		for ; len(b) >= 2; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	from, to := src.As16(), dst.As16()
	add(from[:])
	add(to[:])
	sum += uint32(len(icmp)) + protoICMPv6
	add(icmp)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// solicitedNode gives the multicast address that solicitations for an address go to (RFC 4291, section 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// multicastMAC gives the Ethernet address of an IPv6 multicast address (RFC 2464, section 7).
func multicastMAC(a netip.Addr) mac {
	b := a.As16()
	return mac{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// answer appends the frame that answers a query for an address of ours.
func answer(b []byte, q query, ours mac) []byte {
	switch {
	case q.target.Is4():
		return appendARP(b, arpReply, q.askerMAC, ours, q.target, q.askerMAC, q.asker)
	case q.asker.IsUnspecified(): // nobody to answer to: everybody is told (RFC 4861, section 7.2.4)
		return appendAdvertisement(b, q.target, flagOverride, ours, multicastMAC(allNodes), allNodes)
	default:
		return appendAdvertisement(b, q.target, flagSolicited|flagOverride, ours, q.askerMAC, q.asker)
	}
}

// takeover gives the frames that tell everybody that an address is ours now. ARP has two ways of saying so, and hosts differ in which they heed.
func takeover(addr netip.Addr, ours mac) [][]byte {
	if addr.Is6() {
		return [][]byte{appendAdvertisement(nil, addr, flagOverride, ours, multicastMAC(allNodes), allNodes)}
	}
	return [][]byte{
		appendARP(nil, arpRequest, broadcast, ours, addr, mac{}, addr),
		appendARP(nil, arpReply, broadcast, ours, addr, ours, addr),
	}
}
