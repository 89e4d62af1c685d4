package address

import (
	"math"
	"math/bits"
	"net/netip"
	"slices"
)

// Range is the addresses of one family from First to Last, both included.
type Range struct{ First, Last netip.Addr }

// String reads "10.89.0.200-10.89.0.250", or one address.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// Contains tells whether an address lies in the range.
func (r Range) Contains(a netip.Addr) bool { return !a.Less(r.First) && !r.Last.Less(a) }

// Overlaps tells whether two ranges have an address in common.
func (r Range) Overlaps(o Range) bool { return !o.Last.Less(r.First) && !r.Last.Less(o.First) }

// Size is how many addresses there are; more than a uint64 can hold count as [math.MaxUint64].
func (r Range) Size() uint64 {
	hi1, lo1 := words(r.First)
	hi2, lo2 := words(r.Last)
	lo, borrow := bits.Sub64(lo2, lo1, 0)
	hi, _ := bits.Sub64(hi2, hi1, borrow)
	if hi > 0 || lo == math.MaxUint64 {
		return math.MaxUint64
	}
	return lo + 1
}

func words(a netip.Addr) (hi, lo uint64) {
	for i, b := range a.As16() {
		if i < 8 {
			hi = hi<<8 | uint64(b)
		} else {
			lo = lo<<8 | uint64(b)
		}
	}
	return hi, lo
}

// RangeOf gives the addresses of a prefix.
func RangeOf(p netip.Prefix) Range {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for i := range last {
		if host := (i+1)*8 - p.Bits(); host >= 8 {
			last[i] = 0xff
		} else if host > 0 {
			last[i] |= 1<<host - 1
		}
	}
	a, _ := netip.AddrFromSlice(last)
	return Range{p.Addr(), a}
}

// Prefixes gives the fewest prefixes that have the same addresses.
func (r Range) Prefixes() (out []netip.Prefix) {
	for first := r.First; ; {
		p := netip.PrefixFrom(first, first.BitLen())
		for p.Bits() > 0 {
			wider := netip.PrefixFrom(first, p.Bits()-1)
			if wider.Masked().Addr() != first || r.Last.Less(RangeOf(wider).Last) {
				break
			}
			p = wider
		}
		out = append(out, p)
		last := RangeOf(p).Last
		if !last.Less(r.Last) {
			return out
		}
		first = last.Next()
	}
}

func single(a netip.Addr) Range { return Range{a, a} }

func compareRanges(a, b Range) int { return a.First.Compare(b.First) }

// merge gives the same addresses as sorted ranges that neither overlap nor touch.
func merge(list []Range) (out []Range) {
	list = slices.Clone(list)
	slices.SortFunc(list, compareRanges)
	for _, r := range list {
		if n := len(out); n > 0 && (out[n-1].Overlaps(r) || out[n-1].Last.Next() == r.First) {
			if out[n-1].Last.Less(r.Last) {
				out[n-1].Last = r.Last
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// subtract gives what is in r and in none of the others, sorted.
func subtract(r Range, others []Range) (out []Range) {
	for _, o := range merge(others) {
		if !r.Overlaps(o) {
			continue
		}
		if r.First.Less(o.First) {
			out = append(out, Range{r.First, o.First.Prev()})
		}
		if !o.Last.Less(r.Last) {
			return out
		}
		r.First = o.Last.Next()
	}
	return append(out, r)
}

// size adds up ranges that do not overlap, up to [math.MaxUint64].
func size(list []Range) (n uint64) {
	for _, r := range list {
		var over uint64
		if n, over = bits.Add64(n, r.Size(), 0); over > 0 {
			return math.MaxUint64
		}
	}
	return n
}
