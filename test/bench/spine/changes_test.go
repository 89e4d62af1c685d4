package spine

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/store"
)

// change is something that happens to one object of a cluster, and its way back, so that it can be done again and again.
type change struct {
	name  string
	do    func(w *world) (there, back func(tx *store.Tx))
	costs cost // of both together
}

// cost is what must be the same whatever the size of the cluster.
type cost struct {
	runs   uint64 // results computed
	deltas int    // values handed to consumers
}

// changes are what a cluster does all day.
var changes = []change{
	{
		// Endpoints, plan, and records, which come out the same: a ClusterIP's name does not depend on endpoints. Each way.
		name: "endpoint-flaps", costs: cost{runs: 6, deltas: 2},
		do: func(w *world) (there, back func(tx *store.Tx)) {
			off, on := w.slice(target, 3), w.slice(target, -1)
			return func(tx *store.Tx) { w.tables.EndpointSlices.Put(tx, off) }, func(tx *store.Tx) { w.tables.EndpointSlices.Put(tx, on) }
		},
	},
	{
		// Nothing is made of a Pod.
		name: "pod-label-changes", costs: cost{},
		do: func(w *world) (there, back func(tx *store.Tx)) {
			a, b := w.pod(target, 2, "v2"), w.pod(target, 2, "v1")
			return func(tx *store.Tx) { w.tables.Pods.Put(tx, a) }, func(tx *store.Tx) { w.tables.Pods.Put(tx, b) }
		},
	},
	{
		// It comes: the Service, whether its endpoints are handmade, who claims its address, what composition leaves of it, endpoints, plan and
		// records. It goes: the four of these that read objects; nobody asks for the rest.
		name: "service-comes-and-goes", costs: cost{runs: 11, deltas: 4},
		do: func(w *world) (there, back func(tx *store.Tx)) {
			svc, sl := w.service(w.size), w.slice(w.size, -1)
			return func(tx *store.Tx) { w.tables.Services.Put(tx, svc); w.tables.EndpointSlices.Put(tx, sl) },
				func(tx *store.Tx) {
					w.tables.Services.Delete(tx, key(w.size))
					w.tables.EndpointSlices.Delete(tx, store.Key{Namespace: sl.Namespace, Name: sl.Name})
				}
		},
	},
	{
		// The object is another, what it means is not: it is lowered, its two claims are looked at, and the wave ends there. Each way.
		name: "service-edited-to-the-same", costs: cost{runs: 6},
		do: func(w *world) (there, back func(tx *store.Tx)) {
			a, b := w.service(target), w.service(target)
			a.Annotations = map[string]string{"note": "a"}
			return func(tx *store.Tx) { w.tables.Services.Put(tx, a) }, func(tx *store.Tx) { w.tables.Services.Put(tx, b) }
		},
	},
	{
		// Only resourceVersion and generation differ, as after a list or a write of what was there.
		name: "service-listed-again", costs: cost{},
		do: func(w *world) (there, back func(tx *store.Tx)) {
			a, b := w.service(target), w.service(target)
			a.ResourceVersion, a.Generation = "1", 1
			b.ResourceVersion, b.Generation = "2", 2
			return func(tx *store.Tx) { w.tables.Services.Put(tx, a) }, func(tx *store.Tx) { w.tables.Services.Put(tx, b) }
		},
	},
	{
		// Somebody asked for slices that were not there: a negative read. Endpoints, plan, records, each way.
		name: "first-slice-appears", costs: cost{runs: 6, deltas: 2},
		do: func(w *world) (there, back func(tx *store.Tx)) {
			sl := w.slice(sliceless, -1)
			return func(tx *store.Tx) { w.tables.EndpointSlices.Put(tx, sl) },
				func(tx *store.Tx) {
					w.tables.EndpointSlices.Delete(tx, store.Key{Namespace: sl.Namespace, Name: sl.Name})
				}
		},
	},
	{
		// That nobody else wanted the node port was read too. An older Service appears that does: it is lowered, its claims are looked at, both
		// Services are composed, and the one that lost the port gets another plan and other records. And back.
		name: "older-claimant-appears", costs: cost{runs: 15, deltas: 6},
		do: func(w *world) (there, back func(tx *store.Tx)) {
			svc := w.service(w.size + 1)
			svc.CreationTimestamp.Time = svc.CreationTimestamp.Add(-1e9)
			svc.Spec.Type = corev1.ServiceTypeNodePort
			svc.Spec.Ports[0].NodePort = nodePort
			return func(tx *store.Tx) { w.tables.Services.Put(tx, svc) }, func(tx *store.Tx) { w.tables.Services.Delete(tx, key(w.size+1)) }
		},
	},
	{
		// The Node is lowered again, and means what it meant.
		name: "node-heartbeat", costs: cost{runs: 2},
		do: func(w *world) (there, back func(tx *store.Tx)) {
			a, b := w.node(1, 10), w.node(1, 20)
			return func(tx *store.Tx) { w.tables.Nodes.Put(tx, a) }, func(tx *store.Tx) { w.tables.Nodes.Put(tx, b) }
		},
	},
}
