package behaviour

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// Open makes the backend under test, which must work in the namespace given. Run closes it.
type Open func(t *testing.T, node *NetNS, cfg plan.Config) plan.Backend

// Run runs every case in both IP families.
func Run(t *testing.T, open Open) {
	w := newWorld(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, f := range [...]plan.Family{plan.IPv4, plan.IPv6} {
				t.Run(fmt.Sprintf("IPv%d", f), func(t *testing.T) {
					cfg := settings()
					if c.configure != nil {
						c.configure(&cfg, f)
					}
					b := open(t, w.node, cfg)
					t.Cleanup(func() {
						if err := b.Close(); err != nil {
							t.Errorf("Close: %v", err)
						}
					})
					c.run(&scene{T: t, world: w, backend: b, family: f})
				})
			}
		})
	}
}

// testCase is one thing that must be so. Its name is the sentence that is false if it fails.
type testCase struct {
	name      string
	configure func(*plan.Config, plan.Family)
	run       func(*scene)
}

// scene is a case being played.
type scene struct {
	*testing.T
	*world
	backend plan.Backend
	family  plan.Family
}

// vip gives a cluster address.
func (s *scene) vip(n int) netip.Addr {
	return both(fmt.Sprintf("10.96.0.%d", n), fmt.Sprintf("fd00:10:96::%d", n)).of(s.family)
}

// external gives an address of a pool, which no machine has.
func (s *scene) external(n int) netip.Addr {
	return both(fmt.Sprintf("203.0.113.%d", n), fmt.Sprintf("2001:db8:2::%d", n)).of(s.family)
}

// webs gives the endpoints of some of the serving Pods, from 1.
func (s *scene) webs(port uint16, which ...int) (out []netip.AddrPort) {
	for _, n := range which {
		out = append(out, netip.AddrPortFrom(webAddresses[n-1].of(s.family), port))
	}
	return out
}

func (s *scene) of(a addresses) netip.Addr { return a.of(s.family) }

// frontend makes a frontend; an invalid address is a node port.
func (s *scene) frontend(kind plan.Kind, at netip.Addr, port uint16, endpoints ...netip.AddrPort) *plan.Frontend {
	return &plan.Frontend{
		Key:       plan.Key{Addr: at, Family: s.family, Protocol: model.TCP, Port: port},
		Kind:      kind,
		Service:   model.ServiceName{Namespace: "default", Name: "web"},
		Endpoints: endpoints,
	}
}

func udp(f *plan.Frontend) *plan.Frontend {
	f.Protocol = model.UDP
	return f
}

// carry makes the backend carry these frontends and nothing else.
func (s *scene) carry(frontends ...*plan.Frontend) {
	s.Helper()
	s.check(s.backend.Restore(s.Context(), frontends))
}

func (s *scene) apply(d *plan.Diff) {
	s.Helper()
	s.check(s.backend.Apply(s.Context(), d))
}

func (s *scene) check(r plan.Result, err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
	for _, r := range r.Refused {
		s.Fatalf("refused %v: %v", r.Key, r.Err)
	}
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// reach asks over TCP and fails the test unless somebody answers.
func (s *scene) reach(from *NetNS, to netip.AddrPort) answer {
	s.Helper()
	return s.reachBy(model.TCP, from, netip.Addr{}, to)
}

func (s *scene) reachBy(p model.Protocol, from *NetNS, source netip.Addr, to netip.AddrPort) answer {
	s.Helper()
	a, err := ask(from, p, source, to, patience)
	if err != nil {
		s.Fatalf("%s from %s %v to %s: %v", p, from.Name, source, to, err)
	}
	return a
}

// expect asks and compares how it ends.
func (s *scene) expect(want outcome, p model.Protocol, from *NetNS, source netip.Addr, to netip.AddrPort) {
	s.Helper()
	wait := patience
	if want == silent {
		wait = silence
	}
	a, err := ask(from, p, source, to, wait)
	if got := outcomeOf(err); got != want {
		s.Errorf("%s from %s %v to %s: %s (answer %+v), want %s", p, from.Name, source, to, got, a, want)
	}
}

func (s *scene) refuses(from *NetNS, to netip.AddrPort) {
	s.Helper()
	s.expect(refused, model.TCP, from, netip.Addr{}, to)
}

// servers asks n times and counts who answers.
func (s *scene) servers(n int, p model.Protocol, from *NetNS, to netip.AddrPort) map[string]int {
	s.Helper()
	count := map[string]int{}
	for range n {
		count[s.reachBy(p, from, netip.Addr{}, to).server]++
	}
	return count
}

// seen fails the test unless the server saw this source.
func (s *scene) seen(a answer, want netip.Addr) {
	s.Helper()
	if a.peer != want {
		s.Errorf("%s saw %s, want %s", a.server, a.peer, want)
	}
}

// notSeen fails the test if the server saw this source.
func (s *scene) notSeen(a answer, not netip.Addr) {
	s.Helper()
	if a.peer == not {
		s.Errorf("%s saw %s itself, want it masqueraded", a.server, a.peer)
	}
}

// eventually waits for a condition.
func (s *scene) eventually(what string, every time.Duration, cond func() bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 30*time.Second)
	defer cancel()
	for !cond() {
		select {
		case <-ctx.Done():
			s.Fatalf("never: %s", what)
		case <-time.After(every):
		}
	}
}
