package main

import (
	"fmt"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The population: Service i is bench/svc-i with one TCP port, 80, and two endpoints.

const (
	namespace    = "bench"
	perService   = 2
	servicePort  = 80
	endpointPort = 8080
	// maxServices is how many fit into the half of 10.96.0.0/16 that is used.
	maxServices = 1 << 15
)

var (
	serviceCIDR = netip.MustParsePrefix("10.96.0.0/16")
	podCIDR     = netip.MustParsePrefix("10.244.0.0/16")
)

func serviceName(i int) string { return fmt.Sprintf("svc-%05d", i) }

func clusterIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 96, byte(128 + i>>8), byte(i)}) }

// endpoint is an address that nobody has. The version makes it another one.
func endpoint(i, j, version int) netip.Addr {
	k := perService*i + j
	return netip.AddrFrom4([4]byte{10, byte(128 + 64*(version%2) + k>>16), byte(k >> 8), byte(k)})
}

// original are the endpoints of Service i, changed those after one of them was replaced.
func original(i int) []netip.Addr { return []netip.Addr{endpoint(i, 0, 0), endpoint(i, 1, 0)} }
func changed(i int) []netip.Addr  { return []netip.Addr{endpoint(i, 0, 0), endpoint(i, 1, 1)} }

func serviceObject(i int) *corev1.Service {
	ip := clusterIP(i).String()
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: serviceName(i)},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: servicePort}},
		},
	}
}

func sliceObject(i int, endpoints []netip.Addr) *discoveryv1.EndpointSlice {
	name, protocol, port, ready, node := "http", corev1.ProtocolTCP, int32(endpointPort), true, "node-"+strconv.Itoa(1+i%2)
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: serviceName(i), Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(i)}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
	}
	for _, a := range endpoints {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.String()}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	return s
}
