package machine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// sysctls of every machine. They belong to its network namespace.
func sysctls(forward bool) [][2]string {
	settings := [][2]string{
		// Addresses are usable at once: nobody else has them.
		{"net/ipv6/conf/all/accept_dad", "0"},
		{"net/ipv6/conf/default/accept_dad", "0"},
		{"net/ipv6/conf/all/accept_ra", "0"},
		{"net/ipv6/conf/default/accept_ra", "0"},
		{"net/ipv6/conf/all/disable_ipv6", "0"},
		{"net/ipv6/conf/default/disable_ipv6", "0"},
		// New namespaces inherit these from the host, whatever it has.
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv4/ip_forward", "0"},
	}
	if forward {
		settings = append(settings, [][2]string{
			{"net/ipv4/ip_forward", "1"},
			{"net/ipv6/conf/all/forwarding", "1"},
			{"net/ipv4/conf/all/send_redirects", "0"},
			{"net/ipv4/conf/default/send_redirects", "0"},
		}...)
	}
	return settings
}

// Sysctls sets the sysctls of the calling thread's network namespace as every
// machine of a lab has them.
func Sysctls(forward bool) error {
	for _, s := range sysctls(forward) {
		if err := os.WriteFile("/proc/sys/"+s[0], []byte(s[1]), 0); err != nil {
			return fmt.Errorf("sysctl %s: %w", strings.ReplaceAll(s[0], "/", "."), err)
		}
	}
	return nil
}

// setUp configures the machine's own end of the network.
func (n Network) setUp() error {
	if err := Sysctls(n.Forward); err != nil {
		return err
	}
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("link lo: %w", err)
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("link lo: %w", err)
	}
	link, err := netlink.LinkByName(Link)
	if err != nil {
		return fmt.Errorf("link %s: %w", Link, err)
	}
	for _, a := range n.Addresses {
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(a)}); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s: %w", Link, err)
	}
	for _, own := range n.Own {
		if err := netlink.RouteReplace(&netlink.Route{Dst: ipNet(own), Type: unix.RTN_UNREACHABLE}); err != nil {
			return fmt.Errorf("range %s: %w", own, err)
		}
	}
	return AddRoutes(link, n.Routes)
}

// AddRoutes adds routes through a link.
func AddRoutes(link netlink.Link, routes []Route) error {
	var errs []error
	for _, r := range routes {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.To), Gw: r.Via.AsSlice()}
		if err := netlink.RouteReplace(route); err != nil {
			errs = append(errs, fmt.Errorf("route to %s via %s: %w", r.To, r.Via, err))
		}
	}
	return errors.Join(errs...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
