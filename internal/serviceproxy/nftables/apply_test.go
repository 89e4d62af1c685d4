package nftables_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/serviceproxy/behaviour"
	"github.com/weftmesh/weft/internal/serviceproxy/nftables"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

func TestRefusedFrontendsCostNobodyElse(t *testing.T) {
	n := behaviour.NewNetNS(t, "node")
	b := open(t, n)
	all := services(100, 2)
	restore(t, b, all[:10])
	// A base chain in the place of a balancer: nothing can go to it.
	nft(t, n, "add chain ip weft-v1 lb-5 { type filter hook input priority 0; }")
	var d plan.Diff
	for i, f := range services(100, 2)[10:] {
		if i == 20 || i == 22 || i == 70 {
			for e := range 3 {
				f.Endpoints = append(f.Endpoints, endpoint(f.Family, 5000+i*10+e))
			}
		}
		d.Set = append(d.Set, f)
	}
	r, err := b.Apply(t.Context(), &d)
	if err != nil {
		t.Fatal(err)
	}
	var got []plan.Key
	for _, x := range r.Refused {
		got = append(got, x.Key)
		if x.Err == nil {
			t.Errorf("%v refused without a reason", x.Key)
		}
	}
	if want := []plan.Key{d.Set[20].Key, d.Set[22].Key, d.Set[70].Key}; !slices.Equal(got, want) {
		t.Errorf("refused %v, want %v", got, want)
	}
	for i, f := range d.Set {
		lines, err := b.Lookup(t.Context(), f.Key)
		if refused := i == 20 || i == 22 || i == 70; err != nil || (len(lines) == 0) != refused {
			t.Errorf("%v: %q, %v", f.Key, lines, err)
		}
	}
	// Restore finds the chain, and repairs it.
	restore(t, b, append(all[:10:10], d.Set...))
}

func TestApplyTellsOfDrift(t *testing.T) {
	n := behaviour.NewNetNS(t, "node")
	b := open(t, n)
	all := services(10, 2)
	restore(t, b, all)
	nft(t, n, "flush", "ruleset")
	g := *all[0]
	g.Endpoints = g.Endpoints[:1]
	if _, err := b.Apply(t.Context(), &plan.Diff{Set: []*plan.Frontend{&g}}); !errors.Is(err, nftables.ErrDrift) {
		t.Errorf("error %v, want drift", err)
	}
	all[0] = &g
	restore(t, b, all)
	if got, want := listing(t, n), listing(t, fresh(t, all)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestOneEndpointOfManyCostsTwoSlots(t *testing.T) {
	n := behaviour.NewNetNS(t, "node")
	b := open(t, n)
	f := services(1, 500)[0]
	restore(t, b, []*plan.Frontend{f})
	g := *f
	g.Endpoints = slices.Delete(slices.Clone(f.Endpoints), 3, 4)
	r, err := b.Apply(t.Context(), &plan.Diff{Set: []*plan.Frontend{&g}})
	if err != nil {
		t.Fatal(err)
	}
	// Two slots, the number in services, and the hairpin of the endpoint that went.
	if r.Elements != 4 {
		t.Errorf("%d elements, want 4", r.Elements)
	}
}

func TestFrontendsThatCannotBeAreRefused(t *testing.T) {
	n := behaviour.NewNetNS(t, "node")
	b := open(t, n)
	good := services(2, 2)
	bad := func(change func(*plan.Frontend)) *plan.Frontend {
		f := services(4, 2)[2]
		change(f)
		return f
	}
	for name, f := range map[string]*plan.Frontend{
		"family":               bad(func(f *plan.Frontend) { f.Family = 5 }),
		"address of the other": bad(func(f *plan.Frontend) { f.Family = plan.IPv6 }),
		"mapped address":       bad(func(f *plan.Frontend) { f.Addr, f.Family = netip.AddrFrom16(f.Addr.As16()), plan.IPv6 }),
		"port 0":               bad(func(f *plan.Frontend) { f.Key.Port = 0 }),
		"protocol":             bad(func(f *plan.Frontend) { f.Protocol = 1 }),
		"endpoint family":      bad(func(f *plan.Frontend) { f.Endpoints = services(2, 1)[1].Endpoints }),
		"endpoint port 0":      bad(func(f *plan.Frontend) { f.Endpoints = []netip.AddrPort{netip.AddrPortFrom(f.Endpoints[0].Addr(), 0)} }),
		"endpoint twice":       bad(func(f *plan.Frontend) { f.Endpoints = append(f.Endpoints[:1], f.Endpoints[0]) }),
		"source range family":  bad(func(f *plan.Frontend) { f.SourceRanges = []netip.Prefix{netip.MustParsePrefix("::/0")} }),
	} {
		r, err := b.Restore(t.Context(), []*plan.Frontend{good[0], f, good[1]})
		if err != nil || len(r.Refused) != 1 || r.Refused[0].Key != f.Key {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if r, err = b.Apply(t.Context(), &plan.Diff{Set: []*plan.Frontend{f}}); err != nil || len(r.Refused) != 1 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestDump(t *testing.T) {
	n := behaviour.NewNetNS(t, "node")
	b := open(t, n)
	restore(t, b, varied())
	var out strings.Builder
	if err := b.Dump(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Service default/svc-0 port \"\", ClusterIP, affinity 3h0m0s",
		"ip map services { 10.96.0.0 . tcp . 80 : goto lb-3-affinity-10800s }",
		"ip map endpoints { 10.96.0.0 . tcp . 80 . 2 : 10.244.0.2 . 8080 }",
		"ip6 set sources { fd00:10:96::7 . tcp . 80 . ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff }",
		"ip map services { 0.0.0.0 . tcp . 30000 : goto nodeport-3 }",
		"ip set refused { 10.96.0.2 . tcp . 80 }",
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
