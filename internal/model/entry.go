package model

import "net/netip"

// HostEntry is hosts that somebody declares beside the Services of the cluster: a ServiceEntry.
type HostEntry struct {
	Hosts      []string       // names, or "*.suffix", in lower case
	Addresses  []netip.Prefix // virtual addresses that clients use
	Ports      []EntryPort    // in the declared order; no number and no name twice
	Resolution Resolution
	External   bool // not part of the mesh

	Endpoints []EntryEndpoint // as declared; see also Selector
	Selector  Labels          // workloads of the namespace that are endpoints; "" is none

	SANs     []string // of which a server's certificate must have one; empty: any
	Exported []string // the namespaces that see it: names, or "*"

	Seniority
	Origin Origin
}

// EntryPort is a port of a [HostEntry].
type EntryPort struct {
	Name     string
	Port     uint16
	Target   uint16 // of endpoints that do not say; 0: the same
	Protocol string // as declared, in upper case: "HTTP", "HTTPS", "GRPC", "HTTP2", "MONGO", "TCP", "TLS"
	Origin   Origin
}

// Resolution is how the endpoints of a [HostEntry] are found.
type Resolution uint8

const (
	// ResolveNone: whatever address the client asked for.
	ResolveNone Resolution = iota
	// ResolveStatic: those that are declared or selected.
	ResolveStatic
	// ResolveDNS: all addresses of the declared names, or of the host if there are none.
	ResolveDNS
	// ResolveDNSOne: the same, one address at a time.
	ResolveDNSOne
)

// EntryEndpoint is an endpoint that is declared with its labels: by a WorkloadEntry, or in a [HostEntry].
type EntryEndpoint struct {
	Name           ObjectName // the WorkloadEntry; zero if it has no object of its own
	Addr           netip.Addr // not valid if it is found by its Host
	Host           string     // DNS name, in lower case; "" if it has an Addr
	Ports          []EntryTarget
	Labels         Labels
	ServiceAccount string // in the namespace of who declares it
	Weight         uint32 // its share; 0: as if it were 1
	Origin         Origin
}

// EntryTarget is where an endpoint serves a port of another's, by that port's name.
type EntryTarget struct {
	Name string
	Port uint16
}

// PortFor gives where the endpoint serves the port of that name, or else target.
func (e *EntryEndpoint) PortFor(name string, target uint16) uint16 {
	for _, p := range e.Ports {
		if p.Name == name {
			return p.Port
		}
	}
	return target
}
