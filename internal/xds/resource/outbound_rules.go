package resource

import (
	"net/netip"
	"slices"
	"strconv"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/internal/model"
)

// ruled adds the chains of a host at a port of which rules say where connections lead. at are the addresses that stand for it.
func (b *outboundChains) ruled(name string, port uint16, at []netip.Prefix, rules []model.ConnectionRule) {
	n := 0
	add := func(rule *model.ConnectionRule, at []netip.Prefix) {
		b.rule(name+"_rule"+strconv.Itoa(n), port, at, rule)
		n++
	}
	addresses := slices.DeleteFunc(slices.Clone(at), func(p netip.Prefix) bool { return !p.IsSingleIP() })
	switch {
	case len(addresses) == 0: // rules without subnets have those of the host
		for i := range rules {
			add(&rules[i], rules[i].Subnets)
		}
	case !slices.ContainsFunc(rules, func(r model.ConnectionRule) bool { return len(r.Subnets) > 0 }):
		for i := range rules {
			add(&rules[i], at)
		}
	default: // which of the rules count for an address is known beforehand
		for _, a := range addresses {
			closest := model.ClosestRules(rules, a.Addr())
			for _, rule := range closest {
				add(rule, []netip.Prefix{a})
			}
			if rest := model.RestRule(rules); rest != nil {
				add(rest, []netip.Prefix{a})
			}
		}
	}
}

// rule adds a chain for connections to some addresses, or any if there are none, less what a chain before it matches.
func (b *outboundChains) rule(name string, port uint16, at []netip.Prefix, rule *model.ConnectionRule) {
	to := b.ports[port]
	f := networkFilter(tcpProxyFilter, b.o.logged(tcpTo(rule.To)))
	names := slices.DeleteFunc(slices.Clone(rule.SNI), func(n string) bool { return !sayableSNI(n) })
	if len(rule.SNI) > 0 && len(names) == 0 {
		return
	}
	if len(at) == 0 && len(names) == 0 {
		if to.other == nil {
			to.other = f
		}
		return
	}
	to.names = to.names || len(names) > 0
	if len(at) == 0 {
		at = []netip.Prefix{{}}
	}
	if len(names) == 0 {
		names = []string{""}
	}
	// What is left of it as one chain, or if it is not the same everywhere one for each address.
	var groups [][]netip.Prefix
	var left [][]string
	for _, a := range at {
		free := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
			taken := to.said[said{a, n}]
			to.said[said{a, n}] = true
			return taken
		})
		switch i := len(groups) - 1; {
		case len(free) == 0:
		case i >= 0 && slices.Equal(left[i], free):
			groups[i] = append(groups[i], a)
		default:
			groups, left = append(groups, []netip.Prefix{a}), append(left, free)
		}
	}
	for i := range groups {
		m := destined(port)
		if groups[i][0].IsValid() {
			m = destined(port, cidrs(groups[i])...)
		}
		if left[i][0] != "" {
			m.ServerNames = left[i]
		}
		b.chains = append(b.chains, &listenerv3.FilterChain{
			Name: utf8(name + suffix(i)), FilterChainMatch: m, Filters: []*listenerv3.Filter{f}, Metadata: metadata(rule.Origin),
		})
	}
}

func suffix(i int) string {
	if i == 0 {
		return ""
	}
	return "_" + strconv.Itoa(i)
}
