package address

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// use is what an address of a pool is for, besides being in the pool.
type use uint8

const (
	nodeAddress use = iota
	podRange
	clusterAddress
	reservedRange
	otherAddress // an external address, or one that another load balancer gave: not given anew, and not taken away
	uses
)

// owner is who has that use of it.
type owner struct {
	use  use
	name string
}

func (o owner) String() string {
	switch o.use {
	case nodeAddress:
		return "an address of Node " + o.name
	case podRange:
		return "in the pod range of Node " + o.name
	case clusterAddress:
		return "a cluster address of Service " + o.name
	case reservedRange:
		return "in " + o.name
	}
	return "an address of Service " + o.name + " already"
}

func (o owner) compare(p owner) int {
	return cmp.Or(cmp.Compare(o.use, p.use), cmp.Compare(o.name, p.name))
}

// fence is the part of the pools that is in use for something else.
type fence struct {
	pools  []Pool
	of     map[owner][]Range
	single map[netip.Addr][]owner
	wide   map[owner][]Range
}

func newFence(pools []Pool) *fence {
	return &fence{pools: pools, of: map[owner][]Range{}, single: map[netip.Addr][]owner{}, wide: map[owner][]Range{}}
}

// set replaces what an owner has; what is in no pool is ignored. It tells whether anything is different now.
func (f *fence) set(o owner, ranges ...Range) (changed bool) {
	ranges = slices.DeleteFunc(ranges, func(r Range) bool { return !f.matters(r) })
	before := f.of[o]
	if slices.Equal(before, ranges) {
		return false
	}
	for _, r := range before {
		if r.First != r.Last {
			delete(f.wide, o)
			continue
		}
		rest := slices.DeleteFunc(f.single[r.First], func(x owner) bool { return x == o })
		if f.single[r.First] = rest; len(rest) == 0 {
			delete(f.single, r.First)
		}
	}
	delete(f.of, o)
	for _, r := range ranges {
		if f.of[o] = append(f.of[o], r); r.First != r.Last {
			f.wide[o] = append(f.wide[o], r)
		} else if !slices.Contains(f.single[r.First], o) {
			f.single[r.First] = append(f.single[r.First], o)
			slices.SortFunc(f.single[r.First], owner.compare)
		}
	}
	return true
}

func (f *fence) matters(r Range) bool {
	return slices.ContainsFunc(f.pools, func(p Pool) bool { return slices.ContainsFunc(p.Ranges, r.Overlaps) })
}

// around gives the fenced range that an address is in and an owner of it. An address that its holder may keep is not fenced against keeping.
func (f *fence) around(a netip.Addr, keep bool) (Range, owner, bool) {
	for _, o := range f.single[a] {
		if !keep || o.use != otherAddress {
			return single(a), o, true
		}
	}
	var found Range
	var first owner
	for o, ranges := range f.wide {
		for _, r := range ranges {
			if r.Contains(a) && (!found.First.IsValid() || o.compare(first) < 0) {
				found, first = r, o
			}
		}
	}
	return found, first, found.First.IsValid()
}

// within gives the fenced ranges inside a pool, by use: all of them, those of the first owner first.
func (f *fence) within(p Pool, of use) (ranges []Range, first owner) {
	for _, o := range slices.SortedFunc(maps.Keys(f.of), owner.compare) {
		if o.use != of {
			continue
		}
		for _, r := range f.of[o] {
			if part := overlap(p.Ranges, r); len(part) > 0 {
				if len(ranges) == 0 {
					first = o
				}
				ranges = append(ranges, part...)
			}
		}
	}
	return ranges, first
}

// overlap gives what of r is in a list.
func overlap(list []Range, r Range) (out []Range) {
	for _, l := range list {
		if l.Overlaps(r) {
			o := l
			if o.First.Less(r.First) {
				o.First = r.First
			}
			if r.Last.Less(o.Last) {
				o.Last = r.Last
			}
			out = append(out, o)
		}
	}
	return out
}

// describe says what is not given, for a pool's finding.
func describe(ranges []Range, first owner) string {
	s := fmt.Sprintf("%v is %v", ranges[0], first)
	if n := size(merge(ranges)) - ranges[0].Size(); n > 0 {
		s += fmt.Sprintf(" (and %d more like it)", n)
	}
	return s + "; such addresses are never given"
}
