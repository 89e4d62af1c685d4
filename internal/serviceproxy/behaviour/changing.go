package behaviour

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// What holds while frontends come, change and go.
var changing = []testCase{
	{name: "endpoints are replaced while connections open, without an error", run: func(s *scene) {
		f := s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1, 2, 3)...)
		s.carry(f)
		stop := make(chan struct{})
		var clients sync.WaitGroup
		const enough = 1000
		var done atomic.Int64
		for range 2 {
			clients.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := ask(s.client, model.TCP, netip.Addr{}, at(s.vip(10), 80), patience); err != nil {
						s.Errorf("while endpoints change: %v", err)
						done.Store(enough)
						return
					}
					done.Add(1)
				}
			})
		}
		for done.Load() < enough {
			for _, now := range [...][]int{{1}, {2, 3}, {2}, {1, 2, 3}, {3}, {1, 3}} {
				g := *f
				g.Endpoints = s.webs(8080, now...)
				s.apply(&plan.Diff{Set: []*plan.Frontend{&g}})
			}
		}
		close(stop)
		clients.Wait()
	}},
	{name: "an established connection survives the end of its endpoint and of its Service", run: func(s *scene) {
		f := s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...)
		s.carry(f)
		c, err := dial(s.client, model.TCP, netip.Addr{}, at(s.vip(10), 80), 4*patience)
		if err != nil {
			s.Fatal(err)
		}
		defer c.Close()
		still := func(when string) {
			s.Helper()
			if a, err := say(c); err != nil || a.server != "web-1" {
				s.Fatalf("%s: %+v, %v", when, a, err)
			}
		}
		still("before")
		g := *f
		g.Endpoints = s.webs(8080, 2)
		s.apply(&plan.Diff{Set: []*plan.Frontend{&g}})
		still("after its endpoint went")
		if a := s.reach(s.client, at(s.vip(10), 80)); a.server != "web-2" {
			s.Errorf("a new connection went to %s", a.server)
		}
		h := *f
		h.Endpoints = nil
		s.apply(&plan.Diff{Set: []*plan.Frontend{&h}})
		still("after all endpoints went")
		s.refuses(s.client, at(s.vip(10), 80))
		s.apply(&plan.Diff{Delete: []plan.Key{f.Key}})
		still("after its Service went")
		s.carry()
		still("after everything went")
	}},
	{name: "a frontend that is deleted answers no more", run: func(s *scene) {
		vip := s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...)
		np := s.frontend(plan.NodePort, netip.Addr{}, 30080, s.webs(8080, 1)...)
		lb := s.frontend(plan.LoadBalancerIP, s.external(1), 80, s.webs(8080, 1)...)
		lb.SourceRanges, lb.ExternalLocal, lb.Local, lb.Affinity = []netip.Prefix{host(s.of(outsider))}, true, lb.Endpoints, time.Hour
		s.carry(vip, np, lb)
		s.reach(s.outside, at(s.external(1), 80))
		s.apply(&plan.Diff{Delete: []plan.Key{vip.Key, np.Key, lb.Key}})
		s.refuses(s.client, at(s.vip(10), 80))
		s.refuses(s.client, at(s.of(nodeAddress), 30080))
		s.refuses(s.client, at(s.external(1), 80)) // an address of a pool has no other use
	}},
	{name: "a frontend can change its sort and come back", run: func(s *scene) {
		f := s.frontend(plan.LoadBalancerIP, s.external(1), 80, s.webs(8080, 1)...)
		local := *f
		local.ExternalLocal, local.Local = true, s.webs(8080, 2)
		sticky := *f
		sticky.Affinity = time.Hour
		empty := *f
		empty.Endpoints = nil
		s.carry(f)
		for range 2 {
			s.apply(&plan.Diff{Set: []*plan.Frontend{&local}})
			s.seen(s.reach(s.outside, at(s.external(1), 80)), s.of(outsider))
			s.apply(&plan.Diff{Set: []*plan.Frontend{&sticky}})
			s.notSeen(s.reach(s.outside, at(s.external(1), 80)), s.of(outsider))
			s.apply(&plan.Diff{Set: []*plan.Frontend{&empty}})
			s.refuses(s.outside, at(s.external(1), 80))
			s.apply(&plan.Diff{Delete: []plan.Key{f.Key}})
			s.apply(&plan.Diff{Set: []*plan.Frontend{f}})
			s.notSeen(s.reach(s.outside, at(s.external(1), 80)), s.of(outsider))
		}
	}},
	{name: "the backend tells where the kernel holds a frontend", run: func(s *scene) {
		f := s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1, 2)...)
		s.carry(f)
		lines, err := s.backend.Lookup(s.Context(), f.Key)
		if err != nil {
			s.Fatal(err)
		}
		all := strings.Join(lines, "\n")
		for _, want := range [...]netip.Addr{f.Addr, f.Endpoints[0].Addr(), f.Endpoints[1].Addr()} {
			if !strings.Contains(all, want.String()) {
				s.Errorf("no %s in:\n%s", want, all)
			}
		}
		s.apply(&plan.Diff{Delete: []plan.Key{f.Key}})
		if lines, err := s.backend.Lookup(s.Context(), f.Key); err != nil || len(lines) > 0 {
			s.Errorf("after deletion: %q, %v", lines, err)
		}
	}},
}
