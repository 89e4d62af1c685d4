package nftables

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// rule is a rule ready to be sent: its expressions, encoded, and a comment for who lists the table.
type rule struct {
	exprs   []byte // content of NFTA_RULE_EXPRESSIONS
	comment string
	err     error // why it could not be encoded
}

// chain is a chain that is wanted, with all its rules.
type chain struct {
	name  string
	hook  *hook // nil: reached only from other chains
	rules []rule
}

type hook struct {
	kind     string
	number   uint32
	priority int32
}

const (
	priorityDNAT  = -100
	priorityAfter = -90 // right after translation of destinations
	prioritySNAT  = 100
	priorityPlain = 0
)

// skeleton gives the chains that do not depend on Services.
func skeleton(fam family, cfg plan.Config) []chain {
	r := rules{fam: fam, mark: cfg.MasqueradeMark}
	return slices.Concat(r.translation(cfg), r.sources(cfg), r.rejection(cfg), []chain{r.strayReplies()})
}

// translation is where destinations are translated. Sources outside the cluster meet the maps ending in "-local" first.
func (r rules) translation(cfg plan.Config) []chain {
	limits := r.rule("loadBalancerSourceRanges", r.key(0, false), r.member(0, ranged, false),
		r.saddr(r.keyRegs()), r.member(0, sources, true), end(expr.VerdictDrop))
	prerouting := chain{name: "nat-prerouting", hook: &hook{"nat", unix.NF_INET_PRE_ROUTING, priorityDNAT}}
	prerouting.add(limits)
	for _, p := range ofFamily(cfg.ClusterCIDRs, r.fam) {
		prerouting.add(r.rule("", r.prefix(r.saddr(0), p), goTo("services")))
	}
	prerouting.add(r.rule("", goTo("services-outside")))
	output := chain{name: "nat-output", hook: &hook{"nat", unix.NF_INET_LOCAL_OUT, priorityDNAT}}
	output.add(limits, r.rule("", goTo("services")))

	outside := chain{name: "services-outside"}
	outside.add(
		r.rule("", r.key(0, false), r.lookup(0, servicesLocal, 0)),
		r.rule("", r.daddrIsLocal(), jump("nodeports-outside")),
		r.rule("", goTo("services")),
	)
	everybody := chain{name: "services"}
	everybody.add(
		r.rule("", r.key(0, false), r.lookup(0, services, 0)),
		r.rule("", r.daddrIsLocal(), goTo("nodeports")),
	)
	return []chain{
		prerouting, output, outside, everybody,
		r.nodePorts("nodeports", cfg, r.key(0, true), r.lookup(0, services, 0)),
		r.nodePorts("nodeports-outside", cfg, r.key(0, true), r.lookup(0, servicesLocal, 0)),
	}
}

// sources is where sources are translated: balancers mark what needs that. Without ClusterCIDRs in the family everybody is outside.
func (r rules) sources(cfg plan.Config) []chain {
	mark := chain{name: "mark-outside"}
	for _, p := range ofFamily(cfg.ClusterCIDRs, r.fam) {
		mark.add(r.rule("", r.prefix(r.saddr(0), p), end(expr.VerdictReturn)))
	}
	mark.add(r.rule("masquerade what comes from outside the cluster, so that replies come back this way", r.setMark()))
	postrouting := chain{name: "nat-postrouting", hook: &hook{"nat", unix.NF_INET_POST_ROUTING, prioritySNAT}}
	postrouting.add(
		r.rule("", r.isMarked(), r.clearMark(), masquerade()),
		r.rule("an endpoint that reaches itself",
			r.translated(), r.saddr(0), r.daddr(r.addrRegs()), r.member(0, hairpin, false), masquerade()),
	)
	return []chain{mark, postrouting}
}

// rejection is for packets that open a connection and were not translated although they should have been.
func (r rules) rejection(cfg plan.Config) []chain {
	unanswered := chain{name: "unanswered"}
	unanswered.add(
		r.rule("", r.translated(), end(expr.VerdictReturn)),
		r.rule("no endpoints", r.key(0, false), r.member(0, refused, false), goTo("refuse")),
		r.rule("", r.daddrIsLocal(), goTo("nodeports-unanswered")),
		r.rule("no such port", r.daddr(0), r.member(0, vips, false), goTo("refuse")),
	)
	for _, p := range ofFamily(cfg.VirtualRanges, r.fam) {
		unanswered.add(r.rule("no such Service", r.prefix(r.daddr(0), p), goTo("refuse")))
	}
	portUnreachable := [...]uint8{3, 4}[r.fam]
	refuse := chain{name: "refuse"}
	refuse.add(
		r.rule("", steps{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(0)}, equal(0, []byte{unix.IPPROTO_TCP}), &expr.Reject{Type: unix.NFT_REJECT_TCP_RST},
		}),
		r.rule("", steps{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: portUnreachable}}),
	)
	opening := func(name string, number uint32) chain {
		c := chain{name: name, hook: &hook{"filter", number, priorityAfter}}
		c.add(r.rule("", r.state(expr.CtStateBitNEW), goTo("unanswered")))
		return c
	}
	return []chain{
		opening("filter-prerouting", unix.NF_INET_PRE_ROUTING), opening("filter-output", unix.NF_INET_LOCAL_OUT),
		unanswered, refuse,
		r.nodePorts("nodeports-unanswered", cfg, r.key(0, true), r.member(0, refused, false), goTo("refuse")),
	}
}

// strayReplies drops what the package comment says about invalid packets.
func (r rules) strayReplies() chain {
	c := chain{name: "filter-forward", hook: &hook{"filter", unix.NF_INET_FORWARD, priorityPlain}}
	c.add(r.rule("an endpoint's reply that would not be translated back", r.state(expr.CtStateBitINVALID),
		r.saddr(0), r.saddr(r.addrRegs()), r.member(0, hairpin, false), end(expr.VerdictDrop)))
	return c
}

// nodePorts makes a chain that does something to packets for the node's addresses on which node ports are served.
func (r rules) nodePorts(name string, cfg plan.Config, then ...steps) chain {
	c := chain{name: name}
	loopback := [...]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}[r.fam]
	c.add(r.rule("never on loopback", r.prefix(r.daddr(0), loopback), end(expr.VerdictReturn)))
	if len(cfg.NodePortAddresses) == 0 {
		c.add(r.rule("", then...))
	}
	for _, p := range ofFamily(cfg.NodePortAddresses, r.fam) {
		c.add(r.rule("", append([]steps{r.prefix(r.daddr(0), p)}, then...)...))
	}
	return c
}

// chain gives the rules of a balancer.
func (b balancer) chain(cfg plan.Config) chain {
	r := rules{fam: b.family, mark: cfg.MasqueradeMark}
	c := chain{name: b.String()}
	from, picked := endpoints, picks
	if b.local {
		from, picked = endpointsLocal, picksLocal
	}
	switch {
	case b.local: // the source is kept
	case b.nodePort:
		c.add(r.rule("", r.setMark()))
	default:
		c.add(r.rule("", jump("mark-outside")))
	}
	if b.affinity != 0 {
		// client, frontend and choice lie side by side in the registers: the first two are the key of affinity.
		frontend := r.addrRegs()
		chosen := frontend + r.keyRegs()
		client := slices.Concat(r.saddr(0), r.key(frontend, b.nodePort))
		store := steps{&expr.Dynset{
			SrcRegKey: reg(0), SrcRegData: reg(chosen), SetName: affinity.String(), Operation: unix.NFT_DYNSET_OP_UPDATE,
			Timeout: time.Duration(b.affinity) * time.Second,
		}}
		// A refresh leaves the value as it is, so what led to an endpoint that is gone must be deleted first. The kernel wants a value even
		// for that, and does not read it.
		forget := steps{&expr.Dynset{SrcRegKey: reg(0), SrcRegData: reg(0), SetName: affinity.String(), Operation: dynsetDelete}}
		c.add(
			r.rule("the endpoint of last time, if it is still one", client, listable(chosen, r.lookup(0, affinity, chosen)), store,
				r.lookup(frontend, choices, chosen), r.dnat(chosen)),
			r.rule("another, to be kept", client, forget, random(chosen, b.endpoints), listable(chosen, r.lookup(frontend, picked, chosen)), store,
				r.lookup(frontend, choices, chosen), r.dnat(chosen)),
		)
	}
	at := r.keyRegs()
	c.add(
		r.rule("", r.key(0, b.nodePort), random(at, b.endpoints), r.lookup(0, from, at), r.dnat(at)),
		r.rule("when the number shrank this very moment", r.key(0, b.nodePort), random(at, 1), r.lookup(0, from, at), r.dnat(at)),
	)
	return c
}

func (c *chain) add(rs ...rule) { c.rules = append(c.rules, rs...) }

// err tells whether the chain cannot be encoded.
func (c *chain) err() error {
	for _, r := range c.rules {
		if r.err != nil {
			return fmt.Errorf("chain %s: %w", c.name, r.err)
		}
	}
	return nil
}

// create appends the message that makes the chain, without rules.
func (c *chain) create(w *wire, fam family) {
	m := w.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, fam.protocol())
	w.string(unix.NFTA_CHAIN_TABLE, tableName)
	w.string(unix.NFTA_CHAIN_NAME, c.name)
	if c.hook != nil {
		h := w.nest(unix.NFTA_CHAIN_HOOK)
		w.u32(unix.NFTA_HOOK_HOOKNUM, c.hook.number)
		w.u32(unix.NFTA_HOOK_PRIORITY, uint32(c.hook.priority))
		w.close(h)
		w.u32(unix.NFTA_CHAIN_POLICY, verdictAccept)
		w.string(unix.NFTA_CHAIN_TYPE, c.hook.kind)
	}
	w.end(m)
}

// fill appends the messages that add the chain's rules.
func (c *chain) fill(w *wire, fam family) {
	for _, r := range c.rules {
		m := w.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, fam.protocol())
		w.string(unix.NFTA_RULE_TABLE, tableName)
		w.string(unix.NFTA_RULE_CHAIN, c.name)
		w.bytes(unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, r.exprs)
		if r.comment != "" {
			w.bytes(unix.NFTA_RULE_USERDATA, userdata.AppendString(nil, userdata.TypeComment, r.comment))
		}
		w.end(m)
	}
}
