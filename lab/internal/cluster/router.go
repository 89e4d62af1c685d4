package cluster

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/weftmesh/weft/lab/internal/machine"
	"github.com/weftmesh/weft/lab/internal/network"
)

// bridge is the switch of the lab, and the router's own interface.
const bridge = "lab0"

// setUpRouter makes the calling process's network namespace the lab's switch
// and router. The router knows the nodes and their Pods, and no way out: it
// answers for everything else that it is unreachable.
func setUpRouter(p *network.Plan) error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("link lo: %w", err)
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("link lo: %w", err)
	}
	if err := machine.Sysctls(true); err != nil {
		return err
	}
	noSnooping := false
	link := &netlink.Bridge{
		LinkAttrs: netlink.LinkAttrs{Name: bridge, HardwareAddr: hardwareAddr(network.Host{Number: 1})},
		// Neighbour discovery is multicast, and nobody here queries for listeners.
		MulticastSnooping: &noSnooping,
	}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("bridge %s: %w", bridge, err)
	}
	for _, a := range p.RouterPrefixes() {
		address := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bridge %s: %w", bridge, err)
	}
	return machine.AddRoutes(link, podRoutes(p, network.Host{}))
}

// plug connects a machine that has just been started.
func plug(h network.Host, pid int) error {
	port := fmt.Sprintf("port%d", h.Number)
	// Of a machine that lost power, if the kernel has not removed it yet.
	if old, err := netlink.LinkByName(port); err == nil {
		if err := netlink.LinkDel(old); err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
			return fmt.Errorf("unplug %s: %w", h.Name, err)
		}
	}
	link, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", bridge, err)
	}
	cable := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: port, MasterIndex: link.Attrs().Index, Flags: net.FlagUp},
		PeerName:      machine.Link,
		PeerNamespace: netlink.NsPid(pid),
		// A machine that comes back is the one its neighbours remember.
		PeerHardwareAddr: hardwareAddr(h),
	}
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("plug %s: %w", h.Name, err)
	}
	return nil
}

// hardwareAddr is a locally administered address that tells whose it is.
func hardwareAddr(h network.Host) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x89, 0, 0, 0, byte(h.Number)}
}

// podRoutes lead to the Pods of every node but self.
func podRoutes(p *network.Plan, self network.Host) []machine.Route {
	var routes []machine.Route
	for _, n := range p.Nodes {
		if n.Name == self.Name {
			continue
		}
		for i, r := range n.PodCIDRs {
			routes = append(routes, machine.Route{To: r, Via: n.Addresses[i].Addr()})
		}
	}
	return routes
}

// defaultRoutes lead everything else to the router.
func defaultRoutes(p *network.Plan) []machine.Route {
	var routes []machine.Route
	for _, r := range p.Router {
		routes = append(routes, machine.Route{To: anywhere(r), Via: r})
	}
	return routes
}
