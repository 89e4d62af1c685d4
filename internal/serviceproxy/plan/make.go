package plan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// Here is the place a plan is for.
type Here struct {
	Node string
	Zone string // of the node; "" is not known
}

// Of makes what a node does for a Service. It gives nil if that is nothing, as for headless Services and aliases.
//
// Which endpoints count follows kube-proxy (KEP-1669, KEP-2086): those that are ready; if none is, those that still serve while they
// terminate; for a Local policy the same among the endpoints of this node. Where no Local policy says otherwise, those that are hinted for
// this node or its zone go before all others, if every one that is ready has such a hint (KEP-2433, KEP-3015).
func Of(svc *model.Service, eps *model.Endpoints, here Here) *Service {
	if svc == nil || svc.Kind != model.VIP || svc.Unproxied {
		return nil
	}
	out := &Service{Name: svc.Name}
	for _, port := range svc.Ports {
		all := eps.Of(port.Name, port.Protocol)
		out.addPort(svc, port, all, here)
	}
	slices.SortFunc(out.Frontends, func(a, b *Frontend) int { return a.Key.Compare(b.Key) })
	out.Frontends = slices.CompactFunc(out.Frontends, func(a, b *Frontend) bool { return a.Key == b.Key })
	if svc.HealthCheckNodePort != 0 {
		out.HealthCheck = HealthCheck{Port: svc.HealthCheckNodePort, LocalEndpoints: localReady(eps, here.Node)}
	}
	return out
}

func (s *Service) addPort(svc *model.Service, port model.Port, all []model.Endpoint, here Here) {
	for _, family := range [...]Family{IPv4, IPv6} {
		reachable := usable(all, family, hinted(all, family, here))
		var local []netip.AddrPort
		if svc.InternalLocal || svc.ExternalLocal {
			local = usable(all, family, func(e model.Endpoint) bool { return e.Node == here.Node })
		}
		var serving []netip.AddrPort
		if port.Protocol != model.TCP {
			serving = sorted(all, family, func(e model.Endpoint) bool { return e.Ready || e.Serving })
		}
		// With no endpoint anywhere the client is told at once; with none that the policy allows here, somebody else may answer.
		whenLocalEmpty := Drop
		if len(reachable) == 0 {
			whenLocalEmpty = Reject
		}
		add := func(kind Kind, addr netip.Addr, number uint16) *Frontend {
			f := &Frontend{
				Key:  Key{Addr: addr, Family: family, Protocol: port.Protocol, Port: number},
				Kind: kind, Service: svc.Name, PortName: port.Name,
				Endpoints: reachable,
				Serving:   serving,
				Affinity:  svc.AffinityTimeout,
				Origin:    port.Origin,
			}
			if kind != ClusterIP && svc.ExternalLocal {
				f.ExternalLocal, f.Local, f.OnEmptyLocal = true, local, whenLocalEmpty
			}
			if !svc.HasLost(model.Claim{Addr: addr, Protocol: port.Protocol, Port: number}) {
				s.Frontends = append(s.Frontends, f)
			}
			return f
		}
		for _, a := range ofFamily(svc.ClusterIPs, family) {
			f := add(ClusterIP, a, port.Port)
			if svc.InternalLocal {
				f.Endpoints, f.OnEmpty = local, whenLocalEmpty
			}
		}
		for _, a := range ofFamily(svc.ExternalIPs, family) {
			if !slices.Contains(svc.LoadBalancerIPs, a) { // else its source ranges hold
				add(ExternalIP, a, port.Port)
			}
		}
		for _, a := range ofFamily(svc.LoadBalancerIPs, family) {
			f := add(LoadBalancerIP, a, port.Port)
			if svc.Restricted {
				f.SourceRanges = rangesOf(svc.SourceRanges, family)
			}
		}
		if port.NodePort != 0 && has(svc, family) {
			add(NodePort, netip.Addr{}, port.NodePort)
		}
	}
}

// usable picks the endpoints that traffic may go to, sorted, each address and port once.
func usable(all []model.Endpoint, family Family, in func(model.Endpoint) bool) []netip.AddrPort {
	if ready := sorted(all, family, func(e model.Endpoint) bool { return e.Ready && in(e) }); len(ready) > 0 {
		return ready
	}
	return sorted(all, family, func(e model.Endpoint) bool { return e.Serving && e.Terminating && in(e) })
}

// sorted gives the endpoints of a family that are good, each address and port once.
func sorted(all []model.Endpoint, family Family, good func(model.Endpoint) bool) (out []netip.AddrPort) {
	for _, e := range all {
		if FamilyOf(e.AddrPort.Addr()) == family && e.AddrPort.Port() != 0 && good(e) {
			out = append(out, e.AddrPort)
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return slices.Compact(out)
}

// hinted tells which ready endpoints of a family traffic from here should keep to: all, unless each of them has a hint and one is for here.
func hinted(all []model.Endpoint, family Family, here Here) func(model.Endpoint) bool {
	everywhere := func(model.Endpoint) bool { return true }
	for _, hint := range [...]struct {
		name string
		of   func(model.Endpoint) string
	}{
		{here.Node, func(e model.Endpoint) string { return e.HintNodes }},
		{here.Zone, func(e model.Endpoint) string { return e.HintZones }},
	} {
		if hint.name == "" {
			continue
		}
		forHere := func(e model.Endpoint) bool {
			return slices.Contains(strings.Split(hint.of(e), ","), hint.name)
		}
		every, one := true, false
		for _, e := range all {
			if !e.Ready || FamilyOf(e.AddrPort.Addr()) != family {
				continue
			}
			every = every && hint.of(e) != ""
			one = one || forHere(e)
		}
		if every && one {
			return func(e model.Endpoint) bool { return !e.Ready || forHere(e) }
		}
	}
	return everywhere
}

func localReady(eps *model.Endpoints, node string) int {
	if eps == nil {
		return 0
	}
	seen := map[netip.Addr]bool{}
	for _, p := range eps.Ports {
		for _, e := range p.Endpoints {
			if e.Ready && e.Node == node {
				seen[e.AddrPort.Addr()] = true
			}
		}
	}
	return len(seen)
}

// has tells whether node ports are wanted in a family: the one of any of the Service's cluster addresses.
func has(svc *model.Service, family Family) bool {
	return len(ofFamily(svc.ClusterIPs, family)) > 0
}

func ofFamily(addrs []netip.Addr, family Family) (out []netip.Addr) {
	for _, a := range addrs {
		if FamilyOf(a) == family {
			out = append(out, a)
		}
	}
	return out
}

func rangesOf(all []netip.Prefix, family Family) []netip.Prefix {
	out := []netip.Prefix{}
	for _, p := range all {
		if FamilyOf(p.Addr()) == family {
			out = append(out, p)
		}
	}
	return out
}
