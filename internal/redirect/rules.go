package redirect

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// rule is what a packet must be like, and what happens then; the comment is for who lists the table.
type rule struct {
	comment string
	match   []steps
	then    steps
}

type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	rules    []rule
}

func (c *chain) add(comment string, then steps, match ...steps) {
	c.rules = append(c.rules, rule{comment, match, then})
}

var (
	loopback    = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	passthrough = []netip.Prefix{netip.MustParsePrefix("127.0.0.6/32"), netip.MustParsePrefix("::6/128")}
)

// guardPriority is after conntrack knows the packet, and before anything is turned.
const guardPriority nftables.ChainPriority = -150

// chains says what the package comment says.
func (c Config) chains() []chain {
	return []chain{c.guard(), c.inbound(), c.outbound()}
}

func (c Config) guard() chain {
	out := chain{name: "guard", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookPrerouting, priority: guardPriority}
	for _, port := range []uint16{c.Outbound, c.Inbound} {
		out.add("nobody calls the proxy by this number", reset(), tcp(), dport(port), isNew(), notTranslated(), daddrIsLocal())
	}
	return out
}

func (c Config) inbound() chain {
	out := chain{name: "inbound", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityNATDest}
	for _, name := range c.ExcludeInterfaces {
		out.add("excluded interface", stays(), from(name))
	}
	out.add("tunnels", stays(), tcp(), dport(tunnelPort))
	for _, port := range slices.Concat(AlwaysExcluded, c.ExcludeInbound) {
		out.add("excluded port", stays(), tcp(), dport(port))
	}
	if c.InboundPorts.All {
		out.add("everything", turnTo(c.Inbound), tcp())
	}
	for _, port := range c.InboundPorts.List {
		out.add("included port", turnTo(c.Inbound), tcp(), dport(port))
	}
	return out
}

func (c Config) outbound() chain {
	out := chain{name: "outbound", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookOutput, priority: *nftables.ChainPriorityNATDest}
	for _, name := range c.ExcludeInterfaces {
		out.add("excluded interface", stays(), to(name))
	}
	for _, port := range c.ExcludeOutbound {
		out.add("excluded port", stays(), tcp(), dport(port))
	}
	for _, own := range passthrough {
		out.add("what the proxy hands to the application", stays(), to("lo"), saddr(own))
	}
	// Both the user and the group of the proxy make a connection its own. As Istio does, first all that concerns the user, then the group.
	for _, own := range []struct {
		is, isNot steps
	}{{user(c.ProxyUID, false), user(c.ProxyUID, true)}, {group(c.ProxyGID, false), group(c.ProxyGID, true)}} {
		for _, p := range loopback {
			out.add("the Pod calls its own Service", turnTo(c.Inbound), to("lo"), notDaddr(p), tcp(), notDport(tunnelPort), own.is)
		}
		out.add("the Pod calls itself", stays(), to("lo"), own.isNot)
		out.add("the proxy itself", stays(), own.is)
	}
	for _, p := range loopback {
		out.add("loopback", stays(), daddr(p))
	}
	for _, p := range c.ExcludeRanges {
		out.add("excluded range", stays(), daddr(p))
	}
	for _, port := range c.OutboundPorts {
		out.add("included port", turnTo(c.Outbound), tcp(), dport(port))
	}
	for _, p := range c.OutboundRanges {
		out.add("included range", turnTo(c.Outbound), tcp(), daddr(p))
	}
	return out
}

func stays() steps { return steps{&expr.Verdict{Kind: expr.VerdictReturn}} }
