//go:build linux

package announce

import (
	"net/netip"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// groups are the multicast groups that solicitations for our addresses are sent to. Several addresses can share one.
//
// The packet socket's membership makes the network card let the frames in. A membership of the IPv6 stack beside it makes the kernel send the
// listener reports (MLD) without which a snooping switch would not let them through; where the stack has no IPv6, there is none.
type groups struct {
	index  int
	frames *packet.Conn
	stack  int // a socket, -1 if the host has no IPv6
	users  map[netip.Addr]int
}

func openGroups(index int, frames *packet.Conn) *groups {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fd = -1
	}
	return &groups{index: index, frames: frames, stack: fd, users: map[netip.Addr]int{}}
}

// join is for an address of either family; there is nothing to join for IPv4.
func (g *groups) join(addr netip.Addr) error {
	if !addr.Is6() {
		return nil
	}
	group := solicitedNode(addr)
	if g.users[group]++; g.users[group] > 1 {
		return nil
	}
	station := multicastMAC(group)
	if g.stack >= 0 {
		_ = unix.SetsockoptIPv6Mreq(g.stack, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, g.request(group)) // IPv6 may be off here
	}
	return g.frames.JoinGroup(station[:])
}

// leave is the contrary of join.
func (g *groups) leave(addr netip.Addr) {
	if !addr.Is6() {
		return
	}
	group := solicitedNode(addr)
	if g.users[group]--; g.users[group] > 0 {
		return
	}
	delete(g.users, group)
	station := multicastMAC(group)
	_ = g.frames.LeaveGroup(station[:]) // the interface may be gone, and the membership with it
	if g.stack >= 0 {
		_ = unix.SetsockoptIPv6Mreq(g.stack, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, g.request(group))
	}
}

func (g *groups) request(group netip.Addr) *unix.IPv6Mreq {
	return &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(g.index)}
}

func (g *groups) close() {
	if g.stack >= 0 {
		_ = unix.Close(g.stack)
	}
}
