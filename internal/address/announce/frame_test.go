package announce

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	nodeMAC   = mac{2, 0, 0, 0, 0, 1}
	clientMAC = mac{2, 0, 0, 0, 0, 9}
	vip4      = netip.MustParseAddr("192.0.2.80")
	vip6      = netip.MustParseAddr("fd00:2::80")
	client4   = netip.MustParseAddr("192.0.2.254")
	client6   = netip.MustParseAddr("fd00:2::254")
)

// bytesOf reads hex with spaces and comments.
func bytesOf(t testing.TB, lines ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(lines, ""), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// arpQuestion is a request as a Linux host sends it.
func arpQuestion(t testing.TB) []byte {
	return bytesOf(t, "ffffffffffff 020000000009 0806", "0001 0800 06 04 0001", "020000000009 c00002fe", "000000000000 c0000250")
}

// solicitation is one as a Linux host sends it.
func solicitation(src, dst, target netip.Addr, from mac, options ...byte) []byte {
	b := appendEthernet(nil, multicastMAC(dst), from, etherIPv6)
	b = append(b, 0x60, 0, 0, 0, 0, byte(solicitationBytes+len(options)), protoICMPv6, 255)
	s, d, tg := src.As16(), dst.As16(), target.As16()
	b = append(append(b, s[:]...), d[:]...)
	start := len(b)
	b = append(b, icmpSolicitation, 0, 0, 0, 0, 0, 0, 0)
	b = append(append(b, tg[:]...), options...)
	sum := checksum(src, dst, b[start:])
	b[start+2], b[start+3] = byte(sum>>8), byte(sum)
	return b
}

func plainSolicitation() []byte {
	return solicitation(client6, solicitedNode(vip6), vip6, clientMAC, 1, 1, 2, 0, 0, 0, 0, 9)
}

func TestChecksum(t *testing.T) {
	// fe80::1 asks for fe80::2.
	icmp := bytesOf(t, "8700 0000 00000000", "fe80000000000000 0000000000000002", "0101 020000000001")
	src, dst := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::1:ff00:2")
	sum := checksum(src, dst, icmp)
	// By hand: pseudo header 0xfe80+1 + 0xff02+1+0xff00+2 + 32 + 58, message 0x8700 + 0xfe80+2 + 0x0101+0x0200+1.
	want := uint32(0xfe80+1+0xff02+1+0xff00+2+32+58) + 0x8700 + 0xfe80 + 2 + 0x0101 + 0x0200 + 1
	for want > 0xffff {
		want = want>>16 + want&0xffff
	}
	if sum != ^uint16(want) {
		t.Errorf("checksum = %#04x, want %#04x", sum, ^uint16(want))
	}
	icmp[2], icmp[3] = byte(sum>>8), byte(sum)
	if got := checksum(src, dst, icmp); got != 0 {
		t.Errorf("checksum over a right message = %#04x", got)
	}
}

func TestParse(t *testing.T) {
	unspecified := netip.IPv6Unspecified()
	edit := func(b []byte, at int, to ...byte) []byte { copy(b[at:], to); return b }
	const ip, icmp = etherBytes, etherBytes + ipv6Bytes
	for _, c := range []struct {
		name  string
		parse func([]byte) (query, error)
		frame []byte
		want  query
		err   string
	}{
		{"ARP", parseARP, arpQuestion(t), query{vip4, client4, clientMAC}, ""},
		{"ARP, padded", parseARP, append(arpQuestion(t), make([]byte, 18)...), query{vip4, client4, clientMAC}, ""},
		{"ARP probe", parseARP, edit(arpQuestion(t), 28, 0, 0, 0, 0), query{vip4, netip.IPv4Unspecified(), clientMAC}, ""},
		{"ARP cut", parseARP, arpQuestion(t)[:41], query{}, "41 bytes"},
		{"ARP empty", parseARP, nil, query{}, "0 bytes"},
		{"ARP reply", parseARP, edit(arpQuestion(t), 20, 0, 2), query{}, "operation 2"},
		{"ARP for IPv6", parseARP, edit(arpQuestion(t), 16, 0x86, 0xdd), query{}, "something else"},
		{"ARP, long addresses", parseARP, edit(arpQuestion(t), 18, 8), query{}, "something else"},
		{"ARP from broadcast", parseARP, edit(arpQuestion(t), 22, 0xff), query{}, "multicast"},
		{"ARP, another ether type", parseARP, edit(arpQuestion(t), 12, 8, 0), query{}, "ether type"},

		{"NS", parseSolicitation, plainSolicitation(), query{vip6, client6, clientMAC}, ""},
		{"NS without options", parseSolicitation, solicitation(client6, vip6, vip6, clientMAC), query{vip6, client6, clientMAC}, ""},
		{"NS with a nonce", parseSolicitation, solicitation(client6, vip6, vip6, clientMAC, 14, 1, 1, 2, 3, 4, 5, 6), query{vip6, client6, clientMAC}, ""},
		{"NS relayed", parseSolicitation, solicitation(client6, vip6, vip6, nodeMAC, 1, 1, 2, 0, 0, 0, 0, 9), query{vip6, client6, clientMAC}, ""},
		{"NS, padded", parseSolicitation, append(plainSolicitation(), 1, 2, 3), query{vip6, client6, clientMAC}, ""},
		{"DAD", parseSolicitation, solicitation(unspecified, solicitedNode(vip6), vip6, clientMAC), query{vip6, unspecified, clientMAC}, ""},
		{"DAD to another group", parseSolicitation, solicitation(unspecified, allNodes, vip6, clientMAC), query{}, "detection sent to"},
		{"DAD with source option", parseSolicitation, solicitation(unspecified, solicitedNode(vip6), vip6, clientMAC, 1, 1, 2, 0, 0, 0, 0, 9), query{}, "source address option"},
		{"NS cut", parseSolicitation, plainSolicitation()[:70], query{}, "70 bytes"},
		{"NS, payload too long", parseSolicitation, edit(plainSolicitation(), ip+4, 0, 40), query{}, "payload of 40"},
		{"NS, payload too short", parseSolicitation, edit(plainSolicitation(), ip+4, 0, 8), query{}, "payload of 8"},
		{"NS from afar", parseSolicitation, edit(plainSolicitation(), ip+7, 254), query{}, "hop limit"},
		{"NS, wrong checksum", parseSolicitation, edit(plainSolicitation(), icmp+2, 0, 0), query{}, "checksum"},
		{"NS, code", parseSolicitation, edit(plainSolicitation(), icmp+1, 1), query{}, "code 1"},
		{"NA", parseSolicitation, edit(plainSolicitation(), icmp, icmpAdvertisement), query{}, "type 136"},
		{"NS for a group", parseSolicitation, solicitation(client6, vip6, allNodes, clientMAC), query{}, "target"},
		{"NS from a group", parseSolicitation, solicitation(allNodes, vip6, vip6, clientMAC), query{}, "source"},
		{"NS, option of length 0", parseSolicitation, solicitation(client6, vip6, vip6, clientMAC, 1, 0, 2, 0, 0, 0, 0, 9), query{}, "options"},
		{"NS, option too long", parseSolicitation, solicitation(client6, vip6, vip6, clientMAC, 1, 2, 2, 0, 0, 0, 0, 9), query{}, "options"},
		{"NS, option cut", parseSolicitation, solicitation(client6, vip6, vip6, clientMAC, 1, 1, 2), query{}, "options"},
		{"NS, multicast source option", parseSolicitation, solicitation(client6, vip6, vip6, clientMAC, 1, 1, 3, 0, 0, 0, 0, 9), query{}, "multicast"},
		{"IPv4", parseSolicitation, edit(plainSolicitation(), ip, 0x40), query{}, "version 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.parse(c.frame)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error = %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(query{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("query (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		q    query
		want []byte
	}{
		{"ARP", query{vip4, client4, clientMAC}, bytesOf(t,
			"020000000009 020000000001 0806", "0001 0800 06 04 0002", "020000000001 c0000250", "020000000009 c00002fe")},
		{"ARP probe", query{vip4, netip.IPv4Unspecified(), clientMAC}, bytesOf(t,
			"020000000009 020000000001 0806", "0001 0800 06 04 0002", "020000000001 c0000250", "020000000009 00000000")},
		{"NS", query{vip6, client6, clientMAC}, bytesOf(t,
			"020000000009 020000000001 86dd", "60000000 0020 3a ff", "fd000002000000000000000000000080", "fd000002000000000000000000000254",
			"88 00 1946 60000000", "fd000002000000000000000000000080", "0201 020000000001")},
		{"DAD", query{vip6, netip.IPv6Unspecified(), clientMAC}, bytesOf(t,
			"333300000001 020000000001 86dd", "60000000 0020 3a ff", "fd000002000000000000000000000080", "ff020000000000000000000000000001",
			"88 00 5999 20000000", "fd000002000000000000000000000080", "0201 020000000001")},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := answer(nil, c.q, nodeMAC)
			if diff := cmp.Diff(hex.Dump(c.want), hex.Dump(got)); diff != "" {
				t.Errorf("frame (-want +got):\n%s", diff)
			}
			if c.q.target.Is6() {
				dst := c.q.asker
				if dst.IsUnspecified() {
					dst = allNodes
				}
				if checksum(vip6, dst, got[etherBytes+ipv6Bytes:]) != 0 {
					t.Error("checksum is wrong")
				}
			}
		})
	}
}

func TestTakeover(t *testing.T) {
	var got []string
	for _, addr := range []netip.Addr{vip4, vip6} {
		for _, frame := range takeover(addr, nodeMAC) {
			got = append(got, hex.EncodeToString(frame[:22]))
		}
	}
	want := []string{
		"ffffffffffff" + "020000000001" + "0806" + "0001080006040001",
		"ffffffffffff" + "020000000001" + "0806" + "0001080006040002",
		"333300000001" + "020000000001" + "86dd" + "6000000000203aff",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
	frame := takeover(vip6, nodeMAC)[0]
	if flags := frame[etherBytes+ipv6Bytes+4]; flags != flagOverride {
		t.Errorf("flags = %#x, want override alone", flags)
	}
	if q, err := parseARP(takeover(vip4, nodeMAC)[0]); err != nil || !q.announcement() {
		t.Errorf("gratuitous request reads as %+v, %v", q, err)
	}
}

func TestSolicitedNode(t *testing.T) {
	group := solicitedNode(netip.MustParseAddr("fd00:2::1234:5678"))
	if group != netip.MustParseAddr("ff02::1:ff34:5678") || multicastMAC(group).String() != "33:33:ff:34:56:78" {
		t.Errorf("group = %v at %v", group, multicastMAC(group))
	}
}

func FuzzParse(f *testing.F) {
	f.Add(arpQuestion(f))
	f.Add(plainSolicitation())
	f.Add(solicitation(netip.IPv6Unspecified(), solicitedNode(vip6), vip6, clientMAC))
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, parse := range []func([]byte) (query, error){parseARP, parseSolicitation} {
			q, err := parse(frame)
			if err != nil {
				continue
			}
			if !q.target.IsValid() || !q.asker.IsValid() || q.target.Is4() != q.asker.Is4() || !unicast(q.askerMAC) {
				t.Errorf("query %+v", q)
			}
			if size := len(answer(nil, q, nodeMAC)); size != 42 && size != 86 {
				t.Errorf("answer of %d bytes", size)
			}
		}
	})
}
