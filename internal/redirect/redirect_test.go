package redirect_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/redirect"
	"github.com/weftmesh/weft/internal/serviceproxy/behaviour"
)

// patience is how long an answer may take that must come.
const patience = 5 * time.Second

// pair is a Pod and the rest of the world, as network namespaces with a cable between them.
type pair struct{ pod, world *behaviour.NetNS }

type addresses struct{ pod, world, podToo, other, loopback, passthrough netip.Addr }

var families = map[string]addresses{
	"IPv4": {addr("10.244.0.2"), addr("192.0.2.1"), addr("10.245.0.2"), addr("198.51.100.1"), addr("127.0.0.1"), addr("127.0.0.6")},
	"IPv6": {addr("fd00:10:244::2"), addr("2001:db8::1"), addr("fd00:10:245::2"), addr("2001:db8:1::1"), addr("::1"), addr("::6")},
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// newPair makes a Pod with an application and a proxy in it, and a world that serves.
func newPair(t *testing.T) pair {
	t.Helper()
	p := pair{behaviour.NewNetNS(t, "pod"), behaviour.NewNetNS(t, "world")}
	for _, n := range []*behaviour.NetNS{p.pod, p.world} { // addresses are used at once
		err := n.Do(func() error {
			return errors.Join(
				os.WriteFile("/proc/sys/net/ipv6/conf/all/accept_dad", []byte("0"), 0), os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0),
			)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	inside, outside := links(t, p.pod), links(t, p.world)
	for _, name := range []string{"eth0", "net1"} {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name, PeerNamespace: netlink.NsFd(p.world.FD())}
		if err := inside.LinkAdd(veth); err != nil {
			t.Fatal(err)
		}
		for _, h := range []*netlink.Handle{inside, outside} {
			l, err := h.LinkByName(name)
			if err == nil {
				err = h.LinkSetUp(l)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, a := range families {
		address(t, inside, "eth0", a.pod)
		address(t, inside, "net1", a.podToo)
		address(t, outside, "eth0", a.world)
		address(t, outside, "net1", a.other)
		route(t, inside, "eth0", a.world)
		route(t, outside, "eth0", a.pod)
		route(t, inside, "net1", a.other)
		route(t, outside, "net1", a.podToo)
	}
	serve(t, p.pod, "app", 8080, 15008, 15020, 15021, 15090)
	serve(t, p.pod, "15001", 15001)
	serve(t, p.pod, "15006", 15006)
	serve(t, p.world, "world", 9080, 9081, 15001)
	return p
}

func links(t *testing.T, n *behaviour.NetNS) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(n.FD()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func host(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func address(t *testing.T, h *netlink.Handle, name string, a netip.Addr) {
	t.Helper()
	l, err := h.LinkByName(name)
	if err == nil {
		err = h.AddrAdd(l, &netlink.Addr{IPNet: host(a), Flags: unix.IFA_F_NODAD})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func route(t *testing.T, h *netlink.Handle, name string, a netip.Addr) {
	t.Helper()
	l, err := h.LinkByName(name)
	if err == nil {
		err = h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: host(a), Scope: netlink.SCOPE_LINK})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// serve answers each line on some ports: who it is, whom it sees, and where the client wanted to go.
func serve(t *testing.T, n *behaviour.NetNS, name string, ports ...uint16) {
	t.Helper()
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	for _, port := range ports {
		for _, network := range []string{"tcp4", "tcp6"} {
			var l net.Listener
			err := n.Do(func() (err error) {
				var plain net.ListenConfig
				plain.SetMultipathTCP(false)
				l, err = plain.Listen(context.Background(), network, fmt.Sprintf(":%d", port))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			running.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					running.Go(func() {
						defer c.Close()
						lines := bufio.NewScanner(c)
						for lines.Scan() {
							from := netip.MustParseAddrPort(c.RemoteAddr().String()).Addr()
							fmt.Fprintf(c, "%s from %s for %s\n", name, from, originalDestination(c.(*net.TCPConn)))
						}
					})
				}
			})
		}
	}
}

func originalDestination(c *net.TCPConn) netip.AddrPort {
	local := netip.MustParseAddrPort(c.LocalAddr().String())
	raw, err := c.SyscallConn()
	if err != nil {
		return local
	}
	_ = raw.Control(func(fd uintptr) {
		if local.Addr().Is4() {
			// sockaddr_in fits into what the library calls an IPv6Mreq, as everybody does who has no better call.
			if m, err := unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST); err == nil {
				local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Multiaddr[4:8])), uint16(m.Multiaddr[2])<<8|uint16(m.Multiaddr[3]))
			}
		} else if m, err := unix.GetsockoptIPv6MTUInfo(int(fd), unix.SOL_IPV6, unix.SO_ORIGINAL_DST); err == nil {
			port := m.Addr.Port<<8 | m.Addr.Port>>8
			local = netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), port)
		}
	})
	return local
}

// client is who asks.
type client struct {
	uid, gid int
	source   netip.Addr
}

var (
	app   = client{uid: 1000, gid: 1000}
	proxy = client{uid: 1337, gid: 1337}
)

// dial connects in a namespace as somebody.
func (c client) dial(n *behaviour.NetNS, to netip.AddrPort) (conn net.Conn, err error) {
	err = n.Do(func() error {
		// Only this thread becomes somebody else, and it ends with the function: see NetNS.Do.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(c.gid), uintptr(c.gid), uintptr(c.gid)); errno != 0 {
			return errno
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(c.uid), uintptr(c.uid), uintptr(c.uid)); errno != 0 {
			return errno
		}
		d := net.Dialer{Timeout: patience}
		d.SetMultipathTCP(false)
		if c.source.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.source, 0))
		}
		conn, err = d.Dial("tcp", to.String())
		return err
	})
	return conn, err
}

// ask gives the first answer, or why there is none.
func (c client) ask(n *behaviour.NetNS, to netip.AddrPort) string {
	conn, err := c.dial(n, to)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	case err != nil:
		return err.Error()
	}
	defer conn.Close()
	return again(conn)
}

func again(conn net.Conn) string {
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "?\n"); err != nil {
		return err.Error()
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(line, "\n")
}

func apply(t *testing.T, n *behaviour.NetNS, c redirect.Config) {
	t.Helper()
	if err := n.Do(func() error { return redirect.Apply(c) }); err != nil {
		t.Fatal(err)
	}
}

func TestWhoIsTurned(t *testing.T) {
	p := newPair(t)
	apply(t, p.pod, redirect.Default())
	for name, a := range families {
		t.Run(name, func(t *testing.T) {
			at := func(host netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(host, port) }
			for _, c := range []struct {
				name string
				who  client
				in   *behaviour.NetNS
				to   netip.AddrPort
				want string
			}{
				{"out", app, p.pod, at(a.world, 9080), fmt.Sprintf("15001 from %s for %s", a.pod, at(a.world, 9080))},
				{"out, where nobody listens", app, p.pod, at(a.world, 1), fmt.Sprintf("15001 from %s for %s", a.pod, at(a.world, 1))},
				{"in", app, p.world, at(a.pod, 8080), fmt.Sprintf("15006 from %s for %s", a.world, at(a.pod, 8080))},
				{"in, where nobody listens", app, p.world, at(a.pod, 1), fmt.Sprintf("15006 from %s for %s", a.world, at(a.pod, 1))},
				{"in, to a tunnel", app, p.world, at(a.pod, 15008), fmt.Sprintf("app from %s for %s", a.world, at(a.pod, 15008))},
				{"in, to metrics", app, p.world, at(a.pod, 15020), fmt.Sprintf("app from %s for %s", a.world, at(a.pod, 15020))},
				{"in, to readiness", app, p.world, at(a.pod, 15021), fmt.Sprintf("app from %s for %s", a.world, at(a.pod, 15021))},
				{"in, to Envoy's metrics", app, p.world, at(a.pod, 15090), fmt.Sprintf("app from %s for %s", a.world, at(a.pod, 15090))},
				{"the proxy goes out", proxy, p.pod, at(a.world, 9080), fmt.Sprintf("world from %s for %s", a.pod, at(a.world, 9080))},
				{"somebody of the proxy's group goes out", client{uid: 1000, gid: 1337}, p.pod, at(a.world, 9080), fmt.Sprintf("world from %s for %s", a.pod, at(a.world, 9080))},
				{"the proxy calls its own Pod", proxy, p.pod, at(a.pod, 8080), fmt.Sprintf("15006 from %s for %s", a.pod, at(a.pod, 8080))},
				{"the proxy hands to the application", client{uid: 1337, gid: 1337, source: a.passthrough}, p.pod, at(a.pod, 8080), fmt.Sprintf("app from %s for %s", a.passthrough, at(a.pod, 8080))},
				{"the proxy calls loopback", proxy, p.pod, at(a.loopback, 8080), fmt.Sprintf("app from %s for %s", a.loopback, at(a.loopback, 8080))},
				{"the application calls its own Pod", app, p.pod, at(a.pod, 8080), fmt.Sprintf("app from %s for %s", a.pod, at(a.pod, 8080))},
				{"the application calls loopback", app, p.pod, at(a.loopback, 8080), fmt.Sprintf("app from %s for %s", a.loopback, at(a.loopback, 8080))},
				{"in, to the proxy by its number", app, p.world, at(a.pod, 15006), "refused"},
				{"in, to the proxy by its other number", app, p.world, at(a.pod, 15001), "refused"},
				{"the application calls the proxy by its number", app, p.pod, at(a.loopback, 15001), "refused"},
				{"out, to another's port of the same number", app, p.pod, at(a.world, 15001), fmt.Sprintf("15001 from %s for %s", a.pod, at(a.world, 15001))},
			} {
				if got := c.who.ask(c.in, c.to); got != c.want {
					t.Errorf("%s: %s, want %s", c.name, got, c.want)
				}
			}
		})
	}
}

func TestWhatIsExcluded(t *testing.T) {
	p := newPair(t)
	for name, a := range families {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				name string
				edit func(*redirect.Config)
				in   *behaviour.NetNS
				to   netip.Addr
				port uint16
				want string
			}{
				{"outbound port", func(c *redirect.Config) { c.ExcludeOutbound = []uint16{9080} }, p.pod, a.world, 9080, "world"},
				{"another outbound port", func(c *redirect.Config) { c.ExcludeOutbound = []uint16{9080} }, p.pod, a.world, 9081, "15001"},
				{"outbound range", func(c *redirect.Config) { c.ExcludeRanges = ranges("192.0.2.0/24,2001:db8::/64") }, p.pod, a.world, 9080, "world"},
				{"another outbound range", func(c *redirect.Config) { c.ExcludeRanges = ranges("192.0.2.0/24,2001:db8::/64") }, p.pod, a.other, 9080, "15001"},
				{"all but a range", func(c *redirect.Config) { c.OutboundRanges = ranges("192.0.2.1,2001:db8::1") }, p.pod, a.other, 9080, "world"},
				{"a range only", func(c *redirect.Config) { c.OutboundRanges = ranges("192.0.2.1,2001:db8::1") }, p.pod, a.world, 9080, "15001"},
				{"no range", func(c *redirect.Config) { c.OutboundRanges = nil }, p.pod, a.world, 9080, "world"},
				{"no range but a port", func(c *redirect.Config) { c.OutboundRanges, c.OutboundPorts = nil, []uint16{9081} }, p.pod, a.world, 9081, "15001"},
				{"interface, out", func(c *redirect.Config) { c.ExcludeInterfaces = []string{"net1"} }, p.pod, a.other, 9080, "world"},
				{"another interface, out", func(c *redirect.Config) { c.ExcludeInterfaces = []string{"net1"} }, p.pod, a.world, 9080, "15001"},
				{"interface, in", func(c *redirect.Config) { c.ExcludeInterfaces = []string{"eth0"} }, p.world, a.pod, 8080, "app"},
				{"inbound port", func(c *redirect.Config) { c.ExcludeInbound = []uint16{8080} }, p.world, a.pod, 8080, "app"},
				{"another inbound port", func(c *redirect.Config) { c.ExcludeInbound = []uint16{8080} }, p.world, a.pod, 8081, "15006"},
				{"an inbound port only", func(c *redirect.Config) { c.InboundPorts = redirect.Ports{List: []uint16{8081}} }, p.world, a.pod, 8081, "15006"},
				{"not the inbound ports named", func(c *redirect.Config) { c.InboundPorts = redirect.Ports{List: []uint16{8081}} }, p.world, a.pod, 8080, "app"},
				{"no inbound port", func(c *redirect.Config) { c.InboundPorts = redirect.Ports{} }, p.world, a.pod, 8080, "app"},
			} {
				config := redirect.Default()
				c.edit(&config)
				apply(t, p.pod, config)
				got := app.ask(c.in, netip.AddrPortFrom(c.to, c.port))
				if who, _, _ := strings.Cut(got, " "); who != c.want {
					t.Errorf("%s: %s, want %s", c.name, got, c.want)
				}
			}
		})
	}
}

func ranges(text string) []netip.Prefix {
	out, err := redirect.ParseRanges(text)
	if err != nil {
		panic(err)
	}
	return out
}

// Names are asked of the server that the Pod is configured with.
func TestUDPIsLeftAlone(t *testing.T) {
	p := newPair(t)
	apply(t, p.pod, redirect.Default())
	for name, a := range families {
		t.Run(name, func(t *testing.T) {
			server := netip.AddrPortFrom(a.world, 53)
			var there, here net.PacketConn
			err := errors.Join(
				p.world.Do(func() (err error) { there, err = net.ListenPacket("udp", server.String()); return err }),
				p.pod.Do(func() (err error) {
					here, err = net.ListenPacket("udp", netip.AddrPortFrom(a.pod, 0).String())
					return err
				}),
			)
			if err != nil {
				t.Fatal(err)
			}
			defer there.Close()
			defer here.Close()
			_ = there.SetDeadline(time.Now().Add(patience))
			if _, err := here.WriteTo([]byte("?"), net.UDPAddrFromAddrPort(server)); err != nil {
				t.Fatal(err)
			}
			if _, from, err := there.ReadFrom(make([]byte, 16)); err != nil || from.String() != here.LocalAddr().String() {
				t.Errorf("from %v, %v", from, err)
			}
		})
	}
}

// Doing it again changes nothing, for open connections neither; another's table stays; and it can be undone.
func TestAgainAndUndone(t *testing.T) {
	p := newPair(t)
	nft(t, p.pod, "add", "table", "inet", "others")
	apply(t, p.pod, redirect.Default())
	before := nft(t, p.pod, "list", "ruleset")
	a := families["IPv4"]
	conn, err := app.dial(p.pod, netip.AddrPortFrom(a.world, 9080))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	first := again(conn)
	apply(t, p.pod, redirect.Default())
	if after := nft(t, p.pod, "list", "ruleset"); after != before || !strings.Contains(after, "others") {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if got := again(conn); got != first || !strings.HasPrefix(got, "15001 ") {
		t.Errorf("an open connection got %q, then %q", first, got)
	}
	for range 2 {
		if err := p.pod.Do(redirect.Remove); err != nil {
			t.Fatal(err)
		}
	}
	if got := app.ask(p.pod, netip.AddrPortFrom(a.world, 9080)); !strings.HasPrefix(got, "world ") {
		t.Errorf("after it is undone: %s", got)
	}
	if got := nft(t, p.pod, "list", "tables"); strings.TrimSpace(got) != "table inet others" {
		t.Errorf("left: %s", got)
	}
}

// A node may have IPv6 switched off.
func TestWithoutIPv6(t *testing.T) {
	p := newPair(t)
	err := p.pod.Do(func() error {
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0),
			os.WriteFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6", []byte("1"), 0),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, p.pod, redirect.Default())
	if got := app.ask(p.pod, netip.AddrPortFrom(families["IPv4"].world, 9080)); !strings.HasPrefix(got, "15001 ") {
		t.Error(got)
	}
}

func TestWithoutThePrivilege(t *testing.T) {
	n := behaviour.NewNetNS(t, "pod")
	err := n.Do(func() error {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 1337, 1337, 1337); errno != 0 {
			return errno
		}
		return redirect.Apply(redirect.Default())
	})
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "NET_ADMIN") {
		t.Errorf("%v", err)
	}
}

func nft(t *testing.T, n *behaviour.NetNS, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs the nft command")
	}
	var out, errs bytes.Buffer
	err := n.Do(func() error {
		c := exec.Command("nft", args...)
		c.Stdout, c.Stderr = &out, &errs
		return c.Run()
	})
	if err != nil {
		t.Fatalf("nft %v: %v: %s", args, err, errs.String())
	}
	return out.String()
}
