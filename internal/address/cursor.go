package address

import "net/netip"

// cursor walks through a pool. Everything before next is given, or was fenced when it was passed.
type cursor struct {
	pool Pool
	next netip.Addr // invalid at the end
}

func (c *cursor) rewind() { c.next = c.pool.Ranges[0].First }

// free finds the lowest free address of the first pool that has one.
func (a *Allocator) free(f family) (netip.Addr, bool) {
	for _, c := range a.pools {
		if c.pool.family() != f {
			continue
		}
		if x, ok := a.freeIn(c); ok {
			return x, true
		}
	}
	return netip.Addr{}, false
}

func (a *Allocator) freeIn(c *cursor) (netip.Addr, bool) {
	for _, r := range c.pool.Ranges {
		if !c.next.IsValid() || r.Last.Less(c.next) {
			continue
		}
		if c.next.Less(r.First) {
			c.next = r.First
		}
		for c.next.IsValid() && !r.Last.Less(c.next) {
			if a.holders[c.next] != nil {
				c.next = c.next.Next()
				continue
			}
			fenced, _, ok := a.fence.around(c.next, false)
			if !ok {
				return c.next, true
			}
			c.next = fenced.Last.Next()
		}
	}
	return netip.Addr{}, false
}
