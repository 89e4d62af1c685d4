package model

import (
	"cmp"
	"net/netip"
	"slices"
)

// Endpoints is where a Service leads: the union of its EndpointSlices, without duplicates.
type Endpoints struct {
	Service ServiceName
	Ports   []PortEndpoints // sorted by port name, then protocol
}

// PortEndpoints is the endpoints behind one named port of a Service.
type PortEndpoints struct {
	Port      string // the Service port's name; "" if it has none
	Protocol  Protocol
	Endpoints []Endpoint // sorted by address, then port; no address and port twice
}

// Endpoint is one place that serves.
type Endpoint struct {
	AddrPort netip.AddrPort // port 0 only for headless Services without ports
	Hostname string         // DNS label of its own, "" if none
	Node     string
	Zone     string
	Workload string // name of the Pod behind it in the Service's namespace, "" if it is none

	// Ready, Serving and Terminating are the endpoint conditions of the EndpointSlice API. Ready is never true while Terminating,
	// unless the Service publishes addresses that are not ready: whoever makes the slice says so there.
	Ready, Serving, Terminating bool

	// HintNodes and HintZones are where clients should be that use this endpoint, names separated by commas; "" is no hint (KEP-2433, KEP-3015).
	HintNodes, HintZones string

	Origin Origin // the EndpointSlice
}

// Of gives the endpoints behind a Service port, nil if there are none.
func (e *Endpoints) Of(port string, proto Protocol) []Endpoint {
	if e == nil {
		return nil
	}
	for i := range e.Ports {
		if p := &e.Ports[i]; p.Port == port && p.Protocol == proto {
			return p.Endpoints
		}
	}
	return nil
}

// Equal tells whether two sets lead to the same places.
func (e *Endpoints) Equal(o *Endpoints) bool {
	if e == o {
		return true
	}
	if e == nil || o == nil {
		return false
	}
	return e.Service == o.Service && slices.EqualFunc(e.Ports, o.Ports, func(a, b PortEndpoints) bool {
		return a.Port == b.Port && a.Protocol == b.Protocol && slices.Equal(a.Endpoints, b.Endpoints)
	})
}

// Compare orders endpoints by address and port.
func (e Endpoint) Compare(o Endpoint) int { return e.AddrPort.Compare(o.AddrPort) }

// ComparePorts orders the ports of a set.
func ComparePorts(a, b PortEndpoints) int {
	return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
}
