package address

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/model"
)

// TestRandomChanges holds after any change of Services and Nodes, whose statuses are written as decided:
//   - no address is had twice, and none is had that may not be given;
//   - nobody who was satisfied has another address than before, unless it asked for another or its own became forbidden;
//   - nobody waits for what is free;
//   - an allocator that starts anew gives everybody what they have and has the same findings.
func TestRandomChanges(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			c := newCluster(t, "10.0.0.1-10.0.0.12,10.0.1.1-10.0.1.3,fd00::1-fd00::a", Options{
				ClassOnly: seed%7 == 6, Reserved: map[netip.Prefix]string{netip.MustParsePrefix("10.0.0.12/32"): "reserved"},
			})
			for step := range 80 {
				before := map[string][]netip.Addr{}
				for name, s := range c.services {
					before[name] = s.LoadBalancerIPs
				}
				edited, claimed := c.randomChange(r)
				if t.Failed() {
					t.Fatalf("step %d", step)
				}
				c.check(before, edited, claimed)
				c.checkRestart(r)
				if t.Failed() {
					t.Fatalf("step %d, after editing %v: %s", step, edited, c.published())
				}
			}
		})
	}
}

// randomChange changes several things in one commit and tells which Services it changed, and which addresses their statuses then had.
func (c *cluster) randomChange(r *rand.Rand) (edited map[string]bool, claimed map[netip.Addr]bool) {
	edited, claimed = map[string]bool{}, map[netip.Addr]bool{}
	var services []ServiceChange
	var nodes []NodeChange
	for range 1 + r.IntN(4) {
		if r.IntN(12) == 0 {
			n := &model.Node{Name: fmt.Sprint("n", r.IntN(3))}
			if r.IntN(2) == 0 {
				n.Addresses = []netip.Addr{anyAddr(r)}
			}
			if r.IntN(4) == 0 {
				p, _ := anyAddr(r).Prefix(31)
				n.PodCIDRs = []netip.Prefix{p}
			}
			c.nodes[n.Name] = n
			nodes = append(nodes, NodeChange{n.Name, n})
			continue
		}
		name := fmt.Sprint("s", r.IntN(20))
		edited[name] = true
		if c.services[name] != nil && r.IntN(4) == 0 {
			services = append(services, ServiceChange{c.services[name].Name, nil})
			delete(c.services, name)
			continue
		}
		s := randomService(r, name)
		if old := c.services[name]; old != nil && s.LoadBalancer && old.LoadBalancer && r.IntN(8) > 0 {
			s.LoadBalancerIPs = old.LoadBalancerIPs
		}
		c.services[name] = s
		services = append(services, ServiceChange{s.Name, s})
		for _, x := range s.LoadBalancerIPs {
			claimed[x] = true
		}
	}
	c.note(c.a.Apply(services, nodes))
	return edited, claimed
}

func anyAddr(r *rand.Rand) netip.Addr {
	switch r.IntN(5) {
	case 0, 1:
		return netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(14))})
	case 2:
		return netip.AddrFrom4([4]byte{10, 0, 1, byte(r.IntN(5))})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(r.IntN(12))})
}

func randomService(r *rand.Rand, name string) *model.Service {
	s := balanced(name, []string{"4", "4", "6", "46"}[r.IntN(4)])
	list := func(n int) (out []netip.Addr) {
		for range n {
			out = append(out, anyAddr(r))
		}
		slices.SortFunc(out, netip.Addr.Compare)
		return slices.Compact(out)
	}
	if r.IntN(10) == 0 {
		s.ClusterIPs = list(1)
	}
	if r.IntN(10) == 0 {
		s.ExternalIPs = list(1)
	}
	if r.IntN(8) == 0 {
		s.LoadBalancer = false
		return s
	}
	switch r.IntN(8) {
	case 0:
		s.LoadBalancerClass = Class
	case 1:
		s.LoadBalancerClass = "example.org/other"
	}
	if r.IntN(4) == 0 {
		s.RequestedIPs, s.RequestedIn = list(1+r.IntN(2)), "spec.loadBalancerIP"
	}
	if r.IntN(3) == 0 { // somebody wrote it there
		s.LoadBalancerIPs = list(1 + r.IntN(2))
	}
	return s
}

func (c *cluster) check(before map[string][]netip.Addr, edited map[string]bool, claimed map[netip.Addr]bool) {
	c.t.Helper()
	had := map[netip.Addr]string{}
	for name, s := range c.services {
		e := c.a.entries[s.Name]
		if e == nil || e.role != ours {
			continue
		}
		for f := range families {
			x := e.given[f]
			want := e.requested(f)
			if !x.IsValid() {
				if e.needs(f) && !want.IsValid() {
					if free, ok := c.a.free(f); ok {
						c.t.Errorf("%s waits for an address, and %v is free", name, free)
					}
				}
				continue
			}
			if had[x] != "" {
				c.t.Errorf("%s and %s have %v", name, had[x], x)
			}
			had[x] = name
			_, o, fenced := c.a.fence.around(x, true)
			if fenced || !c.a.inPool(x) || !e.needs(f) {
				c.t.Errorf("%s has %v, which is not to be given: %v", name, x, o)
			}
			if !slices.Contains(s.LoadBalancerIPs, x) {
				c.t.Errorf("%s has %v, which is not published", name, x)
			}
			if want.IsValid() && want != x && c.a.whyNot(want) == "" {
				c.t.Errorf("%s has %v and not %v, which it asks for and is free", name, x, want)
			}
		}
	}
	for name, was := range before {
		s := c.services[name]
		if s == nil || edited[name] {
			continue
		}
		for _, x := range was {
			_, _, fenced := c.a.fence.around(x, true)
			f := familyOf(x)
			if e := c.a.entries[s.Name]; e == nil || e.role != ours || e.requested(f).IsValid() || fenced || claimed[x] {
				continue
			}
			if !slices.Contains(s.LoadBalancerIPs, x) {
				c.t.Errorf("%s lost %v and has %v", name, x, s.LoadBalancerIPs)
			}
		}
	}
	used := uint64(0)
	for _, p := range c.a.Pools() {
		used += p.Used
		if p.Used+p.Free > p.Size {
			c.t.Errorf("%+v", p)
		}
	}
	if used != uint64(len(had)) {
		c.t.Errorf("%d addresses are used, and %d Services have one", used, len(had))
	}
}

// checkRestart lets another allocator begin with what there is, in one commit.
func (c *cluster) checkRestart(r *rand.Rand) {
	c.t.Helper()
	other := NewAllocator(c.opts)
	var services []ServiceChange
	for _, name := range slices.Sorted(maps.Keys(c.services)) {
		services = append(services, ServiceChange{c.services[name].Name, c.services[name]})
	}
	r.Shuffle(len(services), func(i, j int) { services[i], services[j] = services[j], services[i] })
	var nodes []NodeChange
	for _, n := range c.nodes {
		nodes = append(nodes, NodeChange{n.Name, n})
	}
	for _, o := range other.Apply(services, nodes) {
		if o.Write {
			c.t.Errorf("after a restart %v would be written: %v", o.Name, o.Addresses)
		}
		if d := cmp.Diff(c.findings[o.Name.Name], o.Findings); d != "" {
			c.t.Errorf("after a restart the findings on %v differ: %s", o.Name, d)
		}
	}
	if d := cmp.Diff(c.a.Pools(), other.Pools()); d != "" {
		c.t.Error(d)
	}
	if d := cmp.Diff(c.a.PoolFindings(), other.PoolFindings()); d != "" {
		c.t.Error(d)
	}
}

// Taking in many Services at once is work for each of them, not for each pair.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			pools, _ := ParsePools("10.0.0.0/16,fd00::/112")
			var changes []ServiceChange
			for i := range n {
				s := balanced(fmt.Sprint("s", i), "46")
				changes = append(changes, ServiceChange{s.Name, s})
			}
			b.ReportAllocs()
			for b.Loop() {
				NewAllocator(Options{Pools: pools}).Apply(changes, nil)
			}
		})
	}
}
