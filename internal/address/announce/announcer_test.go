//go:build linux

package announce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// station is a network namespace on the test's network, with one interface to it.
type station struct {
	t    *testing.T
	ns   netns.NsHandle
	name string // of the interface
	mac  string
}

// in runs a function in the station's namespace and waits for it.
func (s *station) in(f func() error) {
	s.t.Helper()
	done := make(chan error)
	go func() { done <- inNamespace(s.ns, f) }()
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
}

// inNamespace must be given a goroutine of its own: its thread ends with it.
func inNamespace(ns netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	if err := netns.Set(ns); err != nil {
		return err
	}
	return f()
}

func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	type made struct {
		ns  netns.NsHandle
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.New()
		if err == nil {
			var lo netlink.Link
			if lo, err = netlink.LinkByName("lo"); err == nil {
				err = netlink.LinkSetUp(lo)
			}
		}
		done <- made{ns, err}
	}()
	m := <-done
	if errors.Is(m.err, unix.EPERM) {
		t.Skipf("needs CAP_SYS_ADMIN: make a network namespace: %v", m.err)
	}
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() { m.ns.Close() })
	return m.ns
}

// network makes a client that is also the switch (a bridge), and nodes on it.
func network(t *testing.T, nodes int) (client *station, out []*station) {
	t.Helper()
	client = &station{t: t, ns: newNamespace(t), name: "br0", mac: clientMAC.String()}
	client.in(func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", HardwareAddr: clientMAC[:]}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("add bridge: %w", err)
		}
		return errors.Join(netlink.LinkSetUp(bridge), addAddresses(bridge, "192.0.2.254/24", "fd00:2::254/64"))
	})
	for i := range nodes {
		node := &station{t: t, ns: newNamespace(t), name: "eth0", mac: mac{2, 0, 0, 0, 1, byte(i + 1)}.String()}
		client.in(func() error {
			hw, _ := net.ParseMAC(node.mac)
			port := fmt.Sprintf("port%d", i+1)
			veth := &netlink.Veth{
				LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "eth0", PeerHardwareAddr: hw, PeerNamespace: netlink.NsFd(node.ns),
			}
			if err := netlink.LinkAdd(veth); err != nil {
				return fmt.Errorf("add veth: %w", err)
			}
			bridge, err := netlink.LinkByName("br0")
			return errors.Join(err, netlink.LinkSetMaster(veth, bridge), netlink.LinkSetUp(veth))
		})
		node.in(func() error {
			eth, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return errors.Join(netlink.LinkSetUp(eth), addAddresses(eth, fmt.Sprintf("192.0.2.%d/24", i+1), fmt.Sprintf("fd00:2::%d/64", i+1)))
		})
		out = append(out, node)
	}
	return client, out
}

// addAddresses adds addresses that can be used at once.
func addAddresses(l netlink.Link, addrs ...string) error {
	for _, s := range addrs {
		a, err := netlink.ParseAddr(s)
		if err != nil {
			return err
		}
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return fmt.Errorf("add %s: %w", s, err)
		}
	}
	return nil
}

// announce runs an Announcer on a station.
func (s *station) announce(opts Options) *Announcer {
	s.t.Helper()
	opts.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	a, err := New(opts)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error)
	go func() { done <- inNamespace(s.ns, func() error { return a.Run(ctx) }) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	return a
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, good func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !good(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// resolved gives the Ethernet address that a station's neighbour table has for an address, "" if none.
func (s *station) resolved(addr netip.Addr) (station string) {
	s.in(func() error {
		link, err := netlink.LinkByName(s.name)
		if err != nil {
			return err
		}
		all, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
		for _, n := range all {
			if held, _ := netip.AddrFromSlice(n.IP); held.Unmap() == addr && n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
				station = n.HardwareAddr.String()
			}
		}
		return err
	})
	return station
}

// knock sends a datagram, for which the kernel has to resolve the address.
func (s *station) knock(addr netip.Addr) {
	s.in(func() error {
		conn, err := net.Dial("udp", netip.AddrPortFrom(addr, 9).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("knock"))
		return err
	})
}

// listen opens a socket for frames of one type on a station.
func (s *station) listen(etherType int) *packet.Conn {
	s.t.Helper()
	var conn *packet.Conn
	s.in(func() error {
		ifi, err := net.InterfaceByName(s.name)
		if err == nil {
			conn, err = packet.Listen(ifi, packet.Raw, etherType, nil)
		}
		return err
	})
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// collect gives the frames that match until there are so many.
func collect(t *testing.T, conn *packet.Conn, count int, match func([]byte) bool) (out [][]byte) {
	t.Helper()
	buf := make([]byte, 2048)
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for len(out) < count {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatalf("got %d of %d frames: %v", len(out), count, err)
		}
		if match(buf[:n]) {
			out = append(out, append([]byte(nil), buf[:n]...))
		}
	}
	return out
}

func isAdvertisement(f []byte) bool {
	return len(f) >= 86 && f[etherBytes+6] == protoICMPv6 && f[etherBytes+ipv6Bytes] == icmpAdvertisement &&
		netip.AddrFrom16([16]byte(f[62:78])) == vip6
}

func isARPOf(addr netip.Addr) func([]byte) bool {
	return func(f []byte) bool { return len(f) >= 42 && netip.AddrFrom4([4]byte(f[28:32])) == addr }
}

var nodeOne = Options{NodeAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00:2::1")}}
var nodeTwo = Options{NodeAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.2")}}

func TestAddressResolvesAndMoves(t *testing.T) {
	t.Parallel()
	client, nodes := network(t, 2)
	one, two := nodes[0].announce(nodeOne), nodes[1].announce(nodeTwo)
	vips := []netip.Addr{vip4, vip6}
	one.Set(vips)
	for _, vip := range vips {
		client.knock(vip)
		eventually(t, fmt.Sprintf("%v is at node one", vip), func() bool { return client.resolved(vip) == nodes[0].mac })
	}
	// The client's knowledge moves without it asking.
	one.Set(nil)
	two.Set(vips)
	for _, vip := range vips {
		eventually(t, fmt.Sprintf("%v is at node two", vip), func() bool { return client.resolved(vip) == nodes[1].mac })
	}
	if n := testutil.ToFloat64(two.metrics.arp.answers) + testutil.ToFloat64(two.metrics.ndp.answers); n != 0 {
		t.Errorf("node two was asked %v times", n)
	}
	// And who asks anew is answered by the new node.
	nodes[0].knock(vip4)
	eventually(t, "node one sees it at node two", func() bool { return nodes[0].resolved(vip4) == nodes[1].mac })
	nodes[0].knock(vip6)
	eventually(t, "node one sees it at node two", func() bool { return nodes[0].resolved(vip6) == nodes[1].mac })
}

func TestTakeoverIsToldThreeTimes(t *testing.T) {
	t.Parallel()
	client, nodes := network(t, 1)
	arp, ndp := client.listen(etherARP), client.listen(etherIPv6)
	a := nodes[0].announce(nodeOne)
	a.Set([]netip.Addr{vip4, vip6})
	var ops []byte
	for _, f := range collect(t, arp, 2*repeats, isARPOf(vip4)) {
		ops = append(ops, f[21])
	}
	if string(ops) != "\x01\x02\x01\x02\x01\x02" {
		t.Errorf("ARP operations = %v, want request and reply three times", ops)
	}
	for _, f := range collect(t, ndp, repeats, isAdvertisement) {
		if f[58] != flagOverride {
			t.Errorf("advertisement with flags %#x", f[58])
		}
	}
	eventually(t, "all is told", func() bool { return testutil.ToFloat64(a.metrics.announcements) == 2*repeats })

	// The cable is pulled and put back, perhaps elsewhere: it is told again. Here the node's own side goes down, then the other.
	for _, s := range []struct {
		*station
		link string
	}{{nodes[0], "eth0"}, {client, "port1"}} {
		before := testutil.ToFloat64(a.metrics.announcements)
		for i, set := range []func(netlink.Link) error{netlink.LinkSetDown, netlink.LinkSetUp} {
			s.in(func() error {
				link, err := netlink.LinkByName(s.link)
				return errors.Join(err, set(link))
			})
			if s.station == client { // the kernel tells of a carrier late, and not at all if it is back meanwhile
				eventually(t, "the node sees it", func() bool { return a.Status().Interfaces[0].Up == (i == 1) })
			}
		}
		eventually(t, "it is told again", func() bool { return testutil.ToFloat64(a.metrics.announcements) >= before+2*repeats })
		collect(t, arp, 2, isARPOf(vip4)) // the first may have been lost, as the switch was not ready yet
	}
	client.knock(vip4)
	eventually(t, "it is answered as before", func() bool { return client.resolved(vip4) == nodes[0].mac })
}

func TestOnlyWhatIsOursIsAnswered(t *testing.T) {
	t.Parallel()
	client, nodes := network(t, 1)
	a := nodes[0].announce(nodeOne)
	a.Set([]netip.Addr{vip4, vip6})
	eventually(t, "told", func() bool { return testutil.ToFloat64(a.metrics.announcements) == 2*repeats })
	conn := client.listen(etherARP)
	write := func(frame []byte) {
		t.Helper()
		if err := send(conn, frame); err != nil {
			t.Fatal(err)
		}
	}
	other := netip.MustParseAddr("192.0.2.81")
	write(appendARP(nil, arpRequest, broadcast, clientMAC, client4, mac{}, other))                          // not ours
	write(appendARP(nil, arpReply, mac{2, 0, 0, 0, 1, 1}, clientMAC, client4, mac{2, 0, 0, 0, 1, 1}, vip4)) // no question
	write(appendARP(nil, arpRequest, broadcast, clientMAC, vip4, mac{}, vip4))                              // a claim
	bad := appendARP(nil, arpRequest, broadcast, clientMAC, client4, mac{}, vip4)
	bad[18] = 8
	write(bad)
	write(bad[:30])
	write(appendARP(nil, arpRequest, broadcast, clientMAC, netip.IPv4Unspecified(), mac{}, vip4)) // a probe
	write(appendARP(nil, arpRequest, broadcast, clientMAC, client4, mac{}, vip4))
	got := collect(t, conn, 2, func(f []byte) bool { return f[21] == arpReply })
	for i, asker := range []netip.Addr{netip.IPv4Unspecified(), client4} {
		if want := answer(nil, query{vip4, asker, clientMAC}, mac{2, 0, 0, 0, 1, 1}); string(got[i][:42]) != string(want) {
			t.Errorf("answer %d = %x, want %x", i, got[i], want)
		}
	}
	eventually(t, "both answers are counted", func() bool { return testutil.ToFloat64(a.metrics.arp.answers) >= 2 })
	if n := testutil.ToFloat64(a.metrics.arp.answers); n != 2 {
		t.Errorf("%v ARP answers, want 2", n)
	}
	if n := testutil.ToFloat64(a.metrics.arp.conflicts); n != 1 {
		t.Errorf("%v conflicts, want 1", n)
	}
	if n := testutil.ToFloat64(a.metrics.arp.malformed); n != 2 {
		t.Errorf("%v malformed ARP frames, want 2", n)
	}
	six := client.listen(etherIPv6)
	far := plainSolicitation()
	far[21] = 254
	if err := errors.Join(send(six, far), send(six, plainSolicitation())); err != nil {
		t.Fatal(err)
	}
	collect(t, six, 1, isAdvertisement)
	if n := testutil.ToFloat64(a.metrics.ndp.malformed); n != 1 {
		t.Errorf("%v malformed solicitations, want 1", n)
	}
}

func TestDuplicateAddressIsDetected(t *testing.T) {
	t.Parallel()
	client, nodes := network(t, 1)
	nodes[0].announce(nodeOne).Set([]netip.Addr{vip6})
	client.knock(vip6)
	eventually(t, "it is announced", func() bool { return client.resolved(vip6) == nodes[0].mac })
	client.in(func() error {
		link, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: vip6.AsSlice(), Mask: net.CIDRMask(64, 128)}})
	})
	eventually(t, "the client gives it up", func() (failed bool) {
		client.in(func() error {
			link, err := netlink.LinkByName("br0")
			if err != nil {
				return err
			}
			all, err := netlink.AddrList(link, netlink.FAMILY_V6)
			for _, a := range all {
				failed = failed || a.IP.Equal(vip6.AsSlice()) && a.Flags&unix.IFA_F_DADFAILED != 0
			}
			return err
		})
		return failed
	})
}

func TestSolicitedNodeGroupsAreJoined(t *testing.T) {
	t.Parallel()
	_, nodes := network(t, 1)
	a := nodes[0].announce(nodeOne)
	// What the interface and the IPv6 stack are members of, as the kernel shows it.
	member := func(file, group string) (found bool) {
		nodes[0].in(func() error {
			data, err := os.ReadFile("/proc/thread-self/net/" + file)
			found = strings.Contains(string(data), group)
			return err
		})
		return found
	}
	both := func(want bool) func() bool {
		return func() bool {
			return member("dev_mcast", "3333ff00aa80") == want && member("igmp6", "ff0200000000000000000001ff00aa80") == want
		}
	}
	first, second := netip.MustParseAddr("fd00:2::aa80"), netip.MustParseAddr("fd00:2::b:0:aa80") // one group
	a.Set([]netip.Addr{first, second})
	eventually(t, "joined", both(true))
	a.Set([]netip.Addr{second, vip6})
	eventually(t, "the other joined", func() bool { return member("dev_mcast", "3333ff000080") })
	if !both(true)() {
		t.Error("left a group that is still needed")
	}
	a.Set(nil)
	eventually(t, "left", both(false))
}

func TestInterfaceComesLater(t *testing.T) {
	t.Parallel()
	client, _ := network(t, 0)
	node := &station{t: t, ns: newNamespace(t), name: "eth0", mac: "02:00:00:00:01:01"}
	a := node.announce(Options{Interfaces: []string{"eth0"}})
	a.Set([]netip.Addr{vip4})
	eventually(t, "it is reported missing", func() bool { return strings.Contains(a.Status().Error, "interface eth0") })
	client.in(func() error {
		hw, _ := net.ParseMAC(node.mac)
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "port1"}, PeerName: "eth0", PeerHardwareAddr: hw, PeerNamespace: netlink.NsFd(node.ns)}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		bridge, err := netlink.LinkByName("br0")
		return errors.Join(err, netlink.LinkSetMaster(veth, bridge), netlink.LinkSetUp(veth))
	})
	node.in(func() error {
		eth, err := netlink.LinkByName("eth0")
		return errors.Join(err, netlink.LinkSetUp(eth))
	})
	client.knock(vip4)
	eventually(t, "it is answered", func() bool {
		client.knock(vip4)
		return client.resolved(vip4) == node.mac
	})
	st := a.Status()
	if st.Error != "" || len(st.Interfaces) != 1 || !st.Interfaces[0].Up || st.Interfaces[0].MAC != node.mac || len(st.Addresses) != 1 {
		t.Errorf("status = %+v", st)
	}

	// Another Ethernet address is another place.
	changed := mac{2, 0, 0, 0, 1, 77}
	node.in(func() error {
		eth, err := netlink.LinkByName("eth0")
		return errors.Join(err, netlink.LinkSetHardwareAddr(eth, changed[:]))
	})
	eventually(t, "the client knows the new one", func() bool { return client.resolved(vip4) == changed.String() })
	client.in(func() error {
		port, err := netlink.LinkByName("port1")
		return errors.Join(err, netlink.LinkDel(port))
	})
	eventually(t, "it is reported missing", func() bool { return a.Status().Error != "" && len(a.Status().Interfaces) == 0 })
}

func TestSetIgnoresWhatCannotBeAnnounced(t *testing.T) {
	a, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	a.Set([]netip.Addr{{}, netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::ffff:192.0.2.80"), vip4})
	if got := a.Status().Addresses; len(got) != 1 || got[0] != vip4 {
		t.Errorf("addresses = %v", got)
	}
}
