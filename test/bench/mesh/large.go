package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/store"
)

// The mesh that sidecars know of where memory is measured, beside the two Services that they use.
const (
	largeServices  = 1000
	largeEndpoints = 10
)

// enlarge makes the mesh a large one, once, and waits until all sidecars have what they are told of it and have come to rest.
func (b *bench) enlarge(ctx context.Context) error {
	if b.large {
		return nil
	}
	b.large = true
	address := func(a, b byte, n int) string { return netip.AddrFrom4([4]byte{a, b, byte(n >> 8), byte(n)}).String() }
	port, name := int32(8080), "http"
	b.control.Source.Commit(func(tx *store.Tx) {
		for i := range largeServices {
			m := metav1.ObjectMeta{Namespace: fmt.Sprintf("large-%d", i%50), Name: fmt.Sprintf("service-%d", i)}
			ip := address(10, 97, i)
			b.control.Tables.Services.Put(tx, &corev1.Service{ObjectMeta: m, Spec: corev1.ServiceSpec{
				ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Name: name, Port: 80, Protocol: corev1.ProtocolTCP}},
			}})
			m.Labels = map[string]string{discoveryv1.LabelServiceName: m.Name}
			s := &discoveryv1.EndpointSlice{ObjectMeta: m, AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}}}
			for j := range largeEndpoints {
				ready := true
				s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address(10, 245, i*largeEndpoints+j)}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
			}
			b.control.Tables.EndpointSlices.Put(tx, s)
		}
	})
	for deadline := time.Now().Add(2 * time.Minute); !b.told(); time.Sleep(100 * time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the sidecars have not come to know %d Services", largeServices)
		}
	}
	select {
	case <-time.After(30 * time.Second): // what was in use while it came is given back
	case <-ctx.Done():
	}
	return ctx.Err()
}

// told tells whether every sidecar has acknowledged a large mesh: in the index, or in clusters.
func (b *bench) told() bool {
	all := b.control.server.Status()
	for _, p := range all {
		knows := false
		for _, t := range p.Types {
			if t.Acked < t.Wanted {
				return false
			}
			knows = knows || t.Wanted >= largeServices
		}
		if !knows {
			return false
		}
	}
	return len(all) >= 2*len(b.peers)
}
