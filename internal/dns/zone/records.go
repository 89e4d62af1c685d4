package zone

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/dns/wire"
	"github.com/weftmesh/weft/internal/model"
)

// Records is all that the cluster's DNS says of one Service. It is immutable; two that say the same are Equal.
type Records struct {
	service model.ServiceName
	kind    model.ServiceKind
	name    string // the Service's full name in wire form

	addresses addresses // of the Service's own name
	hosts     []host    // the names under it that are endpoints, sorted by label
	ports     []port    // sorted by name, then protocol
	alias     string    // the canonical name in wire form, "" if the Service is none

	origin model.Origin
	slices []model.Origin // the EndpointSlices that endpoints came from, sorted
}

// host is an endpoint's name under its Service.
type host struct {
	label     string
	addresses addresses
	slices    []uint16 // indexes into Records.slices, sorted
}

// port is what SRV says of one port of a Service.
type port struct {
	name     string // "" if it has none: then only the Service's own name leads to it
	protocol model.Protocol
	targets  []target // sorted
}

// target is where a port is served: at the Service itself (host -1) or at one of its hosts.
type target struct {
	host   int32
	number uint16
}

// addresses is a set of addresses in the order of netip, which puts IPv4 before IPv6.
type addresses []netip.Addr

// of gives the addresses that a record type can say.
func (a addresses) of(t wire.Type) addresses {
	six, _ := slices.BinarySearchFunc(a, netip.IPv6Unspecified(), netip.Addr.Compare)
	switch t {
	case wire.TypeA:
		return a[:six]
	case wire.TypeAAAA:
		return a[six:]
	}
	return nil
}

// Service tells whose records they are.
func (r *Records) Service() model.ServiceName { return r.service }

// Empty tells whether there is nothing to publish, so that the Service's name does not exist: a headless Service without ready endpoints,
// or an alias that cannot be one.
func (r *Records) Empty() bool { return len(r.addresses) == 0 && r.alias == "" }

// Count is the number of resource records, PTR included.
func (r *Records) Count() int {
	n := len(r.addresses)
	if r.kind == model.VIP {
		n *= 2 // and their PTR
	}
	if r.alias != "" {
		n++
	}
	for i := range r.hosts {
		n += 2 * len(r.hosts[i].addresses)
	}
	for i := range r.ports {
		if r.ports[i].name != "" {
			n += len(r.ports[i].targets)
		}
	}
	return n
}

// Equal tells whether two Records say the same, of the same origins.
func (r *Records) Equal(o *Records) bool {
	if r == o {
		return true
	}
	if r == nil || o == nil {
		return false
	}
	return r.service == o.service && r.kind == o.kind && r.name == o.name && r.alias == o.alias && r.origin == o.origin &&
		slices.Equal(r.addresses, o.addresses) && slices.Equal(r.slices, o.slices) &&
		slices.EqualFunc(r.hosts, o.hosts, func(a, b host) bool {
			return a.label == b.label && slices.Equal(a.addresses, b.addresses) && slices.Equal(a.slices, b.slices)
		}) &&
		slices.EqualFunc(r.ports, o.ports, func(a, b port) bool {
			return a.name == b.name && a.protocol == b.protocol && slices.Equal(a.targets, b.targets)
		})
}

// key is the part of the Service's name that is its own: name and namespace, in wire form.
func (r *Records) key() string {
	namespace := 1 + int(r.name[0])
	return r.name[:namespace+1+int(r.name[namespace])]
}

// findHost gives the index of a host by its label, -1 if there is none.
func (r *Records) findHost(label []byte) int {
	i, ok := slices.BinarySearchFunc(r.hosts, label, func(h host, l []byte) int { return cmp.Compare(h.label, string(l)) })
	if !ok {
		return -1
	}
	return i
}

// findPort gives the index of a named port by its labels as they stand in a name ("_http", "_tcp"), -1 if there is none.
func (r *Records) findPort(name, protocol []byte) int {
	p, ok := protocolOf(protocol)
	if !ok || len(name) < 2 || name[0] != '_' {
		return -1
	}
	for i := range r.ports {
		if r.ports[i].name == string(name[1:]) && r.ports[i].protocol == p {
			return i
		}
	}
	return -1
}

// hasProtocol tells whether there are names under the label of a protocol.
func (r *Records) hasProtocol(label []byte) bool {
	p, ok := protocolOf(label)
	return ok && slices.ContainsFunc(r.ports, func(q port) bool { return q.name != "" && q.protocol == p })
}

// protocolOf reads the label of a protocol.
func protocolOf(label []byte) (model.Protocol, bool) {
	switch string(label) {
	case "_tcp":
		return model.TCP, true
	case "_udp":
		return model.UDP, true
	case "_sctp":
		return model.SCTP, true
	}
	return 0, false
}
