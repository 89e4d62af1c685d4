package resource

import (
	"net/netip"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

// passthrough is where connections go that lead to nothing the mesh knows.
func (o Options) passthrough() string {
	if o.RegistryOnly {
		return NoCluster
	}
	return PassthroughCluster
}

// IndexedOutboundListener says the listener of outgoing connections of a sidecar that knows the mesh by its index. traced is what its spans say whose they
// are.
func IndexedOutboundListener(namespace, traced string, o Options) *listenerv3.Listener {
	l := sidecarListener(IndexedOutbound, outboundPort, corev3.TrafficDirection_OUTBOUND)
	http := o.sidecarHTTP("outbound")
	http.HttpFilters, http.Tracing = slices.Concat(o.peers(), routed()), o.tracing(traced)
	l.DefaultFilterChain = &listenerv3.FilterChain{Name: "outbound", Filters: []*listenerv3.Filter{networkFilter("weft.mesh.v1.Outbound", &meshpb.Outbound{
		Namespace: utf8(namespace), ClusterDomain: o.domain(), Http: pack(http), Tcp: pack(o.sidecarTCP("")), Passthrough: o.passthrough(), Workloads: WorkloadsCluster,
	})}}
	return l
}

func (o Options) domain() string {
	if o.Domain == "" {
		return "cluster.local"
	}
	return o.Domain
}

// OutboundListener says the listener of outgoing connections of a sidecar that has to be told everything beforehand, as Envoy has: a chain for each
// port where HTTP is spoken, and one for each address and port where something else is. rules may be nil.
func OutboundListener(hosts []*model.MeshHost, rules Rules, traced string, o Options) *listenerv3.Listener {
	l := sidecarListener(OutboundName, outboundPort, corev3.TrafficDirection_OUTBOUND)
	b := outboundChains{o: o, traced: traced, rules: rules, ports: map[uint16]*outboundTo{}}
	b.add("blackhole", destined(outboundPort), o.sidecarTCPFilter(NoCluster)) // who dials the port itself would come back for ever
	for _, h := range hosts {
		b.host(h)
	}
	ports := make([]uint16, 0, len(b.ports))
	for p := range b.ports {
		ports = append(ports, p)
	}
	slices.Sort(ports)
	for _, p := range ports {
		if b.ports[p].http {
			b.http("0.0.0.0_"+strconv.Itoa(int(p)), p, nil)
		}
		other := b.ports[p].other
		if other == nil {
			other = o.sidecarTCPFilter(o.passthrough())
		}
		b.add("0.0.0.0_"+strconv.Itoa(int(p))+"_other", destined(p), other)
	}
	l.FilterChains = b.chains
	l.DefaultFilterChain = &listenerv3.FilterChain{Name: "passthrough", Filters: []*listenerv3.Filter{o.sidecarTCPFilter(o.passthrough())}}
	l.ListenerFilters = append(l.ListenerFilters, inspectors(b.serversMayBegin(ports))...)
	return l
}

// outboundTo is what is known of one port number.
type outboundTo struct {
	http  bool // somebody speaks HTTP there, so a request is led by its Host whatever the address
	auto  bool // somebody does not say what is spoken there
	names bool // the client's SNI counts
	taken map[netip.Prefix]bool
	said  map[said]bool
	other *listenerv3.Filter // of what no chain takes; nil: it goes where the client wants to go
}

// said is a part of what a chain matches: no two may match the same.
type said struct {
	at   netip.Prefix // not valid: any address
	name string       // "": any
}

type outboundChains struct {
	o      Options
	traced string
	rules  Rules
	chains []*listenerv3.FilterChain
	ports  map[uint16]*outboundTo
}

func (b *outboundChains) add(name string, m *listenerv3.FilterChainMatch, f *listenerv3.Filter) {
	b.chains = append(b.chains, &listenerv3.FilterChain{Name: name, FilterChainMatch: m, Filters: []*listenerv3.Filter{f}})
}

func (b *outboundChains) host(h *model.MeshHost) {
	for _, p := range h.Ports {
		to := b.ports[p.Port]
		if to == nil {
			to = &outboundTo{taken: map[netip.Prefix]bool{}, said: map[said]bool{}}
			b.ports[p.Port] = to
		}
		if p.Protocol == model.ProtocolHTTP || p.Protocol == model.ProtocolHTTP2 {
			to.http = true
			continue
		}
		to.auto = to.auto || p.Protocol == model.ProtocolAuto
		var rules []model.ConnectionRule
		if h.Ruled && b.rules != nil {
			rules = b.rules(h, p.Port)
		}
		all := ranges(h)
		at := slices.DeleteFunc(slices.Clone(all), func(r netip.Prefix) bool { return to.taken[r] }) // the first of those that claim an address has it
		if len(at) == 0 && (len(all) > 0 || len(rules) == 0 || !h.Anywhere) {
			continue
		}
		for _, r := range at {
			to.taken[r] = true
		}
		name := ClusterName(model.Destination{Host: h.Host, Port: p.Port})
		switch {
		case p.Protocol != model.ProtocolAuto:
		case len(at) == 0:
			to.http = true
		default:
			b.http(name+"_http", p.Port, cidrs(at))
		}
		if len(rules) > 0 {
			b.ruled(name, p.Port, at, rules)
			continue
		}
		for _, r := range at {
			to.said[said{at: r}] = true
		}
		b.add(name, destined(p.Port, cidrs(at)...), b.o.sidecarTCPFilter(name))
	}
}

// ranges are the addresses that stand for a host.
func ranges(h *model.MeshHost) []netip.Prefix {
	out := slices.Clone(h.Prefixes)
	for _, a := range h.Addresses {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// http adds a chain for what begins with HTTP.
func (b *outboundChains) http(name string, port uint16, at []*corev3.CidrRange) {
	h := b.o.sidecarHTTP(statPrefix("outbound", port))
	h.HttpFilters, h.Tracing = slices.Concat(b.o.peers(), routed()), b.o.tracing(b.traced)
	h.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: strconv.Itoa(int(port))}}
	m := destined(port, at...)
	m.ApplicationProtocols = httpALPN()
	b.add(name, m, networkFilter(hcmFilter, h))
}

// serversMayBegin tells at which ports nobody waits for the client, because only bytes are spoken there.
func (b *outboundChains) serversMayBegin(ports []uint16) *listenerv3.ListenerFilterChainMatchPredicate {
	var rules []*listenerv3.ListenerFilterChainMatchPredicate
	for _, p := range ports {
		if to := b.ports[p]; !to.auto && !to.http && !to.names {
			rules = append(rules, &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange{
				DestinationPortRange: &typev3.Int32Range{Start: int32(p), End: int32(p) + 1},
			}})
		}
	}
	switch len(rules) {
	case 0:
		return nil
	case 1:
		return rules[0]
	}
	return &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_OrMatch{
		OrMatch: &listenerv3.ListenerFilterChainMatchPredicate_MatchSet{Rules: rules},
	}}
}

func (o Options) sidecarTCPFilter(cluster string) *listenerv3.Filter {
	return networkFilter(tcpProxyFilter, o.sidecarTCP(cluster))
}

func cidrs(list []netip.Prefix) (out []*corev3.CidrRange) {
	for _, p := range list {
		out = append(out, cidr(p))
	}
	return out
}

func cidr(p netip.Prefix) *corev3.CidrRange {
	return &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}
}
