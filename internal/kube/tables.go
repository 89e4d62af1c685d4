package kube

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/weftmesh/weft/internal/store"
)

// Tables are the tables of the kinds that weft reads. Their rows are shared and must not be changed.
//
// A table is filled only by sources that were given its [Kind]; the others stay empty and cost nothing.
type Tables struct {
	Services       *store.Table[corev1.Service]
	EndpointSlices *store.Table[discoveryv1.EndpointSlice]
	Nodes          *store.Table[corev1.Node]
	Pods           *store.Table[corev1.Pod]
	Namespaces     *store.Table[corev1.Namespace]

	edgeTables
	istioTables

	// SlicesByService finds the EndpointSlices of a Service by their label kubernetes.io/service-name. A slice without the label
	// belongs to no Service.
	SlicesByService *store.Index[store.Key, discoveryv1.EndpointSlice]

	// Kind is how each table is filled.
	Kind struct {
		Service, EndpointSlice, Node, Pod, Namespace *Kind
		edgeKinds
		istioKinds
	}
}

// NewTables adds the tables to s. Further indexes are made by whoever reads by them, with [store.NewIndex].
func NewTables(s *store.Store) *Tables {
	core := []schema.GroupVersion{corev1.SchemeGroupVersion}
	t := &Tables{
		Services:       NewTable[corev1.Service](s, "Service"),
		EndpointSlices: NewTable[discoveryv1.EndpointSlice](s, "EndpointSlice"),
		Nodes:          NewTable[corev1.Node](s, "Node"),
		Pods:           NewTable[corev1.Pod](s, "Pod"),
		Namespaces:     NewTable[corev1.Namespace](s, "Namespace"),
	}
	t.SlicesByService = store.NewIndex(t.EndpointSlices, "service", func(s *discoveryv1.EndpointSlice) []store.Key {
		name := s.Labels[discoveryv1.LabelServiceName]
		if name == "" {
			return nil
		}
		return []store.Key{{Namespace: s.Namespace, Name: name}}
	})
	t.Kind.Service = NewKind(t.Services, Spec[corev1.Service]{
		Resource: "services", Versions: core, Scheme: scheme.Scheme, Default: defaultService,
	})
	t.Kind.EndpointSlice = NewKind(t.EndpointSlices, Spec[discoveryv1.EndpointSlice]{
		Resource: "endpointslices", Versions: []schema.GroupVersion{discoveryv1.SchemeGroupVersion}, Scheme: scheme.Scheme, Default: defaultEndpointSlice,
	})
	t.Kind.Node = NewKind(t.Nodes, Spec[corev1.Node]{Resource: "nodes", Versions: core, ClusterScoped: true, Scheme: scheme.Scheme})
	t.Kind.Pod = NewKind(t.Pods, Spec[corev1.Pod]{Resource: "pods", Versions: core, Scheme: scheme.Scheme, Strip: stripPod})
	t.Kind.Namespace = NewKind(t.Namespaces, Spec[corev1.Namespace]{
		Resource: "namespaces", Versions: core, ClusterScoped: true, Scheme: scheme.Scheme, Default: defaultNamespace,
	})
	t.addEdge(s)
	t.addIstio(s)
	return t
}
