package address

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// Class is the spec.loadBalancerClass by which a Service asks for an address from weft and nobody else.
const Class = "weftmesh.github.io/weft"

// Options are what an [Allocator] is made of.
type Options struct {
	Pools []Pool // as [ParsePools] gives them; the first that has a free address gives it

	// Reserved are ranges that no address is given from, such as those of the cluster's Services and Pods, with the words that
	// findings have for them ("the Service range 10.96.0.0/16"). The addresses that Nodes and Services declare need not be here.
	Reserved map[netip.Prefix]string

	// ClassOnly leaves Services without a loadBalancerClass to somebody else.
	ClassOnly bool
}

// ServiceChange is what a Service is from now on.
type ServiceChange struct {
	Name    model.ServiceName
	Service *model.Service // nil: it is gone
}

// NodeChange is what a Node is from now on.
type NodeChange struct {
	Name string
	Node *model.Node // nil: it is gone
}

// Outcome is what is decided about a Service.
type Outcome struct {
	Name      model.ServiceName
	Addresses []netip.Addr // that it has from the pools, IPv4 first

	// Write is true if status.loadBalancer.ingress should list Addresses and does not, or lists others that are weft's.
	// Exclusive is true if every address there is weft's to remove, in a pool or not.
	Write, Exclusive bool

	Findings []finding.Finding // in the order of finding.Compare
}

// Allocator decides which Service has which address. It is not safe for concurrent use.
type Allocator struct {
	opts    Options
	pools   []*cursor
	fence   *fence
	entries map[model.ServiceName]*entry
	holders map[netip.Addr]*entry
	waiting map[model.ServiceName]bool // Services that lack something
	freed   bool                       // something may be free that was not when they began to wait
	overlap []finding.Finding          // on the pools

	touched map[model.ServiceName]bool // in this Apply
}

// entry is a Service that asks for an address, or did.
type entry struct {
	name  model.ServiceName
	svc   *model.Service
	role  role
	given [families]netip.Addr
}

// role is what weft is to a Service.
type role uint8

const (
	none    role = iota // it does not ask for an address
	theirs              // somebody else gives it one
	handOff             // somebody else has given it one, though it asked nobody in particular
	ours
)

// NewAllocator makes an allocator that knows of no Service and no Node.
func NewAllocator(o Options) *Allocator {
	a := &Allocator{
		opts: o, fence: newFence(o.Pools), entries: map[model.ServiceName]*entry{}, holders: map[netip.Addr]*entry{},
		waiting: map[model.ServiceName]bool{}, touched: map[model.ServiceName]bool{},
	}
	for _, p := range o.Pools {
		a.pools = append(a.pools, &cursor{pool: p, next: p.Ranges[0].First})
	}
	reserved := map[owner][]Range{}
	for prefix, name := range o.Reserved {
		by := owner{reservedRange, name}
		reserved[by] = append(reserved[by], RangeOf(prefix))
	}
	for by, ranges := range reserved {
		a.fence.set(by, ranges...)
	}
	a.overlap = a.poolFindings()
	return a
}

// Apply takes changes that belong together and gives the outcome for every Service that they may have changed something for, sorted by name.
// At start it must be given everything at once: a Service that is not known yet does not keep its address.
func (a *Allocator) Apply(services []ServiceChange, nodes []NodeChange) []Outcome {
	a.fenceIn(services, nodes)
	for _, c := range services {
		a.update(c)
	}
	a.adopt()
	a.wakeWaiting()
	for again := true; again; again = a.wakeWaiting() {
		for _, name := range a.inOrder() {
			a.request(a.entries[name])
		}
	}
	for _, name := range a.inOrder() {
		a.fill(a.entries[name])
	}
	return a.outcomes()
}

// fenceIn notes which addresses are in use for something else, and takes those away that were given.
func (a *Allocator) fenceIn(services []ServiceChange, nodes []NodeChange) {
	changed := false
	set := func(o owner, ranges ...Range) { changed = a.fence.set(o, ranges...) || changed }
	for _, c := range nodes {
		var addrs, pods []Range
		if c.Node != nil {
			addrs = singles(c.Node.Addresses)
			for _, p := range c.Node.PodCIDRs {
				pods = append(pods, RangeOf(p))
			}
		}
		set(owner{nodeAddress, c.Name}, addrs...)
		set(owner{podRange, c.Name}, pods...)
	}
	for _, c := range services {
		var cluster, other []Range
		if s := c.Service; s != nil {
			cluster, other = singles(s.ClusterIPs), singles(s.ExternalIPs)
			if a.roleIn(s) == theirs {
				other = append(other, singles(s.LoadBalancerIPs)...)
			}
		}
		set(owner{clusterAddress, c.Name.String()}, cluster...)
		set(owner{otherAddress, c.Name.String()}, other...)
	}
	if !changed {
		return
	}
	a.freed = true
	for _, p := range a.pools {
		p.rewind()
	}
	for addr, e := range a.holders {
		if _, _, fenced := a.fence.around(addr, true); fenced {
			a.release(e, familyOf(addr))
			a.touched[e.name] = true
		}
	}
	a.overlap = a.poolFindings()
}

func singles(list []netip.Addr) (out []Range) {
	for _, x := range list {
		out = append(out, single(x))
	}
	return out
}

// update takes in what a Service says now, and releases what it does not ask for any more.
func (a *Allocator) update(c ServiceChange) {
	e := a.entries[c.Name]
	if e == nil {
		if c.Service == nil || a.roleIn(c.Service) == none {
			return
		}
		e = &entry{name: c.Name}
		a.entries[c.Name] = e
	}
	a.touched[c.Name] = true
	if e.svc, e.role = c.Service, none; e.svc != nil {
		e.role = a.roleIn(e.svc)
	}
	for f := range families {
		if !e.needs(f) {
			a.release(e, f)
		}
	}
}

func (a *Allocator) roleIn(s *model.Service) role {
	switch {
	case !s.LoadBalancer:
		return none
	case s.LoadBalancerClass == Class && !s.Unproxied:
		return ours
	case s.LoadBalancerClass != "" || s.Unproxied || a.opts.ClassOnly:
		return theirs
	}
	mine := 0
	for _, x := range s.LoadBalancerIPs {
		if a.inPool(x) {
			mine++
		}
	}
	if mine == 0 && len(s.LoadBalancerIPs) > 0 {
		return handOff
	}
	return ours
}

func (e *entry) needs(f family) bool {
	return e.role == ours && (f == ipv4 && e.svc.IPv4 || f == ipv6 && e.svc.IPv6)
}

// requested gives the address that a Service would like of a family; invalid if it has no wish.
func (e *entry) requested(f family) netip.Addr {
	for _, x := range e.svc.RequestedIPs {
		if familyOf(x) == f {
			return x
		}
	}
	return netip.Addr{}
}

func (e *entry) publishes(x netip.Addr) bool {
	return e.role == ours && slices.Contains(e.svc.LoadBalancerIPs, x)
}

// adopt lets Services keep what their status says they have. Of two that say they have the same, the first by name keeps it.
func (a *Allocator) adopt() {
	work := a.inOrder()
	for i := 0; i < len(work); i++ {
		e := a.entries[work[i]]
		for f := range families {
			if !e.needs(f) {
				continue
			}
			cur := e.given[f]
			if cur.IsValid() && (e.publishes(cur) || cur == e.requested(f)) {
				continue
			}
			for _, x := range e.svc.LoadBalancerIPs {
				if familyOf(x) != f || !a.mayKeep(e, x) {
					continue
				}
				if h := a.holders[x]; h != nil {
					a.release(h, f)
					a.touched[h.name] = true
					work = append(work, h.name)
				}
				a.give(e, f, x)
				break
			}
		}
	}
}

func (a *Allocator) mayKeep(e *entry, x netip.Addr) bool {
	if _, _, fenced := a.fence.around(x, true); fenced || !a.inPool(x) {
		return false
	}
	h := a.holders[x]
	return h == nil || !h.publishes(x) || e.name.Compare(h.name) < 0
}

// request moves a Service to the addresses that it asks for, if they can be had.
func (a *Allocator) request(e *entry) {
	for f := range families {
		if !e.needs(f) {
			continue
		}
		if want := e.requested(f); want.IsValid() && want != e.given[f] && a.whyNot(want) == "" {
			a.give(e, f, want)
		}
	}
}

// fill gives a Service an address of each family that it lacks and has no wish for.
func (a *Allocator) fill(e *entry) {
	delete(a.waiting, e.name)
	for f := range families {
		if !e.needs(f) {
			continue
		}
		want := e.requested(f)
		if !want.IsValid() && !e.given[f].IsValid() {
			if x, ok := a.free(f); ok {
				a.give(e, f, x)
			}
		}
		if !e.given[f].IsValid() || want.IsValid() && want != e.given[f] {
			a.waiting[e.name] = true
		}
	}
}

// wakeWaiting has another look at the Services that wait, if something was freed.
func (a *Allocator) wakeWaiting() bool {
	woken := a.freed
	a.freed = false
	if woken {
		maps.Copy(a.touched, a.waiting)
	}
	return woken
}

func (a *Allocator) give(e *entry, f family, x netip.Addr) {
	a.release(e, f)
	e.given[f] = x
	a.holders[x] = e
}

func (a *Allocator) release(e *entry, f family) {
	x := e.given[f]
	if !x.IsValid() {
		return
	}
	e.given[f] = netip.Addr{}
	delete(a.holders, x)
	a.freed = true
	for _, p := range a.pools {
		if p.pool.Contains(x) && (!p.next.IsValid() || x.Less(p.next)) {
			p.next = x
		}
	}
}

func (a *Allocator) inOrder() []model.ServiceName {
	return slices.SortedFunc(maps.Keys(a.touched), model.ServiceName.Compare)
}

func (a *Allocator) outcomes() (out []Outcome) {
	for _, name := range a.inOrder() {
		e := a.entries[name]
		o := Outcome{Name: name, Findings: a.findings(e)}
		for _, x := range e.given {
			if x.IsValid() {
				o.Addresses = append(o.Addresses, x)
			}
		}
		switch e.role {
		case ours:
			o.Exclusive = e.svc.LoadBalancerClass == Class
			published := slices.DeleteFunc(slices.Clone(e.svc.LoadBalancerIPs), func(x netip.Addr) bool { return !o.Exclusive && !a.inPool(x) })
			o.Write = !slices.Equal(published, o.Addresses) // both sorted: IPv4 comes first, and there is one of each family
		case none:
			// What was given may still be in the status. An API server clears it when it changes the type, but not all do.
			o.Write = e.svc != nil
			delete(a.entries, name)
		}
		out = append(out, o)
	}
	clear(a.touched)
	return out
}
