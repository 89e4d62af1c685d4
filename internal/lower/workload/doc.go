// Package workload lowers what runs at an address, a Pod or a WorkloadEntry, to the model: who it is, and nothing of how it fares. A Pod's
// status changes every few seconds and nobody who reads a Workload is told.
//
// It looks at one object at a time. Which Service leads to a workload is said by others.
package workload

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// Objects is what is lowered.
type Objects struct {
	Pods            *store.Table[corev1.Pod]
	WorkloadEntries *store.Table[networkingv1.WorkloadEntry]
}

// Lowered is the queries over the objects. Each gives nil for what does not exist.
type Lowered struct {
	Pods            *derive.Query[store.Key, *model.Workload]
	Addresses       *derive.Query[store.Key, []netip.Addr] // of Pods that have not ended and are not on their node's network, sorted
	WorkloadEntries *derive.Query[store.Key, *model.Workload]

	// In is the Pods of a namespace, sorted.
	In *derive.Query[string, []store.Key]

	// At is the Pod whose own an address is; the zero key if it is nobody's.
	At *derive.Query[netip.Addr, store.Key]
}

// Define declares the queries in db.
func Define(db *derive.DB, o Objects) *Lowered {
	byAddress := store.NewIndex(o.Pods, "address", addressesOf)
	byNamespace := store.NewIndex(o.Pods, "namespace", func(p *corev1.Pod) []string { return []string{p.Namespace} })
	return &Lowered{
		At: derive.Define(db, "lower/pod at address", derive.Equal, func(r *derive.Reader, a netip.Addr) (k store.Key) {
			for _, p := range byAddress.List(r, a) { // an address that was given to another Pod before the first was told to have ended is the younger's
				if k == (store.Key{}) || o.Pods.Get(r, k).CreationTimestamp.Before(&p.CreationTimestamp) {
					k = store.Key{Namespace: p.Namespace, Name: p.Name}
				}
			}
			return k
		}),
		In: derive.Define(db, "lower/pods of namespace", slices.Equal, func(r *derive.Reader, namespace string) (keys []store.Key) {
			for _, p := range byNamespace.List(r, namespace) {
				keys = append(keys, store.Key{Namespace: p.Namespace, Name: p.Name})
			}
			return keys
		}),
		Pods: derive.Define(db, "lower/pod", same, func(r *derive.Reader, k store.Key) *model.Workload {
			return lowerPod(o.Pods.Get(r, k))
		}),
		Addresses: derive.Define(db, "lower/pod addresses", slices.Equal, func(r *derive.Reader, k store.Key) []netip.Addr {
			return addressesOf(o.Pods.Get(r, k))
		}),
		WorkloadEntries: derive.Define(db, "lower/workloadentry", same, func(r *derive.Reader, k store.Key) *model.Workload {
			return lowerEntry(o.WorkloadEntries.Get(r, k))
		}),
	}
}

func same(a, b *model.Workload) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// defaultAccount is the account of Pods that name none, as the API server fills it in.
const defaultAccount = "default"

func lowerPod(p *corev1.Pod) *model.Workload {
	if p == nil {
		return nil
	}
	w := &model.Workload{
		Name: model.ObjectName{Namespace: p.Namespace, Name: p.Name}, Labels: model.MakeLabels(p.Labels),
		ServiceAccount: p.Spec.ServiceAccountName, Node: p.Spec.NodeName, Owner: ownerOf(p), Ports: portsOf(p),
		Injected: p.Annotations[injected] != "",
		Origin:   model.Origin{Object: finding.Object{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}},
	}
	if w.ServiceAccount == "" {
		w.ServiceAccount = defaultAccount
	}
	return w
}

// injected is the annotation in which the injector of sidecars says what it put into a Pod, as Istio's does.
const injected = "sidecar.istio.io/status"

// ownerOf names the Deployment or other controller that a Pod belongs to. A ReplicaSet of a Deployment is called by it and a hash.
func ownerOf(p *corev1.Pod) string {
	owner := metav1.GetControllerOf(p)
	if owner == nil {
		return p.Name
	}
	if owner.Kind == "ReplicaSet" {
		if name, ok := strings.CutSuffix(owner.Name, "-"+p.Labels["pod-template-hash"]); ok {
			return name
		}
	}
	return owner.Name
}

// portsOf gives the numbers that a Pod's containers have names for.
func portsOf(p *corev1.Pod) model.Labels {
	ports := map[string]string{}
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.Name != "" && (port.Protocol == corev1.ProtocolTCP || port.Protocol == "") {
				ports[port.Name] = strconv.Itoa(int(port.ContainerPort))
			}
		}
	}
	return model.MakeLabels(ports)
}

func addressesOf(p *corev1.Pod) (out []netip.Addr) {
	if p == nil || p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return nil
	}
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// lowerEntry gives a workload the labels of the spec and of the object; where both have one, the object's counts, as in Istio.
func lowerEntry(e *networkingv1.WorkloadEntry) *model.Workload {
	if e == nil {
		return nil
	}
	labels := make(map[string]string, len(e.Spec.Labels)+len(e.Labels))
	maps.Copy(labels, e.Spec.Labels)
	maps.Copy(labels, e.Labels)
	return &model.Workload{
		Name: model.ObjectName{Namespace: e.Namespace, Name: e.Name}, Labels: model.MakeLabels(labels), ServiceAccount: e.Spec.ServiceAccount, Owner: e.Name,
		Origin: model.Origin{Object: finding.Object{Kind: "WorkloadEntry", Namespace: e.Namespace, Name: e.Name}},
	}
}
