package zone

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/dns/wire"
	"github.com/weftmesh/weft/internal/model"
)

// RecordsOf gives what DNS says of a Service and its endpoints (nil: it has none) in the cluster domain, "cluster.local" with or without a
// final dot. It is a pure function. Names that DNS cannot have (an endpoint's hostname of 70 bytes) are left out, each for itself; a Service
// that cannot be named at all gives nil.
func RecordsOf(domain string, svc *model.Service, eps *model.Endpoints) *Records {
	service, namespace := label(svc.Name.Name), label(svc.Name.Namespace)
	if service == "" || namespace == "" {
		return nil
	}
	name, err := wire.Pack(service + "." + namespace + ".svc." + domain)
	if err != nil {
		return nil
	}
	r := &Records{service: svc.Name, kind: svc.Kind, name: name, origin: svc.Origin}
	switch svc.Kind {
	case model.External:
		r.alias = aliasOf(svc.ExternalName)
	case model.Headless:
		b := builder{Records: r, publishNotReady: svc.PublishNotReady}
		b.endpoints(eps, true)
		b.headless(eps)
	default:
		b := builder{Records: r, publishNotReady: svc.PublishNotReady}
		r.addresses = sorted(svc.ClusterIPs)
		b.endpoints(eps, false)
		for _, p := range svc.Ports {
			b.port(p.Name, p.Protocol, []target{{host: -1, number: p.Port}})
		}
		slices.SortFunc(r.ports, comparePorts)
	}
	return r
}

// label gives a DNS label in lower case, "" if s is none.
func label(s string) string {
	if len(s) > wire.MaxLabel || strings.Contains(s, ".") {
		return ""
	}
	return strings.ToLower(s)
}

// aliasOf gives the wire form of an ExternalName. An address is no name: it would read as one that does not exist.
func aliasOf(external string) string {
	external = strings.TrimSuffix(external, ".")
	if _, err := netip.ParseAddr(external); err == nil || external == "" {
		return ""
	}
	w, err := wire.Pack(external)
	if err != nil {
		return ""
	}
	return w
}

// builder collects Records from endpoints.
type builder struct {
	*Records
	publishNotReady bool
	index           map[string]int32 // host by label, after endpoints
}

// ready is the specification's "ready".
func (b *builder) ready(e *model.Endpoint) bool {
	return (e.Ready || b.publishNotReady) && e.AddrPort.Addr().IsValid()
}

// endpoints makes the hosts, of all ready endpoints or only of those that have a hostname of their own, and the list of slices.
func (b *builder) endpoints(eps *model.Endpoints, all bool) {
	if eps == nil {
		return
	}
	from := map[model.Origin]uint16{}
	for i := range eps.Ports {
		for j := range eps.Ports[i].Endpoints {
			if e := &eps.Ports[i].Endpoints[j]; b.ready(e) && (all || e.Hostname != "") {
				from[e.Origin.At("")] = 0
			}
		}
	}
	if len(from) == 0 {
		return
	}
	for o := range from {
		b.slices = append(b.slices, o)
	}
	slices.SortFunc(b.slices, func(x, y model.Origin) int { return x.Object.Compare(y.Object) })
	for i, o := range b.slices {
		from[o] = uint16(min(i, math.MaxUint16))
	}

	hosts := map[string]*host{}
	for i := range eps.Ports {
		for j := range eps.Ports[i].Endpoints {
			e := &eps.Ports[i].Endpoints[j]
			if !b.ready(e) || !all && e.Hostname == "" {
				continue
			}
			l := b.hostLabel(e)
			h := hosts[l]
			if h == nil {
				h = &host{label: l}
				hosts[l] = h
			}
			h.addresses = append(h.addresses, e.AddrPort.Addr())
			h.slices = append(h.slices, from[e.Origin.At("")])
		}
	}
	b.hosts = make([]host, 0, len(hosts))
	for _, h := range hosts {
		b.hosts = append(b.hosts, host{label: h.label, addresses: sorted(h.addresses), slices: sorted16(h.slices)})
	}
	slices.SortFunc(b.hosts, func(x, y host) int { return strings.Compare(x.label, y.label) })
	b.index = make(map[string]int32, len(b.hosts))
	for i := range b.hosts {
		b.index[b.hosts[i].label] = int32(i)
	}
}

// headless makes the addresses and the ports of a headless Service from its hosts.
func (b *builder) headless(eps *model.Endpoints) {
	if eps == nil {
		return
	}
	var all []netip.Addr
	for i := range b.hosts {
		all = append(all, b.hosts[i].addresses...)
	}
	b.addresses = sorted(all)
	for i := range eps.Ports {
		p := &eps.Ports[i]
		var targets []target
		for j := range p.Endpoints {
			if e := &p.Endpoints[j]; b.ready(e) && e.AddrPort.Port() != 0 {
				targets = append(targets, target{host: b.index[b.hostLabel(e)], number: e.AddrPort.Port()})
			}
		}
		slices.SortFunc(targets, func(x, y target) int { return cmp.Or(cmp.Compare(x.host, y.host), cmp.Compare(x.number, y.number)) })
		b.port(p.Port, p.Protocol, slices.Clip(slices.Compact(targets)))
	}
	slices.SortFunc(b.ports, comparePorts)
}

// port adds a port unless nobody serves it or its name cannot be part of a name.
func (b *builder) port(name string, protocol model.Protocol, targets []target) {
	if len(targets) == 0 || len("_")+len(name) > wire.MaxLabel || len("\x00_\x05_sctp")+len(name)+len(b.name) > wire.MaxName {
		return
	}
	b.ports = append(b.ports, port{name: strings.ToLower(name), protocol: protocol, targets: targets})
}

func comparePorts(x, y port) int {
	return cmp.Or(strings.Compare(x.name, y.name), cmp.Compare(x.protocol, y.protocol))
}

// hostLabel is the specification's "hostname" of an endpoint: its own, or one made of its address.
func (b *builder) hostLabel(e *model.Endpoint) string {
	if l := label(e.Hostname); l != "" && 1+len(l)+len(b.name) <= wire.MaxName {
		return l
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(e.AddrPort.Addr().WithZone("").String())
}

// sorted gives the set of the addresses, in order.
func sorted(all []netip.Addr) addresses {
	s := slices.Clone(all)
	slices.SortFunc(s, netip.Addr.Compare)
	return slices.Clip(slices.Compact(s))
}

func sorted16(all []uint16) []uint16 {
	slices.Sort(all)
	return slices.Clip(slices.Compact(all))
}
