package address

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/finding"
)

// PoolStatus is how full a pool is. A number that is too great for a uint64 is the greatest uint64.
type PoolStatus struct {
	Name string `json:"name"`
	Size uint64 `json:"size"` // addresses in it
	Used uint64 `json:"used"` // given to Services
	Free uint64 `json:"free"` // neither given nor in use for something else
}

// Pools tells how full the pools are, in the order in which they were given.
func (a *Allocator) Pools() (out []PoolStatus) {
	busy := make([][]Range, len(a.pools))
	for x := range a.holders {
		for i, c := range a.pools {
			if c.pool.Contains(x) {
				busy[i] = append(busy[i], single(x))
			}
		}
	}
	for i, c := range a.pools {
		st := PoolStatus{Name: c.pool.Name, Size: size(c.pool.Ranges), Used: uint64(len(busy[i]))}
		for u := range uses {
			fenced, _ := a.fence.within(c.pool, u)
			busy[i] = append(busy[i], fenced...)
		}
		st.Free = size(c.pool.without(busy[i]))
		out = append(out, st)
	}
	return out
}

func (p Pool) without(busy []Range) (rest []Range) {
	busy = merge(busy)
	for _, r := range p.Ranges {
		rest = append(rest, subtract(r, busy)...)
	}
	return rest
}

// PoolFindings tells what is wrong with the pools as the cluster is now, in the order of finding.Compare.
func (a *Allocator) PoolFindings() []finding.Finding { return slices.Clone(a.overlap) }

func (a *Allocator) poolFindings() (out []finding.Finding) {
	codes := map[use]string{nodeAddress: "pool-overlaps-nodes", podRange: "pool-overlaps-pods", clusterAddress: "pool-overlaps-services", reservedRange: "pool-overlaps-reserved"}
	for _, c := range a.pools {
		var fenced []Range
		var found []finding.Finding
		for u := range otherAddress {
			ranges, first := a.fence.within(c.pool, u)
			if len(ranges) == 0 {
				continue
			}
			fenced = append(fenced, ranges...)
			found = append(found, finding.Finding{Object: c.pool.Object(), Field: "addresses", Severity: finding.Warning, Code: codes[u], Message: describe(ranges, first)})
		}
		if len(found) > 0 && len(c.pool.without(fenced)) == 0 {
			for i := range found {
				found[i].Severity = finding.Error
				found[i].Message += ", and the pool has no others"
			}
		}
		out = append(out, found...)
	}
	slices.SortFunc(out, finding.Compare)
	return out
}

// findings tells what a Service does not get, and why.
func (a *Allocator) findings(e *entry) (out []finding.Finding) {
	say := func(severity finding.Severity, field, code, format string, args ...any) {
		out = append(out, finding.Finding{Object: e.svc.Origin.Object, Field: field, Severity: severity, Code: code, Message: fmt.Sprintf(format, args...)})
	}
	switch e.role {
	case handOff:
		if len(a.pools) > 0 {
			say(finding.Warning, "status.loadBalancer.ingress", "foreign-address",
				"%v is in no pool, so it is somebody else's and the Service is left alone; if nobody else gives it addresses, remove it there", e.svc.LoadBalancerIPs[0])
		}
	case ours:
		for f := range families {
			a.lacks(e, f, say)
		}
		a.vainWishes(e, say)
	}
	slices.SortFunc(out, finding.Compare)
	return out
}

type sayer func(severity finding.Severity, field, code, format string, args ...any)

func (a *Allocator) lacks(e *entry, f family, say sayer) {
	if !e.needs(f) {
		return
	}
	given, want := e.given[f], e.requested(f)
	switch {
	case want.IsValid() && given == want:
	case want.IsValid() && given.IsValid():
		say(finding.Warning, e.svc.RequestedIn, "address-unavailable", "%s; the Service keeps %v", a.whyNot(want), given)
	case want.IsValid():
		say(finding.Error, e.svc.RequestedIn, "address-unavailable", "%s; the Service has no %v address", a.whyNot(want), f)
	case given.IsValid():
	case !slices.ContainsFunc(a.pools, func(c *cursor) bool { return c.pool.family() == f }):
		severity := finding.Error
		switch {
		case e.given[families-1-f].IsValid():
			severity = finding.Warning // it is reachable by the other family
		case len(a.pools) == 0 && e.svc.LoadBalancerClass == "":
			severity = finding.Info // somebody else may be about to give it one
		}
		say(severity, "spec.type", "no-pool", "there is no pool with %v addresses", f)
	default:
		say(finding.Error, "spec.type", "pool-exhausted", "no %v address is free in any pool", f)
	}
}

// vainWishes are requests that could not be honoured whatever is free.
func (a *Allocator) vainWishes(e *entry, say sayer) {
	for _, x := range e.svc.RequestedIPs {
		f := familyOf(x)
		switch {
		case !e.needs(f):
			say(finding.Warning, e.svc.RequestedIn, "wrong-family", "%v is asked for, but %v is not among the families of the Service", x, f)
		case x != e.requested(f):
			say(finding.Warning, e.svc.RequestedIn, "too-many-addresses", "%v is left out: a Service gets one address of each family", x)
		}
	}
}

// whyNot says why an address cannot be given; empty if it can.
func (a *Allocator) whyNot(x netip.Addr) string {
	if !a.inPool(x) {
		return fmt.Sprintf("%v is in no pool", x)
	}
	if _, o, fenced := a.fence.around(x, false); fenced {
		return fmt.Sprintf("%v is %v", x, o)
	}
	if h := a.holders[x]; h != nil {
		return fmt.Sprintf("%v belongs to Service %v", x, h.name)
	}
	return ""
}

func (a *Allocator) inPool(x netip.Addr) bool {
	return slices.ContainsFunc(a.pools, func(c *cursor) bool { return c.pool.Contains(x) })
}
