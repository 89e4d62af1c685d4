package zone

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/dns/wire"
	"github.com/weftmesh/weft/internal/model"
)

// random makes a Service with endpoints out of a small world, so that names and addresses collide.
func random(r *rand.Rand) (*model.Service, *model.Endpoints) {
	s := &model.Service{
		Name: model.ServiceName{Namespace: fmt.Sprintf("n%d", r.IntN(3)), Name: fmt.Sprintf("s%d", r.IntN(6))},
		Kind: model.ServiceKind(r.IntN(3)), ExternalName: fmt.Sprintf("s%d.n0.svc.cluster.local", r.IntN(6)), PublishNotReady: r.IntN(4) == 0,
	}
	s.ClusterIPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(r.IntN(4))})}
	s.Ports = []model.Port{{Name: []string{"", "http"}[r.IntN(2)], Protocol: model.TCP, Port: 80}}
	e := &model.Endpoints{Service: s.Name, Ports: []model.PortEndpoints{{Port: s.Ports[0].Name, Protocol: model.TCP}}}
	for i := range r.IntN(4) {
		p := at(fmt.Sprintf("10.244.0.%d:8080", 2*i+r.IntN(2)), []string{"", "a", "b"}[r.IntN(3)], r.IntN(3) > 0)
		e.Ports[0].Endpoints = append(e.Ports[0].Endpoints, p)
	}
	return s, e
}

// dump gives everything a Zone holds.
func dump(z *Zone) (names []string, ptrs []string, spaces []string) {
	for i := range z.names.parts {
		if m := z.names.parts[i].Load(); m != nil {
			for k, r := range *m {
				names = append(names, fmt.Sprintf("%q %+v", k, *r))
			}
		}
		if m := z.ptrs.parts[i].Load(); m != nil {
			for a, p := range *m {
				ptrs = append(ptrs, fmt.Sprintf("%v %+v", a, p))
			}
		}
		if m := z.spaces.parts[i].Load(); m != nil {
			for s, n := range *m {
				spaces = append(spaces, fmt.Sprintf("%q %d", s, n))
			}
		}
	}
	slices.Sort(names)
	slices.Sort(ptrs)
	slices.Sort(spaces)
	return names, ptrs, spaces
}

// TestHistoryLeavesNoTrace sets and deletes by chance and compares with a zone that was told only the end.
func TestHistoryLeavesNoTrace(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		z := newZone(t, Config{})
		last := map[model.ServiceName]*Records{}
		for range 100 {
			s, e := random(r)
			if r.IntN(3) == 0 {
				z.Delete(s.Name)
				delete(last, s.Name)
				continue
			}
			rec := RecordsOf(domain, s, e)
			z.Set(s.Name, rec)
			last[s.Name] = rec
		}
		fresh := newZone(t, Config{})
		for _, n := range slices.SortedFunc(maps.Keys(last), model.ServiceName.Compare) {
			fresh.Set(n, last[n])
		}
		type held struct {
			Names, Ptrs, Spaces []string
			Stats               Stats
		}
		var a, b held
		a.Names, a.Ptrs, a.Spaces = dump(z)
		b.Names, b.Ptrs, b.Spaces = dump(fresh)
		a.Stats, b.Stats = z.Stats(), fresh.Stats()
		a.Stats.Revision, a.Stats.Changed = b.Stats.Revision, b.Stats.Changed
		if d := cmp.Diff(b, a); d != "" {
			t.Fatalf("seed %d: -fresh +lived\n%s", seed, d)
		}
	}
}

func TestSettingTheSameChangesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		z := newZone(t, Config{})
		s, e := random(r)
		z.Set(s.Name, RecordsOf(domain, s, e))
		before := z.Stats()
		shuffled := &model.Endpoints{Ports: slices.Clone(e.Ports)}
		shuffled.Ports[0].Endpoints = slices.Clone(e.Ports[0].Endpoints)
		slices.Reverse(shuffled.Ports[0].Endpoints)
		if z.Set(s.Name, RecordsOf(domain, s, shuffled)) {
			t.Fatalf("changed: %+v %+v", s, e)
		}
		if d := cmp.Diff(before, z.Stats()); d != "" {
			t.Fatal(d)
		}
	}
}

// TestEndpointsBehindAClusterIPChangeNoName shows that a flap of an endpoint without a hostname is nothing to DNS.
func TestEndpointsBehindAClusterIPChangeNoName(t *testing.T) {
	s := &model.Service{Name: model.ServiceName{Namespace: "shop", Name: "web"}, ClusterIPs: addrs("10.96.0.1")}
	one := RecordsOf(domain, s, &model.Endpoints{Ports: []model.PortEndpoints{{Protocol: model.TCP, Endpoints: []model.Endpoint{at("10.244.0.1:80", "", true)}}}})
	if !one.Equal(RecordsOf(domain, s, nil)) {
		t.Error("records differ")
	}
}

// TestReadersSeeWholeAnswers reads while a Service is replaced: an address that both versions have is never missing.
func TestReadersSeeWholeAnswers(t *testing.T) {
	z := newZone(t, Config{})
	records := func(n int) (model.ServiceName, *Records) {
		s := &model.Service{Name: model.ServiceName{Namespace: "shop", Name: "db"}, Kind: model.Headless}
		e := &model.Endpoints{Ports: []model.PortEndpoints{{Port: "http", Protocol: model.TCP}}}
		for i := range n {
			e.Ports[0].Endpoints = append(e.Ports[0].Endpoints, at(fmt.Sprintf("10.244.0.%d:80", i+1), "", true))
		}
		return s.Name, RecordsOf(domain, s, e)
	}
	name, few := records(1)
	_, many := records(5)
	z.Set(name, few)
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for i := range 2000 {
			if i%2 == 0 {
				z.Set(name, many)
			} else {
				z.Set(name, few)
			}
		}
		close(done)
	})
	var ptr wire.Name
	_ = ptr.Set("1.0.244.10.in-addr.arpa")
	for open := true; open; {
		select {
		case <-done:
			open = false
		default:
		}
		if f := z.find(&ptr); f.node != reverseNode {
			t.Fatal("the address lost its name")
		}
		runtime.Gosched()
	}
	wg.Wait()
}
