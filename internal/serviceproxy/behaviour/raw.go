package behaviour

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// raw opens a socket for packets of a transport protocol in a namespace.
func (s *scene) raw(n *NetNS, protocol string) *net.IPConn {
	s.Helper()
	var c *net.IPConn
	err := n.Do(func() (err error) {
		network := map[plan.Family]string{plan.IPv4: "ip4:", plan.IPv6: "ip6:"}[s.family]
		c, err = net.ListenIP(network+protocol, nil)
		return err
	})
	if err != nil {
		s.Fatalf("raw socket in %s: %v", n.Name, err)
	}
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// sctpArrives sends the first packet of an SCTP association and waits for it where it should be translated to. The kernel need not speak SCTP.
func (s *scene) sctpArrives(to netip.AddrPort, server *NetNS, port uint16) {
	s.Helper()
	out, in := s.raw(s.client, "132"), s.raw(server, "132")
	const source = 40000
	packet := binary.BigEndian.AppendUint16(nil, source)
	packet = binary.BigEndian.AppendUint16(packet, to.Port())
	packet = binary.BigEndian.AppendUint32(packet, 0) // verification tag
	packet = binary.LittleEndian.AppendUint32(packet, 0)
	packet = append(packet, 1, 0, 0, 20)                     // INIT
	packet = binary.BigEndian.AppendUint32(packet, 0x1234)   // initiate tag
	packet = binary.BigEndian.AppendUint32(packet, 1<<16)    // window
	packet = append(packet, 0, 1, 0, 1)                      // streams
	packet = binary.BigEndian.AppendUint32(packet, 0xabcdef) // first TSN
	binary.LittleEndian.PutUint32(packet[8:], crc32.Checksum(packet, crc32.MakeTable(crc32.Castagnoli)))
	if _, err := out.WriteToIP(packet, &net.IPAddr{IP: to.Addr().AsSlice()}); err != nil {
		s.Fatal(err)
	}
	_ = in.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 2048)
	for {
		n, _, err := in.ReadFromIP(buf)
		if err != nil {
			s.Fatalf("no SCTP packet arrived: %v", err)
		}
		if n >= 12 && binary.BigEndian.Uint16(buf) == source {
			if got := binary.BigEndian.Uint16(buf[2:]); got != port {
				s.Errorf("arrived at port %d, want %d", got, port)
			}
			return
		}
	}
}

// resetArrives waits for a TCP reset from an address.
func (s *scene) resetArrives(in *net.IPConn, from netip.AddrPort) {
	s.Helper()
	_ = in.SetReadDeadline(time.Now().Add(silence))
	buf := make([]byte, 2048)
	for {
		n, sender, err := in.ReadFromIP(buf)
		if err != nil {
			s.Fatalf("no reset from %s: %v", from, err)
		}
		a, _ := netip.AddrFromSlice(sender.IP)
		if n >= 20 && a.Unmap() == from.Addr() && binary.BigEndian.Uint16(buf) == from.Port() && buf[13]&resetFlag != 0 {
			return
		}
	}
}

const (
	resetFlag = 0x04
	ackFlag   = 0x10
)

// strayReplyIsDropped makes an endpoint send a packet of an established connection that is far outside its window.
func (s *scene) strayReplyIsDropped(to netip.AddrPort, server *NetNS, endpoint netip.AddrPort) {
	s.Helper()
	c, err := dial(s.client, model.TCP, netip.Addr{}, to, patience)
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close()
	if _, err := say(c); err != nil {
		s.Fatal(err)
	}
	in, out := s.raw(s.client, "6"), s.raw(server, "6")
	local := netip.MustParseAddrPort(c.LocalAddr().String())
	packet := make([]byte, 20)
	binary.BigEndian.PutUint16(packet[0:], endpoint.Port())
	binary.BigEndian.PutUint16(packet[2:], local.Port())
	binary.BigEndian.PutUint32(packet[4:], 0x7fffffff)
	binary.BigEndian.PutUint32(packet[8:], 0x3fffffff)
	packet[12], packet[13] = 5<<4, ackFlag
	binary.BigEndian.PutUint16(packet[16:], tcpChecksum(endpoint.Addr(), local.Addr().Unmap(), packet))
	if _, err := out.WriteToIP(packet, &net.IPAddr{IP: local.Addr().AsSlice()}); err != nil {
		s.Fatal(err)
	}
	// What the connection itself says next arrives after the stray packet, had that been let through.
	if _, err := say(c); err != nil {
		s.Errorf("the connection broke: %v", err)
	}
	_ = in.SetReadDeadline(time.Now().Add(silence))
	buf := make([]byte, 2048)
	for fromService := 0; ; {
		_, from, err := in.ReadFromIP(buf)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && fromService > 0 {
			return
		}
		if err != nil {
			s.Fatal(err)
		}
		switch a, _ := netip.AddrFromSlice(from.IP); a.Unmap() {
		case to.Addr():
			fromService++
		case endpoint.Addr():
			s.Fatal("the client saw a packet from the endpoint's own address")
		}
	}
}

func tcpChecksum(from, to netip.Addr, segment []byte) uint16 {
	pseudo := append(from.AsSlice(), to.AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_TCP, 0, byte(len(segment)))
	var sum uint32
	for _, b := range [...][]byte{pseudo, segment} {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
