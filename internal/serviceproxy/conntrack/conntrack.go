// Package conntrack removes the kernel's memory of flows that a change of the plan has made wrong.
//
// The kernel translates a connection once and then remembers. TCP notices when an endpoint is gone; a UDP client that keeps its source port
// goes on talking to the endpoint that is no more, for as long as it talks, and one that began before there was an endpoint never reaches any.
// So after the plan is in force those flows are deleted, and the next packet is translated afresh. SCTP is treated alike.
//
// The package owns which changes matter ([Affected]), which flows are stale, and the dump and deletes over netlink. It never decides where a
// flow goes instead, and never touches TCP.
package conntrack

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// Tracked tells whether stale flows of a protocol have to be removed.
func Tracked(p model.Protocol) bool { return p == model.UDP || p == model.SCTP }

// Affected tells whether a change of one frontend can have left stale flows: an endpoint of it serves no more, it got its first endpoint, or it
// is gone itself. Before or after is nil if the frontend was not, or is no more, there. That an endpoint merely came leaves every flow right, and
// so does one that still serves what it has: it terminates, or new flows are kept from it by traffic policy or hints.
func Affected(before, after *plan.Frontend) bool {
	switch {
	case before == nil && after == nil:
		return false
	case before == nil:
		return Tracked(after.Protocol) && hasEndpoint(after)
	case !Tracked(before.Protocol):
		return false
	case after == nil:
		return hasEndpoint(before)
	case !hasEndpoint(before):
		return hasEndpoint(after)
	}
	gone := func(a netip.AddrPort) bool { return !leadsTo(after, a) }
	return slices.ContainsFunc(before.Endpoints, gone) || slices.ContainsFunc(before.Local, gone) || slices.ContainsFunc(before.Serving, gone)
}

func hasEndpoint(f *plan.Frontend) bool { return len(f.Endpoints)+len(f.Local) > 0 }

// leadsTo tells whether a flow of the frontend may lead to an endpoint. The lists are sorted.
func leadsTo(f *plan.Frontend, a netip.AddrPort) bool {
	for _, list := range [...][]netip.AddrPort{f.Serving, f.Endpoints, f.Local} {
		if _, found := slices.BinarySearchFunc(list, a, netip.AddrPort.Compare); found {
			return true
		}
	}
	return false
}

// flow is the part of a conntrack entry that says where a client wanted to go and who answers it.
type flow struct {
	protocol model.Protocol
	dialled  netip.AddrPort // destination of the original direction
	answers  netip.AddrPort // source of the reply direction: differs from dialled if the destination was translated
}

// selection is the frontends whose flows are looked at.
type selection struct {
	frontends map[plan.Key]*plan.Frontend // nil: the frontend is gone
	local     map[netip.Addr]bool         // the node's own addresses, where node ports are dialled
}

// newSelection takes the tracked frontends of a diff.
func newSelection(diff *plan.Diff) *selection {
	s := &selection{frontends: map[plan.Key]*plan.Frontend{}}
	for _, k := range diff.Delete {
		if Tracked(k.Protocol) {
			s.frontends[k] = nil
		}
	}
	for _, f := range diff.Set {
		if Tracked(f.Protocol) {
			s.frontends[f.Key] = f
		}
	}
	return s
}

// table is what one dump covers.
type table struct {
	family   plan.Family
	protocol model.Protocol
}

// tables gives what has to be dumped.
func (s *selection) tables() (out []table) {
	for k := range s.frontends {
		if t := (table{k.Family, k.Protocol}); !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b table) int {
		return cmp.Or(cmp.Compare(a.family, b.family), cmp.Compare(a.protocol, b.protocol))
	})
	return out
}

// nodePorts tells whether any frontend is dialled on the node's own addresses.
func (s *selection) nodePorts() bool {
	for k := range s.frontends {
		if k.NodePort() {
			return true
		}
	}
	return false
}

// stale tells whether a flow leads where it must not go on.
func (s *selection) stale(f flow) bool {
	addr := f.dialled.Addr()
	key := plan.Key{Addr: addr, Family: plan.FamilyOf(addr), Protocol: f.protocol, Port: f.dialled.Port()}
	frontend, ours := s.frontends[key]
	if !ours && s.local[addr] {
		key.Addr = netip.Addr{}
		frontend, ours = s.frontends[key]
	}
	if !ours {
		return false
	}
	switch {
	case frontend != nil && leadsTo(frontend, f.answers):
		return false
	case frontend == nil || !hasEndpoint(frontend):
		return f.answers != f.dialled // translated to an endpoint that cannot be one any more
	}
	return true
}
