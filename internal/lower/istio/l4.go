package istio

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/model"
)

func (s *routes) lowerTLS(list []*networking.TLSRoute) (out []model.L4Route) {
	for i, in := range list {
		at := s.at("tls", i)
		route := model.L4Route{Origin: at.where}
		if len(in.GetMatch()) == 0 {
			at.in("match").errorf(codeMissing, "a TLS route needs a match; it is left out")
			continue
		}
		for j, m := range in.Match {
			if match, ok := s.tlsMatch(m, at.at("match", j)); ok {
				route.Matches = append(route.Matches, match)
			}
		}
		if len(route.Matches) > 0 {
			route.To = s.shares(in.Route, at)
			out = append(out, route)
		}
	}
	return out
}

func (s *routes) tlsMatch(m *networking.TLSMatchAttributes, at spot) (out model.L4Match, ok bool) {
	if m == nil || len(m.SniHosts) == 0 {
		at.in("sniHosts").errorf(codeMissing, "a TLS match needs a host; it is left out")
		return out, false
	}
	out.Origin = at.where
	for i, h := range m.SniHosts {
		spot := at.at("sniHosts", i)
		host := strings.ToLower(strings.TrimSuffix(h, "."))
		if wrong := wrongHost(host); wrong != "" && !isAddress(host) {
			spot.errorf(codeHost, "%q %s; it is left out", h, wrong)
			continue
		}
		if !slices.ContainsFunc(s.hosts, func(of string) bool { return covers(of, host) }) {
			spot.errorf(codeHost, "%q is none of the hosts of the VirtualService; it is left out", h)
			continue
		}
		out.SNI = append(out.SNI, host)
	}
	ok = s.l4(&out, m.Port, m.Gateways, m.SourceLabels, m.SourceNamespace, at)
	return out, s.subnets(&out, m.DestinationSubnets, "", at) && ok && len(out.SNI) > 0
}

func (s *routes) lowerTCP(list []*networking.TCPRoute) (out []model.L4Route) {
	for i, in := range list {
		at := s.at("tcp", i)
		route := model.L4Route{Origin: at.where}
		for j, m := range in.GetMatch() {
			match := model.L4Match{Origin: at.at("match", j).where}
			ok := s.l4(&match, m.GetPort(), m.GetGateways(), m.GetSourceLabels(), m.GetSourceNamespace(), at.at("match", j))
			if s.subnets(&match, m.GetDestinationSubnets(), m.GetSourceSubnet(), at.at("match", j)) && ok {
				route.Matches = append(route.Matches, match)
			}
		}
		if len(in.GetMatch()) > 0 && len(route.Matches) == 0 {
			continue
		}
		route.To = s.shares(in.GetRoute(), at)
		out = append(out, route)
	}
	return out
}

// l4 reads what matches of connections have in common.
func (s *routes) l4(out *model.L4Match, port uint32, gateways []string, labels map[string]string, namespace string, at spot) (ok bool) {
	c, ok := s.conditions(port, gateways, labels, namespace, at)
	out.Port, out.Gateways, out.SourceLabels, out.SourceNamespace = c.Port, c.Gateways, c.SourceLabels, c.SourceNamespace
	return ok
}

// subnets reads the addresses of a match. Only sidecars can tell where a connection went, and nobody asks where it came from: without such a condition the match
// would take more than was meant.
func (s *routes) subnets(out *model.L4Match, destination []string, source string, at spot) bool {
	ok := source == ""
	if !ok {
		at.in("sourceSubnet").errorf(codeUnsupported, "is not supported; the match is left out")
	}
	if len(destination) == 0 {
		return ok
	}
	switch mesh := slices.Contains(s.gateways, model.GatewayName{Kind: model.Mesh}); {
	case !mesh:
		at.in("destinationSubnets").errorf(codeUnsupported, "is not supported at gateways; the match is left out")
		return false
	case len(s.gateways) > 1:
		at.in("destinationSubnets").warnf(codeUnsupported, "is for sidecars; at gateways the match never holds")
	}
	for i, text := range destination {
		p, err := subnet(text)
		if err != nil {
			at.at("destinationSubnets", i).errorf(codeAddress, "%q is neither an address nor a range of addresses; the match is left out", text)
			return false
		}
		out.Subnets = append(out.Subnets, p)
	}
	return ok
}

// subnet reads "10.0.0.0/8", or one address.
func subnet(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if p.Addr().Is4In6() {
		return p, errors.New("an IPv4 address in IPv6")
	}
	return p.Masked(), err
}

// shares reads the destinations of connections.
func (s *routes) shares(list []*networking.RouteDestination, at spot) (out []model.Weighted) {
	if len(list) == 0 {
		at.in("route").errorf(codeMissing, "is needed; connections are refused")
	}
	for i, d := range list {
		to := at.at("route", i)
		out = append(out, model.Weighted{Destination: s.destination(d.GetDestination(), to.in("destination"), "connections there are refused"), Weight: weight(d.GetWeight(), to), Origin: to.where})
	}
	if !sumFits(out, at.in("route")) {
		return nil
	}
	return out
}

func weight(w int32, at spot) uint32 {
	if w < 0 {
		at.in("weight").errorf(codeWeight, "%d is negative; it counts as 0", w)
		return 0
	}
	return uint32(w)
}

// sumFits tells whether weights can be carried out: several destinations need some weight, and all weights together must fit into 32 bits.
func sumFits(list []model.Weighted, at spot) bool {
	if len(list) < 2 {
		return true
	}
	var sum uint64
	for _, w := range list {
		sum += uint64(w.Weight)
	}
	switch {
	case sum == 0:
		at.errorf(codeWeight, "all weights are 0, so that nothing can be picked; the rule has no effect")
	case sum > 1<<32-1:
		at.errorf(codeWeight, "the weights add up to %d, more than can be counted; the rule has no effect", sum)
	}
	return sum > 0 && sum <= 1<<32-1
}
