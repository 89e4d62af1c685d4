package store_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/store"
)

// A town is a made-up cluster with compilers of the usual shape: each service has 20 endpoints on 50 nodes, in one slice;
// endpoints read pods and a projection of nodes; a plan is followed for every service by 50 nodes, an assignment (which
// also asks for a policy that mostly does not exist) for one service by 10 proxies.
type town struct {
	s        *store.Store
	src      *store.Source
	services *store.Table[tService]
	slices   *store.Table[tSlice]
	pods     *store.Table[tPod]
	nodes    *store.Table[tNode]
	policies *store.Table[tPolicy]
	feeds    []*derive.Feed
	deltas   int
	size     int
}

type (
	tService struct {
		Key     store.Key
		Address string
		Version int
	}
	tSlice struct {
		Key, Service store.Key
		Endpoints    []tEndpoint
	}
	tEndpoint struct {
		Pod   store.Key
		Node  string
		Ready bool
	}
	tPod struct {
		Key   store.Key
		Label string
	}
	tNode struct {
		Key       store.Key
		Zone      string
		Heartbeat int
	}
	tPolicy struct {
		Key  store.Key
		Mode string
	}
	tBackend struct {
		Pod         store.Key
		Zone, Label string
	}
	tAssignment struct {
		Backends []tBackend
		Mode     string
	}
)

const perService = 20

func tKey(i int) store.Key {
	return store.Key{Namespace: fmt.Sprint("ns-", i%20), Name: fmt.Sprintf("svc-%05d", i)}
}

func podKey(i, j int) store.Key {
	k := tKey(i)
	return store.Key{Namespace: k.Namespace, Name: fmt.Sprintf("%s-%02d", k.Name, j)}
}

func nodeName(n int) string { return fmt.Sprintf("node-%02d", n%50) }

func newTown(size int) *town {
	s := store.New(nil)
	db := s.DB()
	tw := &town{s: s, src: s.Source("made-up"), size: size}
	tw.services = store.NewTable(s, "Service", func(x *tService) store.Key { return x.Key },
		func(a, b *tService) bool { return a.Address == b.Address })
	tw.slices = store.NewTable(s, "EndpointSlice", func(x *tSlice) store.Key { return x.Key },
		func(a, b *tSlice) bool { return a.Service == b.Service && slices.Equal(a.Endpoints, b.Endpoints) })
	tw.pods = store.NewTable(s, "Pod", func(x *tPod) store.Key { return x.Key }, func(a, b *tPod) bool { return *a == *b })
	tw.nodes = store.NewTable(s, "Node", func(x *tNode) store.Key { return x.Key }, func(a, b *tNode) bool { return *a == *b })
	tw.policies = store.NewTable(s, "Policy", func(x *tPolicy) store.Key { return x.Key }, func(a, b *tPolicy) bool { return *a == *b })
	slicesOf := store.NewIndex(tw.slices, "service", func(x *tSlice) []store.Key { return []store.Key{x.Service} })

	address := derive.Define(db, "address", derive.Equal[string], func(r *derive.Reader, k store.Key) string {
		if svc := tw.services.Get(r, k); svc != nil {
			return svc.Address
		}
		return ""
	})
	zone := derive.Define(db, "zone", derive.Equal[string], func(r *derive.Reader, node string) string {
		if n := tw.nodes.Get(r, store.Key{Name: node}); n != nil {
			return n.Zone
		}
		return ""
	})
	endpoints := derive.Define(db, "endpoints", slices.Equal[[]tBackend], func(r *derive.Reader, k store.Key) []tBackend {
		out := make([]tBackend, 0, perService)
		for _, sl := range slicesOf.List(r, k) {
			for _, ep := range sl.Endpoints {
				if !ep.Ready {
					continue
				}
				b := tBackend{Pod: ep.Pod, Zone: zone.Get(r, ep.Node)}
				if p := tw.pods.Get(r, ep.Pod); p != nil {
					b.Label = p.Label
				}
				out = append(out, b)
			}
		}
		return out
	})
	plan := derive.Define(db, "plan", slices.Equal[[]store.Key], func(r *derive.Reader, k store.Key) []store.Key {
		if address.Get(r, k) == "" {
			return nil
		}
		eps := endpoints.Get(r, k)
		out := make([]store.Key, len(eps))
		for i := range eps {
			out[i] = eps[i].Pod
		}
		return out
	})
	assignment := derive.Define(db, "assignment", func(a, b tAssignment) bool { return a.Mode == b.Mode && slices.Equal(a.Backends, b.Backends) },
		func(r *derive.Reader, k store.Key) tAssignment {
			a := tAssignment{Backends: endpoints.Get(r, k)}
			if p := tw.policies.Get(r, k); p != nil {
				a.Mode = p.Mode
			}
			return a
		})

	tw.src.Commit(func(tx *store.Tx) {
		for n := range 50 {
			tw.nodes.Put(tx, &tNode{Key: store.Key{Name: nodeName(n)}, Zone: fmt.Sprint("zone-", n%3)})
		}
		for i := range size {
			tw.putService(tx, i)
		}
	})
	plans := derive.Each(plan, tw.services.KeySet())
	for range 50 {
		f := db.NewFeed()
		plans.Follow(f, func(derive.Delta[store.Key, []store.Key]) { tw.deltas++ })
		tw.feeds = append(tw.feeds, f)
	}
	derive.Each(assignment, tw.services.KeySet())
	for range 10 {
		f := db.NewFeed()
		assignment.Subscribe(f, tKey(target), func(derive.Delta[store.Key, tAssignment]) { tw.deltas++ })
		tw.feeds = append(tw.feeds, f)
	}
	tw.drain()
	return tw
}

// target is the service that proxies have subscribed to and that changes.
const target = 7

func (tw *town) putService(tx *store.Tx, i int) {
	tw.services.Put(tx, &tService{Key: tKey(i), Address: fmt.Sprint("10.0.0.", i)})
	tw.slices.Put(tx, tw.slice(i, -1))
	for j := range perService {
		tw.pods.Put(tx, &tPod{Key: podKey(i, j), Label: "v1"})
	}
}

// slice is service i's, with one endpoint not ready, or all ready with -1.
func (tw *town) slice(i, unready int) *tSlice {
	k := tKey(i)
	sl := &tSlice{Key: store.Key{Namespace: k.Namespace, Name: k.Name + "-x7k2p"}, Service: k}
	for j := range perService {
		sl.Endpoints = append(sl.Endpoints, tEndpoint{podKey(i, j), nodeName(i + j), j != unready})
	}
	return sl
}

func (tw *town) drain() {
	for _, f := range tw.feeds {
		f.Drain()
	}
}

// A change is made and unmade: do gives both ways.
type change struct {
	name   string
	do     func(tw *town) [2]func(tx *store.Tx)
	runs   uint64 // of do and its way back together
	deltas int
}

func changes() []change {
	put := func(a, b func(tx *store.Tx)) [2]func(tx *store.Tx) { return [2]func(tx *store.Tx){a, b} }
	return []change{
		// endpoints, plan, assignment; 50 plans and 10 assignments are told. Each time.
		{"EndpointFlaps", func(tw *town) [2]func(*store.Tx) {
			off, on := tw.slice(target, 3), tw.slice(target, -1)
			return put(func(tx *store.Tx) { tw.slices.Put(tx, off) }, func(tx *store.Tx) { tw.slices.Put(tx, on) })
		}, 6, 120},
		// endpoints, plan (equal), assignment.
		{"PodLabelChanges", func(tw *town) [2]func(*store.Tx) {
			a, b := &tPod{Key: podKey(target, 2), Label: "v2"}, &tPod{Key: podKey(target, 2), Label: "v1"}
			return put(func(tx *store.Tx) { tw.pods.Put(tx, a) }, func(tx *store.Tx) { tw.pods.Put(tx, b) })
		}, 6, 20},
		// Goes: address; the rest has no one to run for. Comes: address, endpoints (equal to what rested), plan.
		{"ServiceComesAndGoes", func(tw *town) [2]func(*store.Tx) {
			k := tKey(tw.size)
			svc, sl := &tService{Key: k, Address: "10.9.9.9"}, tw.slice(tw.size, -1)
			return put(
				func(tx *store.Tx) { tw.services.Put(tx, svc); tw.slices.Put(tx, sl) },
				func(tx *store.Tx) { tw.services.Delete(tx, k); tw.slices.Delete(tx, sl.Key) })
		}, 4, 100},
		{"ServiceEditedToTheSame", func(tw *town) [2]func(*store.Tx) {
			a := &tService{Key: tKey(target), Address: fmt.Sprint("10.0.0.", target), Version: 2}
			b := &tService{Key: tKey(target), Address: fmt.Sprint("10.0.0.", target), Version: 3}
			return put(func(tx *store.Tx) { tw.services.Put(tx, a) }, func(tx *store.Tx) { tw.services.Put(tx, b) })
		}, 0, 0},
		// A negative read: assignment, and again when it goes.
		{"PolicyAppears", func(tw *town) [2]func(*store.Tx) {
			p := &tPolicy{Key: tKey(target), Mode: "strict"}
			return put(func(tx *store.Tx) { tw.policies.Put(tx, p) }, func(tx *store.Tx) { tw.policies.Delete(tx, p.Key) })
		}, 2, 20},
		// zone (equal), though two fifths of all services have pods on the node.
		{"NodeHeartbeat", func(tw *town) [2]func(*store.Tx) {
			a := &tNode{Key: store.Key{Name: nodeName(1)}, Zone: "zone-1", Heartbeat: 1}
			b := &tNode{Key: store.Key{Name: nodeName(1)}, Zone: "zone-1", Heartbeat: 2}
			return put(func(tx *store.Tx) { tw.nodes.Put(tx, a) }, func(tx *store.Tx) { tw.nodes.Put(tx, b) })
		}, 2, 0},
	}
}

// TestOnlyWhatDepends pins the number of runs and deltas of each change: the same whatever the size.
func TestOnlyWhatDepends(t *testing.T) {
	for _, size := range []int{100, 500} {
		tw := newTown(size)
		for _, c := range changes() {
			t.Run(fmt.Sprint(c.name, "/", size), func(t *testing.T) {
				ways := c.do(tw)
				for round := range 3 {
					runs, deltas := tw.s.DB().Stats().Runs, tw.deltas
					for _, way := range ways {
						tw.src.Commit(way)
						tw.drain()
					}
					runs, deltas = tw.s.DB().Stats().Runs-runs, tw.deltas-deltas
					if round == 0 { // the first time some results are made that then rest
						continue
					}
					if runs != c.runs || deltas != c.deltas {
						t.Errorf("round %d: %d runs and %d deltas, want %d and %d", round, runs, deltas, c.runs, c.deltas)
					}
				}
			})
		}
	}
}

// BenchmarkChange measures commit to the last delta handed over, per change, with 60 consumers.
func BenchmarkChange(b *testing.B) {
	for _, size := range []int{100, 1_000, 10_000} {
		tw := newTown(size)
		for _, c := range changes() {
			b.Run(fmt.Sprint(c.name, "/", size), func(b *testing.B) {
				ways := c.do(tw)
				runs := tw.s.DB().Stats().Runs
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					tw.src.Commit(ways[n%2])
					tw.drain()
					n++
				}
				b.ReportMetric(float64(tw.s.DB().Stats().Runs-runs)/float64(n), "runs/op")
				if n%2 == 1 {
					tw.src.Commit(ways[1])
					tw.drain()
				}
			})
		}
	}
}

// BenchmarkLoad measures filling an empty store and compiling everything.
func BenchmarkLoad(b *testing.B) {
	for _, size := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				newTown(size)
			}
		})
	}
}
