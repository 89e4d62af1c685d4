package main

import (
	"fmt"
	"net/netip"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/test/bench/controlplane"
)

const namespaces = 20

// mesh is a made-up mesh of which every Pod has a sidecar.
type mesh struct {
	size
	*controlplane.Plane
}

func newMesh(s size) *mesh {
	m := &mesh{size: s, Plane: controlplane.New()}
	m.Source.Commit(func(tx *store.Tx) {
		for i := range s.services {
			m.putService(tx, i)
			m.putSlice(tx, i, -1)
			m.putRoute(tx, i, 0)
			for j := range s.endpoints {
				m.putPod(tx, i, j)
			}
		}
	})
	return m
}

func namespaceOf(i int) string { return fmt.Sprintf("ns-%02d", i%namespaces) }
func nameOf(i int) string      { return fmt.Sprintf("svc-%05d", i) }
func hostOf(i int) string      { return nameOf(i) + "." + namespaceOf(i) + ".svc.cluster.local" }

func (m *mesh) meta(i int, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespaceOf(i), Name: name, Labels: labels}
}

func (m *mesh) putService(tx *store.Tx, i int) {
	m.Tables.Services.Put(tx, &corev1.Service{ObjectMeta: m.meta(i, nameOf(i), nil), Spec: corev1.ServiceSpec{
		ClusterIP: address(10, 96, i), ClusterIPs: []string{address(10, 96, i)}, Selector: map[string]string{"app": nameOf(i)},
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
	}})
}

// putSlice puts the endpoints of a Service, of which one may not be ready.
func (m *mesh) putSlice(tx *store.Tx, i, unready int) {
	port, name := int32(8080), "http"
	sl := &discoveryv1.EndpointSlice{
		ObjectMeta: m.meta(i, nameOf(i)+"-1", map[string]string{discoveryv1.LabelServiceName: nameOf(i)}), AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
	for j := range m.endpoints {
		ready := j != unready
		sl.Endpoints = append(sl.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{m.podAddress(i, j)}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: podName(i, j)},
		})
	}
	m.Tables.EndpointSlices.Put(tx, sl)
}

// putRoute puts the VirtualService of a Service, whose timeout tells one edit from another.
func (m *mesh) putRoute(tx *store.Tx, i, edit int) {
	v := &networkingv1.VirtualService{ObjectMeta: m.meta(i, nameOf(i), nil)}
	v.Spec.Hosts = []string{nameOf(i)}
	v.Spec.Http = []*networking.HTTPRoute{{
		Name:  fmt.Sprint("edit-", edit),
		Match: []*networking.HTTPMatchRequest{{Uri: &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: "/"}}}},
		Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: nameOf(i)}}},
	}}
	m.Tables.VirtualServices.Put(tx, v)
}

func podName(i, j int) string { return fmt.Sprintf("%s-%02d", nameOf(i), j) }

func (s size) podAddress(i, j int) string { return address(10, 128, i*s.endpoints+j) }

func (m *mesh) putPod(tx *store.Tx, i, j int) {
	p := &corev1.Pod{ObjectMeta: m.meta(i, podName(i, j), map[string]string{"app": nameOf(i), "version": "v1", "security.istio.io/tlsMode": "istio"})}
	p.Annotations = map[string]string{"sidecar.istio.io/status": "{}"}
	p.Spec.ServiceAccountName = nameOf(i)
	p.Status.PodIPs = []corev1.PodIP{{IP: m.podAddress(i, j)}}
	m.Tables.Pods.Put(tx, p)
}

// address gives the nth address of a range that begins with a.b.0.1.
func address(a, b byte, n int) string {
	n++
	return netip.AddrFrom4([4]byte{a, b + byte(n>>16), byte(n >> 8), byte(n)}).String()
}
