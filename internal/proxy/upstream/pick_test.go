package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

const picks = 20000

func TestDistribution(t *testing.T) {
	three := []member{{addr: "10.0.0.1", weight: 1}, {addr: "10.0.0.2", weight: 3}, {addr: "10.0.0.3", weight: 6}}
	byWeight := map[string]float64{"10.0.0.1:80": .1, "10.0.0.2:80": .3, "10.0.0.3:80": .6}
	even := map[string]float64{"10.0.0.1:80": 1. / 3, "10.0.0.2:80": 1. / 3, "10.0.0.3:80": 1. / 3}
	byHash := func(int) *PickContext { return &PickContext{Hash: rand.Uint64(), HasHash: true} }
	zones := []member{
		{addr: "10.0.0.1", zone: "a", zoneLoad: 1}, {addr: "10.0.0.2", zone: "a"},
		{addr: "10.0.0.3", zone: "b", zoneLoad: 3},
	}
	half := []member{{addr: "10.0.0.1"}, {addr: "10.0.0.2", health: "UNHEALTHY"}, {addr: "10.0.1.1", priority: 1}}
	for _, tc := range []struct {
		name    string
		cluster string
		members []member
		pc      func(int) *PickContext
		want    map[string]float64
	}{
		{"round robin", ``, three, anyPick, byWeight},
		{"least request", `"lb_policy": "LEAST_REQUEST"`, three, anyPick, byWeight},
		{"random ignores weights", `"lb_policy": "RANDOM"`, three, anyPick, even},
		{"maglev", `"lb_policy": "MAGLEV"`, three, byHash, byWeight},
		{"no policy but its newer form", `"load_balancing_policy": {"policies": [{"typed_extension_config": {"name": "x", "typed_config":
			{"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest"}}}]}`, three, anyPick, byWeight},
		{"localities without weights", ``, zones, anyPick, even},
		{"localities by weight", `"common_lb_config": {"locality_weighted_lb_config": {}}`, zones, anyPick,
			map[string]float64{"10.0.0.1:80": .125, "10.0.0.2:80": .125, "10.0.0.3:80": .75}},
		{"maglev, localities by weight", `"lb_policy": "MAGLEV", "common_lb_config": {"locality_weighted_lb_config": {}}`, zones, byHash,
			map[string]float64{"10.0.0.1:80": .125, "10.0.0.2:80": .125, "10.0.0.3:80": .75}},
		{"a locality that lost half its endpoints carries 1.4 × ½", `"common_lb_config": {"locality_weighted_lb_config": {}, "healthy_panic_threshold": {"value": 0}}`,
			[]member{{addr: "10.0.0.1", zone: "a", zoneLoad: 1}, {addr: "10.0.0.2", zone: "a", health: "UNHEALTHY"}, {addr: "10.0.0.3", zone: "b", zoneLoad: 1}},
			anyPick, map[string]float64{"10.0.0.1:80": .7 / 1.7, "10.0.0.3:80": 1 / 1.7}},
		{"the next priority takes what the first cannot", ``, half, anyPick, map[string]float64{"10.0.0.1:80": .7, "10.0.1.1:80": .3}},
		{"the next priority is not asked", ``, []member{{addr: "10.0.0.1"}, {addr: "10.0.1.1", priority: 1}}, anyPick, map[string]float64{"10.0.0.1:80": 1}},
		{"degraded after healthy", ``, []member{{addr: "10.0.0.1"}, {addr: "10.0.0.2", health: "DEGRADED"}}, anyPick,
			map[string]float64{"10.0.0.1:80": .7, "10.0.0.2:80": .3}},
		{"panic: all, healthy or not", ``, []member{{addr: "10.0.0.1"}, {addr: "10.0.0.2", health: "UNHEALTHY"}, {addr: "10.0.0.3", health: "UNHEALTHY"}}, anyPick, even},
		{"no panic where that is off", `"common_lb_config": {"healthy_panic_threshold": {"value": 0}}`,
			[]member{{addr: "10.0.0.1"}, {addr: "10.0.0.2", health: "UNHEALTHY"}, {addr: "10.0.0.3", health: "DRAINING"}}, anyPick,
			map[string]float64{"10.0.0.1:80": 1}},
		{"nobody is well and panic is off", `"common_lb_config": {"healthy_panic_threshold": {"value": 0}}`,
			[]member{{addr: "10.0.0.1", health: "UNHEALTHY"}}, anyPick, map[string]float64{"cluster c: no healthy upstream": 1}},
		{"nobody is well: all", ``, []member{{addr: "10.0.0.1", health: "UNHEALTHY"}, {addr: "10.0.1.1", priority: 1, health: "TIMEOUT"}}, anyPick,
			map[string]float64{"10.0.0.1:80": .5, "10.0.1.1:80": .5}},
		{"nobody is there", ``, nil, anyPick, map[string]float64{"cluster c: no healthy upstream": 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, tc.cluster), assignmentOf(t, tc.members...))
			near(t, counts(t, c, picks, tc.pc), picks, tc.want)
		})
	}
}

// Round robin by weight gives each its part exactly, and the heavy one never twice as often in a row as it must.
func TestStride(t *testing.T) {
	s := newStride([]uint32{1, 3, 6, 2})
	var cursor atomic.Uint64
	cursor.Store(rand.Uint64N(1 << 40))
	got := make([]int, 4)
	for range 12 * 100 {
		got[s.next(&cursor)]++
	}
	if want := []int{100, 300, 600, 200}; !slices.EqualFunc(got, want, func(a, b int) bool { return a-b <= 1 && b-a <= 1 }) {
		t.Errorf("got %v, want %v", got, want)
	}
	huge := newStride([]uint32{1 << 31, 1 << 30, 1})
	got = make([]int, 3)
	for range 30000 {
		got[huge.next(&cursor)]++
	}
	if got[0] < 19800 || got[1] < 9800 || got[2] > 3 {
		t.Errorf("great weights: %v", got)
	}
}

func TestAlias(t *testing.T) {
	a := newAlias([]uint32{0, 5, 1<<32 - 1, 1 << 31})
	got := make([]int, 4)
	for range 30000 {
		got[a.draw(rand.Uint64())]++
	}
	if got[0] != 0 || got[1] > 2 || got[2] < 19500 || got[3] < 9500 {
		t.Errorf("got %v", got)
	}
}

// Who has many requests is drawn less.
func TestLeastRequestSeesLoad(t *testing.T) {
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, `"lb_policy": "LEAST_REQUEST"`), assignmentOf(t, many(3)...))
	busy := c.hosts.Load().endpoints[0]
	busy.active.Store(100)
	got := counts(t, c, picks, anyPick)
	near(t, got, picks, map[string]float64{"10.0.0.0:80": 1. / 9, "10.0.0.1:80": 4. / 9, "10.0.0.2:80": 4. / 9})
}

// The same hash goes to the same endpoint, in whatever order the endpoints came, and stays there when another one leaves.
func TestHashIsStable(t *testing.T) {
	for _, policy := range []string{"RING_HASH", "MAGLEV"} {
		t.Run(policy, func(t *testing.T) {
			members := many(20)
			s := newSet(t, Options{})
			c := mustUpdate(t, s, edsCluster(t, fmt.Sprintf(`"lb_policy": %q`, policy)), assignmentOf(t, members...))
			at := func() []string {
				out := make([]string, 10000)
				for i := range out {
					e, err := c.Pick(t.Context(), &PickContext{Hash: uint64(i) * 0x9e3779b97f4a7c15, HasHash: true})
					if err != nil {
						t.Fatal(err)
					}
					out[i] = e.Address()
				}
				return out
			}
			before := at()
			slices.Reverse(members)
			mustUpdate(t, s, edsCluster(t, fmt.Sprintf(`"lb_policy": %q`, policy)), assignmentOf(t, members...))
			if !slices.Equal(at(), before) {
				t.Error("the order of the endpoints matters")
			}
			gone := "10.0.0.19:80"
			mustUpdate(t, s, edsCluster(t, fmt.Sprintf(`"lb_policy": %q`, policy)), assignmentOf(t, members[1:]...))
			moved, lost := 0, 0
			for i, now := range at() {
				switch {
				case before[i] == gone:
					lost++
				case before[i] != now:
					moved++
				}
			}
			// Others move a little: a ring's minimum is a whole number of points for each, which changes with their number, and maglev's table is
			// filled in turn.
			if lost < 200 || lost > 1000 || moved > 600 {
				t.Errorf("%d hashes were %s's, %d others moved", lost, gone, moved)
			}
		})
	}
}

// The ring is what Envoy makes: xxHash64 of key_0, key_1, ... and as many points as the lightest needs to get a whole number.
func TestRing(t *testing.T) {
	r := newRing([]string{"10.0.0.1:80", "10.0.0.2:80"}, []uint32{1, 2}, 5, 1000)
	got := map[uint32]int{}
	for _, p := range r {
		got[p.index]++
	}
	if len(r) != 6 || got[0] != 2 || got[1] != 4 {
		t.Errorf("%d points, %v", len(r), got)
	}
	if !slices.IsSortedFunc(r, func(a, b point) int { return map[bool]int{true: -1, false: 1}[a.hash < b.hash] }) {
		t.Error("not sorted")
	}
	for i, p := range r {
		if at := r.at(p.hash, 0); at != int(p.index) {
			t.Errorf("at(%d) = %d, want %d", p.hash, at, p.index)
		}
		if next := r[(i+1)%len(r)]; r.at(p.hash+1, 0) != int(next.index) {
			t.Errorf("after point %d comes %d", i, next.index)
		}
	}
	if got := newRing([]string{"a", "b", "c"}, nil, 1024, 2); len(got) != 2 {
		t.Errorf("maximum ring size 2: %d points", len(got))
	}
}

// An endpoint that was tried is not tried again while there is another.
func TestExclude(t *testing.T) {
	for _, policy := range []string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV"} {
		t.Run(policy, func(t *testing.T) {
			c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, fmt.Sprintf(`"lb_policy": %q`, policy)), assignmentOf(t, many(3)...))
			for i := range 200 {
				pc := &PickContext{Hash: uint64(i), HasHash: true}
				for range 3 {
					e, err := c.Pick(t.Context(), pc)
					if err != nil || slices.Contains(pc.Exclude, e) {
						t.Fatalf("%v, %v among %v", e.Address(), err, pc.Exclude)
					}
					pc.Exclude = append(pc.Exclude, e)
				}
				if _, err := c.Pick(t.Context(), pc); err != nil {
					t.Fatal("all are excluded: one of them is better than none:", err)
				}
			}
		})
	}
}

func TestDropOverload(t *testing.T) {
	a := assignmentOf(t, many(1)...)
	parse(t, a, `{"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}}]}],
		"policy": {"drop_overloads": [{"category": "lb", "drop_percentage": {"numerator": 25}}]}}`)
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, ``), a)
	near(t, counts(t, c, picks, anyPick), picks, map[string]float64{"10.0.0.1:80": .75, ErrDropped.Error(): .25})
}

func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, Options{})
		cluster := edsCluster(t, `"round_robin_lb_config": {"slow_start_config": {"slow_start_window": "60s"}}`)
		c := mustUpdate(t, s, cluster, assignmentOf(t, many(1)...))
		time.Sleep(2 * time.Minute)
		mustUpdate(t, s, cluster, assignmentOf(t, many(2)...))
		part := func(young float64) {
			t.Helper()
			near(t, counts(t, c, picks, anyPick), picks, map[string]float64{"10.0.0.0:80": 1 / (1 + young), "10.0.0.1:80": young / (1 + young)})
		}
		part(.1)
		time.Sleep(30*time.Second + time.Millisecond)
		synctest.Wait()
		part(.5)
		time.Sleep(time.Minute)
		synctest.Wait()
		part(1)
	})
}

// A cluster that has no endpoints yet is waited for, but not for long.
func TestWarming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, Options{})
		c := mustUpdate(t, s, edsCluster(t, ``), nil)
		got := make(chan error)
		go func() {
			_, err := c.Pick(t.Context(), &PickContext{})
			got <- err
		}()
		synctest.Wait()
		if err := s.UpdateEndpoints(assignmentOf(t, many(1)...)); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Errorf("with endpoints that came meanwhile: %v", err)
		}

		other := edsCluster(t, ``)
		other.Name = "other"
		c = mustUpdate(t, s, other, nil)
		begin := time.Now()
		if _, err := c.Pick(t.Context(), &PickContext{}); !errors.Is(err, ErrNoHealthyUpstream) || time.Since(begin) != firstWait {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		begin = time.Now()
		if _, err := c.Pick(t.Context(), &PickContext{}); !errors.Is(err, ErrNoHealthyUpstream) || time.Since(begin) != 0 {
			t.Errorf("the next one: %v after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		third := edsCluster(t, ``)
		third.Name = "third"
		if _, err := mustUpdate(t, s, third, nil).Pick(ctx, &PickContext{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A cluster whose assignment gets another name goes on with the old one until the new one is here.
func TestMakeBeforeBreak(t *testing.T) {
	s := newSet(t, Options{})
	c := mustUpdate(t, s, edsCluster(t, ``), assignmentOf(t, member{addr: "10.0.0.1"}))
	renamed := edsCluster(t, ``)
	renamed.EdsClusterConfig.ServiceName = "new"
	mustUpdate(t, s, renamed, nil)
	near(t, counts(t, c, 10, anyPick), 10, map[string]float64{"10.0.0.1:80": 1})
	a := assignmentOf(t, member{addr: "10.0.0.2"})
	a.ClusterName = "new"
	if err := s.UpdateEndpoints(a); err != nil {
		t.Fatal(err)
	}
	near(t, counts(t, c, 10, anyPick), 10, map[string]float64{"10.0.0.2:80": 1})
	if err := s.UpdateEndpoints(assignmentOf(t, member{addr: "10.0.0.3"})); err != nil {
		t.Fatal(err)
	}
	near(t, counts(t, c, 10, anyPick), 10, map[string]float64{"10.0.0.2:80": 1})
	s.RemoveEndpoints("new")
	near(t, counts(t, c, 10, anyPick), 10, map[string]float64{"10.0.0.2:80": 1})
	s.RemoveCluster("c")
	if s.Get("c") != nil {
		t.Error("it is still there")
	}
	if _, err := c.Pick(t.Context(), &PickContext{}); err != nil {
		t.Error("who holds it can use it as it was:", err)
	}
}

// An endpoint is its address: what is known of it outlives updates, and choices that are the same are not made again.
func TestEndpointsStay(t *testing.T) {
	s := newSet(t, Options{})
	cluster := edsCluster(t, `"lb_policy": "RING_HASH"`)
	c := mustUpdate(t, s, cluster, assignmentOf(t, many(3)...))
	before := c.hosts.Load()
	table := &before.ranks[0].choices[ofHealthy].groups[0].table.(ring)[0]
	parsed := assignmentOf(t, append(many(3), member{addr: "10.9.9.9", priority: 1})...)
	mustUpdate(t, s, cluster, parsed)
	after := c.hosts.Load()
	for i, e := range before.endpoints {
		if after.endpoints[i] != e {
			t.Errorf("endpoint %d is another", i)
		}
	}
	if &after.ranks[0].choices[ofHealthy].groups[0].table.(ring)[0] != table {
		t.Error("the ring of a priority that did not change was made again")
	}
	a := assignmentOf(t, many(3)...)
	a.Endpoints[0].LbEndpoints[0].HealthStatus = corev3.HealthStatus_UNHEALTHY
	mustUpdate(t, s, cluster, a)
	if e := c.hosts.Load().endpoints[0]; e != before.endpoints[0] || e.health() != unhealthyState {
		t.Error("the health status did not reach the endpoint")
	}
	if n := stat(c, "update_no_rebuild"); n == 0 {
		t.Error("an update that changes nothing was carried out")
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{3, 1000, 10000} {
		for _, policy := range []string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV"} {
			for _, weighted := range []bool{false, true} {
				name := fmt.Sprintf("%d/%s", n, policy)
				members := many(n)
				if weighted {
					name += "/weighted"
					for i := range members {
						members[i].weight = 1 + i%10
					}
				}
				b.Run(name, func(b *testing.B) {
					c := mustUpdate(b, newSet(b, Options{}), edsCluster(b, fmt.Sprintf(`"lb_policy": %q`, policy)), assignmentOf(b, members...))
					pc := &PickContext{HasHash: true}
					b.ReportAllocs()
					for b.Loop() {
						pc.Hash += 0x9e3779b97f4a7c15
						if _, err := c.Pick(b.Context(), pc); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// What it costs when one endpoint of many comes or goes.
func BenchmarkUpdateEndpoints(b *testing.B) {
	for _, policy := range []string{"ROUND_ROBIN", "RING_HASH", "MAGLEV"} {
		b.Run(policy, func(b *testing.B) {
			s := newSet(b, Options{})
			mustUpdate(b, s, edsCluster(b, fmt.Sprintf(`"lb_policy": %q`, policy)), nil)
			two := [...]*endpointv3.ClusterLoadAssignment{assignmentOf(b, many(10000)...), assignmentOf(b, many(10001)...)}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := s.UpdateEndpoints(two[i%2]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A pick costs no allocation.
func TestPickAllocates(t *testing.T) {
	for _, policy := range []string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV"} {
		members := many(100)
		for i := range members {
			members[i].weight = 1 + i%10
		}
		s := newSet(t, Options{})
		mustUpdate(t, s, edsCluster(t, fmt.Sprintf(`"lb_policy": %q`, policy)), assignmentOf(t, members...))
		pc := &PickContext{HasHash: true}
		if n := testing.AllocsPerRun(1000, func() {
			pc.Hash++
			if _, err := s.Get("c").Pick(t.Context(), pc); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", policy, n)
		}
	}
}
