package behaviour

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// addresses are a machine's, one of each family.
type addresses struct{ v4, v6 netip.Addr }

func both(v4, v6 string) addresses {
	return addresses{netip.MustParseAddr(v4), netip.MustParseAddr(v6)}
}

func (a addresses) of(f plan.Family) netip.Addr {
	if f == plan.IPv4 {
		return a.v4
	}
	return a.v6
}

var (
	gateway      = both("10.244.0.1", "fd00:10:244::1") // the node, as Pods know it
	nodeAddress  = both("192.0.2.1", "2001:db8::1")
	nodeSecond   = both("198.51.100.1", "2001:db8:1::1") // another address of the node
	clientPod    = both("10.244.0.2", "fd00:10:244::2")
	outsider     = both("192.0.2.10", "2001:db8::10")
	outsiderToo  = both("192.0.2.11", "2001:db8::11")
	webAddresses = [...]addresses{
		both("10.244.0.11", "fd00:10:244::11"),
		both("10.244.0.12", "fd00:10:244::12"),
		both("10.244.0.13", "fd00:10:244::13"),
	}
)

// settings are what a backend is told of the node in most cases.
func settings() plan.Config {
	return plan.Config{
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/64")},
		VirtualRanges: []netip.Prefix{
			netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112"),
			netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:2::/64"), // a pool
		},
		MasqueradeMark: 0x4000,
	}
}

// world is the namespaces and who serves in them.
type world struct {
	node, client, outside *NetNS
	web                   [3]*NetNS
}

func newWorld(t *testing.T) *world {
	w := &world{node: NewNetNS(t, "node"), client: NewNetNS(t, "client"), outside: NewNetNS(t, "outside")}
	quiet := func(n *NetNS) {
		// Addresses are used at once, and nothing is rate limited.
		n.sysctl(t, "net.ipv6.conf.all.accept_dad", "0")
		n.sysctl(t, "net.ipv6.conf.default.accept_dad", "0")
		n.sysctl(t, "net.ipv4.icmp_ratelimit", "0")
		n.sysctl(t, "net.ipv6.icmp.ratelimit", "0")
	}
	quiet(w.node)
	w.node.sysctl(t, "net.ipv4.ip_forward", "1")
	w.node.sysctl(t, "net.ipv6.conf.all.forwarding", "1")
	quiet(w.client)
	w.addPod(t, w.client, clientPod)
	for i := range w.web {
		w.web[i] = NewNetNS(t, fmt.Sprintf("web-%d", i+1))
		quiet(w.web[i])
		w.addPod(t, w.web[i], webAddresses[i])
		serve(t, w.web[i], 8080, 8081)
	}
	quiet(w.outside)
	w.addOutside(t)
	serve(t, w.outside, 8022)
	serve(t, w.node, 8022, 8023)
	return w
}

// connect makes a cable between the node and another namespace.
func (w *world) connect(t *testing.T, other *NetNS) (here, there netlink.Link) {
	t.Helper()
	name := "to-" + other.Name
	err := w.node.links.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(other.FD()),
	})
	if err != nil {
		t.Fatalf("link %s: %v", name, err)
	}
	up := func(n *NetNS, name string) netlink.Link {
		l, err := n.links.LinkByName(name)
		if err == nil {
			err = n.links.LinkSetUp(l)
		}
		if err != nil {
			t.Fatalf("link %s in %s: %v", name, n.Name, err)
		}
		return l
	}
	return up(w.node, name), up(other, "eth0")
}

func (w *world) addPod(t *testing.T, pod *NetNS, a addresses) {
	here, there := w.connect(t, pod)
	for _, f := range [...]plan.Family{plan.IPv4, plan.IPv6} {
		address(t, w.node, here, host(gateway.of(f)))
		address(t, pod, there, host(a.of(f)))
		route(t, w.node, here, host(a.of(f)), netip.Addr{})
		route(t, pod, there, host(gateway.of(f)), netip.Addr{})
		route(t, pod, there, everything(f), gateway.of(f))
	}
}

func (w *world) addOutside(t *testing.T) {
	here, there := w.connect(t, w.outside)
	for _, f := range [...]plan.Family{plan.IPv4, plan.IPv6} {
		bits := map[plan.Family]int{plan.IPv4: 24, plan.IPv6: 64}[f]
		address(t, w.node, here, netip.PrefixFrom(nodeAddress.of(f), bits))
		address(t, w.node, here, host(nodeSecond.of(f)))
		address(t, w.outside, there, netip.PrefixFrom(outsider.of(f), bits))
		address(t, w.outside, there, netip.PrefixFrom(outsiderToo.of(f), bits))
		route(t, w.outside, there, everything(f), nodeAddress.of(f), outsider.of(f))
		// What no Service takes leaves the cluster, and is lost there.
		route(t, w.node, here, everything(f), outsider.of(f))
	}
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func everything(f plan.Family) netip.Prefix {
	if f == plan.IPv4 {
		return netip.MustParsePrefix("0.0.0.0/0")
	}
	return netip.MustParsePrefix("::/0")
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func address(t *testing.T, n *NetNS, l netlink.Link, p netip.Prefix) {
	t.Helper()
	if err := n.links.AddrAdd(l, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}); err != nil {
		t.Fatalf("address %s in %s: %v", p, n.Name, err)
	}
}

func route(t *testing.T, n *NetNS, l netlink.Link, to netip.Prefix, via netip.Addr, source ...netip.Addr) {
	t.Helper()
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(to), Scope: netlink.SCOPE_LINK}
	if via.IsValid() {
		r.Gw, r.Scope = via.AsSlice(), netlink.SCOPE_UNIVERSE
	}
	for _, a := range source {
		r.Src = a.AsSlice()
	}
	if err := n.links.RouteAdd(r); err != nil {
		t.Fatalf("route %s in %s: %v", to, n.Name, err)
	}
}
