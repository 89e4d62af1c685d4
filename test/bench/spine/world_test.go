// Package spine measures what a change costs on its way from objects to what carriers are told: the real tables, the real lowering and
// composition, the plan of one node and the records of DNS, each followed by one consumer. No API server, no kernel and no network are in it.
//
// The counts (results computed, values delivered) are asserted, for they must not depend on the size of the cluster; times are only printed.
package spine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/dns/zone"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/service"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
	"github.com/weftmesh/weft/internal/store"
)

const (
	perService = 20
	nodes      = 50
	domain     = "cluster.local."
)

// world is a cluster of a given number of Services, and the consumers of what is made of it.
type world struct {
	store  *store.Store
	src    *store.Source
	tables *kube.Tables
	size   int

	plans, records, machines *derive.Feed
	zone                     *zone.Zone
	deltas                   int // values handed over to the consumers
}

func newWorld(tb testing.TB, size int) *world {
	tb.Helper()
	s := store.New(nil)
	w := &world{store: s, src: s.Source("made-up"), tables: kube.NewTables(s), size: size}
	objects := service.Objects{
		Services: w.tables.Services, Slices: w.tables.EndpointSlices, SlicesByService: w.tables.SlicesByService, Nodes: w.tables.Nodes,
	}
	m := compose.Define(s.DB(), objects, service.Define(s.DB(), objects))

	var err error
	if w.zone, err = zone.New(zone.Config{Domain: domain}); err != nil {
		tb.Fatal(err)
	}
	w.follow(m)
	w.src.Commit(func(tx *store.Tx) {
		for n := range nodes {
			w.tables.Nodes.Put(tx, w.node(n, 0))
		}
		for i := range size {
			w.tables.Services.Put(tx, w.service(i))
			if i != sliceless {
				w.tables.EndpointSlices.Put(tx, w.slice(i, -1))
			}
			for j := range perService {
				w.tables.Pods.Put(tx, w.pod(i, j, "v1"))
			}
		}
	})
	w.drain()
	return w
}

// follow subscribes the consumers: the proxy of one node, DNS, and whoever announces addresses from nodes.
func (w *world) follow(m *compose.Model) {
	db := w.store.DB()
	w.plans, w.records, w.machines = db.NewFeed(), db.NewFeed(), db.NewFeed()
	serviceproxy.Plans(db, m, nodeName(1)).Follow(w.plans, func(derive.Delta[store.Key, *plan.Service]) { w.deltas++ })
	zone.Follow(db, m, domain).Follow(w.records, func(d derive.Delta[store.Key, *zone.Records]) {
		w.deltas++
		w.zone.Set(model.ServiceName(d.Key), d.Value)
	})
	derive.Each(m.Nodes, m.NodeNames).Follow(w.machines, func(derive.Delta[store.Key, *model.Node]) { w.deltas++ })
}

func (w *world) drain() {
	w.plans.Drain()
	w.records.Drain()
	w.machines.Drain()
}

// The Services that changes are made to.
const (
	target    = 7 // has a node port
	sliceless = 8 // has no EndpointSlice
	nodePort  = 30080
)

func key(i int) store.Key {
	return store.Key{Namespace: fmt.Sprint("ns-", i%20), Name: fmt.Sprintf("svc-%05d", i)}
}

func nodeName(n int) string { return fmt.Sprintf("node-%02d", n%nodes) }

// address gives the nth address after base.
func address(base string, n int) string {
	b := netip.MustParseAddr(base).As4()
	n += int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	return netip.AddrFrom4([4]byte{b[0], byte(n >> 16), byte(n >> 8), byte(n)}).String()
}

func (w *world) meta(k store.Key, age int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name, CreationTimestamp: metav1.NewTime(time.Unix(1_700_000_000-int64(age), 0))}
}

func (w *world) service(i int) *corev1.Service {
	s := &corev1.Service{ObjectMeta: w.meta(key(i), 0)}
	s.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: address("10.96.0.1", i), IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		Selector: map[string]string{"app": s.Name},
		Ports:    []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
	}
	s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	if i == target {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.Ports[0].NodePort = nodePort
	}
	return s
}

// slice is Service i's, with one endpoint not ready; -1 is none.
func (w *world) slice(i, unready int) *discoveryv1.EndpointSlice {
	k := key(i)
	s := &discoveryv1.EndpointSlice{ObjectMeta: w.meta(store.Key{Namespace: k.Namespace, Name: k.Name + "-x7k2p"}, 0), AddressType: discoveryv1.AddressTypeIPv4}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: k.Name}
	name, protocol, port := "http", corev1.ProtocolTCP, int32(8080)
	s.Ports = []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}}
	for j := range perService {
		ready, on := j != unready, nodeName(i+j)
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{address("10.128.0.1", i*perService+j)}, NodeName: &on,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: podKey(i, j).Name},
		})
	}
	return s
}

func podKey(i, j int) store.Key {
	k := key(i)
	return store.Key{Namespace: k.Namespace, Name: fmt.Sprintf("%s-%02d", k.Name, j)}
}

func (w *world) pod(i, j int, version string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: w.meta(podKey(i, j), 0)}
	p.Labels = map[string]string{"app": key(i).Name, "version": version}
	return p
}

// node is the nth machine, with its latest heartbeat at a second.
func (w *world) node(n int, heartbeat int64) *corev1.Node {
	o := &corev1.Node{ObjectMeta: w.meta(store.Key{Name: nodeName(n)}, 0)}
	o.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address("172.16.0.1", n)}}
	o.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(time.Unix(1_700_000_000+heartbeat, 0))}}
	return o
}
