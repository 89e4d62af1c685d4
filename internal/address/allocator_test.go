package address

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// cluster is Services and Nodes with an allocator that follows them, and somebody who writes what it decides.
type cluster struct {
	t        *testing.T
	opts     Options
	a        *Allocator
	services map[string]*model.Service
	nodes    map[string]*model.Node
	findings map[string][]finding.Finding
	writes   int
}

func newCluster(t *testing.T, pools string, o Options) *cluster {
	o.Pools, _ = ParsePools(pools)
	return &cluster{t: t, opts: o, a: NewAllocator(o), services: map[string]*model.Service{}, nodes: map[string]*model.Node{}, findings: map[string][]finding.Finding{}}
}

// balanced makes a Service of type LoadBalancer with the families that are listed.
func balanced(name, fams string, edit ...func(*model.Service)) *model.Service {
	s := &model.Service{Name: model.ServiceName{Namespace: "shop", Name: name}, LoadBalancer: true, IPv4: strings.Contains(fams, "4"), IPv6: strings.Contains(fams, "6"),
		Origin: model.Origin{Object: finding.Object{Kind: "Service", Namespace: "shop", Name: name}}}
	for _, e := range edit {
		e(s)
	}
	return s
}

func wish(list ...string) func(*model.Service) {
	return func(s *model.Service) { s.RequestedIPs, s.RequestedIn = addrs(list...), "spec.loadBalancerIP" }
}

func has(list ...string) func(*model.Service) {
	return func(s *model.Service) { s.LoadBalancerIPs = addrs(list...) }
}

func class(name string) func(*model.Service) {
	return func(s *model.Service) { s.LoadBalancerClass = name }
}

func addrs(list ...string) (out []netip.Addr) {
	for _, x := range list {
		out = append(out, netip.MustParseAddr(x))
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

func (c *cluster) put(list ...*model.Service) {
	var changes []ServiceChange
	for _, s := range list {
		c.services[s.Name.Name] = s
		changes = append(changes, ServiceChange{s.Name, s})
	}
	c.note(c.a.Apply(changes, nil))
}

func (c *cluster) remove(name string) {
	n := c.services[name].Name
	delete(c.services, name)
	c.note(c.a.Apply([]ServiceChange{{n, nil}}, nil))
}

func (c *cluster) node(n *model.Node) {
	c.nodes[n.Name] = n
	c.note(c.a.Apply(nil, []NodeChange{{n.Name, n}}))
}

func (c *cluster) note(list []Outcome) {
	for _, o := range list {
		c.findings[o.Name.Name] = o.Findings
		if !slices.IsSortedFunc(o.Addresses, netip.Addr.Compare) {
			c.t.Errorf("%v: addresses %v are not sorted", o.Name, o.Addresses)
		}
	}
	c.publish(list)
}

// publish does what the writer does, and tells the allocator of it, until nothing is to be written.
func (c *cluster) publish(list []Outcome) {
	for range 5 {
		var changes []ServiceChange
		for _, o := range list {
			s := c.services[o.Name.Name]
			if !o.Write || s == nil || !s.LoadBalancer {
				continue
			}
			c.writes++
			next := *s
			next.LoadBalancerIPs = slices.DeleteFunc(slices.Clone(s.LoadBalancerIPs), func(x netip.Addr) bool { return o.Exclusive || c.a.inPool(x) })
			next.LoadBalancerIPs = append(next.LoadBalancerIPs, o.Addresses...)
			slices.SortFunc(next.LoadBalancerIPs, netip.Addr.Compare)
			c.services[o.Name.Name] = &next
			changes = append(changes, ServiceChange{o.Name, &next})
		}
		if len(changes) == 0 {
			return
		}
		list = c.a.Apply(changes, nil)
		for _, o := range list {
			c.findings[o.Name.Name] = o.Findings
		}
	}
	c.t.Fatal("the status is written over and over")
}

// published is "name=addresses" of every Service.
func (c *cluster) published() string {
	var out []string
	for name, s := range c.services {
		out = append(out, fmt.Sprint(name, "=", s.LoadBalancerIPs))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (c *cluster) expect(want string, findings ...string) {
	c.t.Helper()
	if d := cmp.Diff(want, c.published()); d != "" {
		c.t.Error(d)
	}
	all := slices.Clone(c.a.PoolFindings())
	for _, f := range c.findings {
		all = append(all, f...)
	}
	slices.SortFunc(all, finding.Compare)
	var shown []string
	for _, f := range all {
		shown = append(shown, f.String())
	}
	if d := cmp.Diff(findings, shown); d != "" {
		c.t.Error(d)
	}
}

func TestEachFamilyGetsTheLowestFreeAddress(t *testing.T) {
	c := newCluster(t, "10.0.0.1-10.0.0.2,10.0.1.1,fd00::1-fd00::9", Options{})
	c.put(balanced("c", "4"), balanced("a", "46"), balanced("b", "6"), balanced("d", "4"))
	c.expect("a=[10.0.0.1 fd00::1] b=[fd00::2] c=[10.0.0.2] d=[10.0.1.1]")
}

func TestPublishedAddressIsKept(t *testing.T) {
	c := newCluster(t, "10.0.0.1-10.0.0.9", Options{})
	c.put(balanced("a", "4"), balanced("b", "4", has("10.0.0.1")))
	c.expect("a=[10.0.0.2] b=[10.0.0.1]")
	c.put(balanced("a", "4", has("10.0.0.7"))) // as the elected writer decided it elsewhere
	c.expect("a=[10.0.0.7] b=[10.0.0.1]")
}

func TestPublishedAddressIsTakenFromWhoHasItOnlyInMind(t *testing.T) {
	c := newCluster(t, "10.0.0.1-10.0.0.9", Options{})
	c.a.Apply([]ServiceChange{{Name: balanced("a", "4").Name, Service: balanced("a", "4")}}, nil) // not written
	c.services["a"] = balanced("a", "4")
	c.put(balanced("b", "4", has("10.0.0.1")))
	c.expect("a=[10.0.0.2] b=[10.0.0.1]")
}

func TestSameAddressPublishedTwice(t *testing.T) {
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		c := newCluster(t, "10.0.0.1-10.0.0.9", Options{})
		for _, name := range order {
			c.put(balanced(name, "4", has("10.0.0.5")))
		}
		c.expect("a=[10.0.0.5] b=[10.0.0.1]")
	}
}

func TestExhaustedPoolIsTriedAgain(t *testing.T) {
	c := newCluster(t, "10.0.0.1-10.0.0.2", Options{})
	c.put(balanced("a", "4"))
	c.put(balanced("b", "4"))
	c.put(balanced("c", "4"))
	c.put(balanced("d", "4"))
	c.expect("a=[10.0.0.1] b=[10.0.0.2] c=[] d=[]",
		"error Service shop/c spec.type: no IPv4 address is free in any pool (pool-exhausted)",
		"error Service shop/d spec.type: no IPv4 address is free in any pool (pool-exhausted)")
	c.remove("b")
	c.expect("a=[10.0.0.1] c=[10.0.0.2] d=[]",
		"error Service shop/d spec.type: no IPv4 address is free in any pool (pool-exhausted)")
	c.put(balanced("a", "4", func(s *model.Service) { s.LoadBalancer = false })) // the API server clears the status with the type
	c.expect("a=[] c=[10.0.0.2] d=[10.0.0.1]")
}

func TestTypeChangedAwayIsWithdrawn(t *testing.T) {
	c := newCluster(t, "10.0.0.1", Options{})
	c.put(balanced("a", "4"))
	out := c.a.Apply([]ServiceChange{{c.services["a"].Name, balanced("a", "4", func(s *model.Service) { s.LoadBalancer = false })}}, nil)
	if d := cmp.Diff([]Outcome{{Name: c.services["a"].Name, Write: true}}, out); d != "" {
		t.Error(d)
	}
	if out := c.a.Apply([]ServiceChange{{c.services["a"].Name, nil}}, nil); out != nil {
		t.Errorf("of a Service that asks for nothing: %v", out)
	}
}

func TestDeletedServiceIsNotWritten(t *testing.T) {
	c := newCluster(t, "10.0.0.1", Options{})
	c.put(balanced("a", "4"))
	if out := c.a.Apply([]ServiceChange{{c.services["a"].Name, nil}}, nil); len(out) != 1 || out[0].Write {
		t.Errorf("%v", out)
	}
}

func TestFamilyTakenAway(t *testing.T) {
	c := newCluster(t, "10.0.0.1,fd00::1", Options{})
	c.put(balanced("a", "46"))
	c.put(balanced("a", "6", has("10.0.0.1", "fd00::1")), balanced("b", "4"))
	c.expect("a=[fd00::1] b=[10.0.0.1]")
}

func TestRequestedAddresses(t *testing.T) {
	pools := "10.0.0.1-10.0.0.9,fd00::1-fd00::9"
	for _, c := range []struct {
		name string
		s    *model.Service
		want string
		find []string
	}{
		{"free", balanced("a", "4", wish("10.0.0.5")), "a=[10.0.0.5]", nil},
		{"one family of two", balanced("a", "46", wish("10.0.0.5")), "a=[10.0.0.5 fd00::1]", nil},
		{"both families", balanced("a", "46", wish("10.0.0.5", "fd00::5")), "a=[10.0.0.5 fd00::5]", nil},
		{"moves", balanced("a", "4", has("10.0.0.1"), wish("10.0.0.5")), "a=[10.0.0.5]", nil},
		{"in no pool", balanced("a", "4", wish("10.9.9.9")), "a=[]",
			[]string{"error Service shop/a spec.loadBalancerIP: 10.9.9.9 is in no pool; the Service has no IPv4 address (address-unavailable)"}},
		{"taken", balanced("a", "4", wish("10.0.0.9")), "a=[]",
			[]string{"error Service shop/a spec.loadBalancerIP: 10.0.0.9 belongs to Service shop/z; the Service has no IPv4 address (address-unavailable)"}},
		{"taken, and it has another", balanced("a", "4", has("10.0.0.3"), wish("10.0.0.9")), "a=[10.0.0.3]",
			[]string{"warning Service shop/a spec.loadBalancerIP: 10.0.0.9 belongs to Service shop/z; the Service keeps 10.0.0.3 (address-unavailable)"}},
		{"wrong family", balanced("a", "4", wish("fd00::5")), "a=[10.0.0.1]",
			[]string{"warning Service shop/a spec.loadBalancerIP: fd00::5 is asked for, but IPv6 is not among the families of the Service (wrong-family)"}},
		{"too many", balanced("a", "4", wish("10.0.0.5", "10.0.0.6")), "a=[10.0.0.5]",
			[]string{"warning Service shop/a spec.loadBalancerIP: 10.0.0.6 is left out: a Service gets one address of each family (too-many-addresses)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newCluster(t, pools, Options{})
			w.put(balanced("z", "4", has("10.0.0.9")))
			w.put(c.s)
			w.expect(c.want+" z=[10.0.0.9]", c.find...)
		})
	}
}

func TestRequestIsHonouredWhenTheAddressIsFreed(t *testing.T) {
	c := newCluster(t, "10.0.0.1-10.0.0.9", Options{})
	c.put(balanced("z", "4"))
	c.put(balanced("a", "4", has("10.0.0.4"), wish("10.0.0.1")), balanced("b", "4", wish("10.0.0.4")))
	c.remove("z")
	c.expect("a=[10.0.0.1] b=[10.0.0.4]") // a moved, and so made room for b
}

func TestRequestGoesBeforeOthersOfTheSameCommit(t *testing.T) {
	c := newCluster(t, "10.0.0.1-10.0.0.9", Options{})
	c.put(balanced("a", "4"), balanced("b", "4", wish("10.0.0.1")))
	c.expect("a=[10.0.0.2] b=[10.0.0.1]")
}

func TestNodesOwnAddressIsNeverGiven(t *testing.T) {
	c := newCluster(t, "10.0.0.1-10.0.0.4", Options{})
	c.node(&model.Node{Name: "n1", Addresses: addrs("10.0.0.1", "10.7.7.7")})
	c.put(balanced("a", "4"), balanced("b", "4", wish("10.0.0.1")))
	overlap := "warning Pool 10.0.0.1-10.0.0.4 addresses: 10.0.0.1 is an address of Node n1; such addresses are never given (pool-overlaps-nodes)"
	refused := "error Service shop/b spec.loadBalancerIP: 10.0.0.1 is an address of Node n1; the Service has no IPv4 address (address-unavailable)"
	c.expect("a=[10.0.0.2] b=[]", overlap, refused)

	c.node(&model.Node{Name: "n2", Addresses: addrs("10.0.0.2")}) // takes what a has
	overlap = "warning Pool 10.0.0.1-10.0.0.4 addresses: 10.0.0.1 is an address of Node n1 (and 1 more like it); such addresses are never given (pool-overlaps-nodes)"
	c.expect("a=[10.0.0.3] b=[]", overlap, refused)
	if d := cmp.Diff([]PoolStatus{{Name: "10.0.0.1-10.0.0.4", Size: 4, Used: 1, Free: 1}}, c.a.Pools()); d != "" {
		t.Error(d)
	}

	c.node(&model.Node{Name: "n1"})
	c.node(&model.Node{Name: "n2"})
	c.expect("a=[10.0.0.3] b=[10.0.0.1]")
}

func TestPoolInsideOtherRanges(t *testing.T) {
	c := newCluster(t, "10.244.1.10-10.244.1.20,10.96.0.0/30,10.0.0.1-10.0.0.3", Options{Reserved: map[netip.Prefix]string{netip.MustParsePrefix("10.96.0.0/16"): "the Service range 10.96.0.0/16"}})
	c.node(&model.Node{Name: "n1", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}})
	c.put(balanced("a", "4", func(s *model.Service) { s.ClusterIPs = addrs("10.0.0.1") }))
	c.expect("a=[10.0.0.2]",
		"warning Pool 10.0.0.1-10.0.0.3 addresses: 10.0.0.1 is a cluster address of Service shop/a; such addresses are never given (pool-overlaps-services)",
		"error Pool 10.244.1.10-10.244.1.20 addresses: 10.244.1.10-10.244.1.20 is in the pod range of Node n1; such addresses are never given, and the pool has no others (pool-overlaps-pods)",
		"error Pool 10.96.0.0/30 addresses: 10.96.0.1-10.96.0.2 is in the Service range 10.96.0.0/16; such addresses are never given, and the pool has no others (pool-overlaps-reserved)")
}

func TestExternalAddressIsNotGivenAnewAndNotTakenAway(t *testing.T) {
	c := newCluster(t, "10.0.0.1-10.0.0.4", Options{})
	ext := func(s *model.Service) { s.LoadBalancer, s.ExternalIPs = false, addrs("10.0.0.1", "10.0.0.3") }
	c.put(balanced("a", "4"))
	c.put(balanced("x", "4", ext))
	c.put(balanced("b", "4"), balanced("c", "4"))
	c.expect("a=[10.0.0.1] b=[10.0.0.2] c=[10.0.0.4] x=[]")
}

func TestClasses(t *testing.T) {
	other := class("example.org/other")
	c := newCluster(t, "10.0.0.1-10.0.0.4", Options{})
	c.put(balanced("a", "4", other), balanced("b", "4", other, has("10.0.0.1")), balanced("c", "4", class(Class)), balanced("d", "4"),
		balanced("e", "4", func(s *model.Service) { s.Unproxied = true }))
	c.expect("a=[] b=[10.0.0.1] c=[10.0.0.2] d=[10.0.0.3] e=[]")

	c = newCluster(t, "10.0.0.1-10.0.0.4", Options{ClassOnly: true})
	c.put(balanced("a", "4"), balanced("b", "4", class(Class)))
	c.expect("a=[] b=[10.0.0.1]")
}

func TestForeignAddress(t *testing.T) {
	c := newCluster(t, "10.0.0.1-10.0.0.4", Options{})
	c.put(balanced("a", "4", has("192.0.2.1")), balanced("b", "4", has("192.0.2.2", "10.0.0.3")), balanced("c", "4", class(Class), has("192.0.2.3")))
	c.expect("a=[192.0.2.1] b=[10.0.0.3 192.0.2.2] c=[10.0.0.1]",
		"warning Service shop/a status.loadBalancer.ingress: 192.0.2.1 is in no pool, so it is somebody else's and the Service is left alone; if nobody else gives it addresses, remove it there (foreign-address)")
	if c.writes != 1 {
		t.Errorf("%d writes", c.writes)
	}
	c.put(balanced("a", "4"))
	c.expect("a=[10.0.0.2] b=[10.0.0.3 192.0.2.2] c=[10.0.0.1]")
}

func TestNoPool(t *testing.T) {
	c := newCluster(t, "", Options{})
	c.put(balanced("a", "4"), balanced("b", "6", class(Class)), balanced("c", "4", has("192.0.2.1")))
	c.expect("a=[] b=[] c=[192.0.2.1]",
		"info Service shop/a spec.type: there is no pool with IPv4 addresses (no-pool)",
		"error Service shop/b spec.type: there is no pool with IPv6 addresses (no-pool)")

	c = newCluster(t, "10.0.0.1", Options{})
	c.put(balanced("a", "46"))
	c.expect("a=[10.0.0.1]", "warning Service shop/a spec.type: there is no pool with IPv6 addresses (no-pool)")
}

func TestStatusClearedByHandIsWrittenAgain(t *testing.T) {
	c := newCluster(t, "10.0.0.1-10.0.0.4", Options{})
	c.put(balanced("z", "4"))
	c.put(balanced("a", "4"))
	c.put(balanced("a", "4"))
	c.expect("a=[10.0.0.2] z=[10.0.0.1]")
}

func TestNoChangeGivesNothingToWrite(t *testing.T) {
	c := newCluster(t, "10.0.0.1-10.0.0.4", Options{})
	c.put(balanced("a", "4"))
	for _, o := range c.a.Apply([]ServiceChange{{c.services["a"].Name, c.services["a"]}}, nil) {
		if o.Write {
			t.Errorf("%v", o)
		}
	}
}

func TestHugePool(t *testing.T) {
	c := newCluster(t, "fd00::/16", Options{})
	c.node(&model.Node{Name: "n1", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("fd00::/64")}})
	c.put(balanced("a", "6"))
	if got := c.published(); got != "a=[fd00:0:0:1::]" {
		t.Error(got)
	}
}
