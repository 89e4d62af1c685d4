package zone

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/internal/dns/wire"
	"github.com/weftmesh/weft/internal/model"
)

// Explain says in lines for people where the answer to a question comes from, or why there is none: the Service, the slices, the addresses.
// An empty result means that the name is not of this zone.
func (z *Zone) Explain(qname string, t wire.Type) []string {
	var n wire.Name
	if err := n.Set(qname); err != nil {
		return []string{err.Error()}
	}
	var lines []string
	for range maxAliases {
		f := z.find(&n)
		if f.node == outside {
			return lines
		}
		lines = append(lines, z.explain(&n, t, &f)...)
		if !f.alias() || t == wire.TypeCNAME || n.SetWire(f.records.alias) != nil {
			return lines
		}
	}
	return append(lines, fmt.Sprintf("more than %d aliases in a row are not followed", maxAliases))
}

func (z *Zone) explain(n *wire.Name, t wire.Type, f *found) []string {
	r := f.records
	say := func(format string, args ...any) []string {
		return []string{n.String() + " " + fmt.Sprintf(format, args...)}
	}
	switch f.node {
	case nothing:
		return say("does not exist: %s", z.absence(n, f))
	case between:
		return say("has no records of its own, only names under it")
	case apex:
		return say("is the cluster domain: it has SOA and NS")
	case versionNode:
		return say("has TXT with the version of the specification, %s", Schema)
	case nameserver:
		if r == nil {
			return say("is this server, but no Service %s leads to it", strings.Trim(wire.Unpack(z.nameserver+"\x00"), "."))
		}
		return append(say("is this server: %v", r.addresses), from(r)...)
	case podNode:
		return say("is the address %v, whether or not a Pod has it", f.address)
	case serviceNode:
		if r.alias != "" {
			return append(say("is an alias of %s", wire.Unpack(r.alias)), from(r)...)
		}
		return append(say("is a %v Service: %s", r.kind, have(t, r.addresses.of(t), r)), from(r)...)
	case endpointNode:
		h := &r.hosts[f.index]
		lines := say("is an endpoint: %s", have(t, h.addresses.of(t), r))
		lines = append(lines, "declared by "+r.origin.String())
		for _, s := range h.slices {
			lines = append(lines, "endpoint from "+r.slices[s].String())
		}
		return lines
	case portNode:
		p := &r.ports[f.index]
		return append(say("is port %q over %v, served in %d places", p.name, p.protocol, len(p.targets)), from(r)...)
	case reverseNode:
		var lines []string
		for _, p := range f.pointers {
			lines = append(lines, say("(%v) is %s", f.address, wire.Unpack(p.name))...)
			if r := z.records([]byte(p.key)); r != nil {
				lines = append(lines, from(r)...)
			}
		}
		return lines
	}
	return nil
}

// have says which addresses a type shows.
func have(t wire.Type, as addresses, r *Records) string {
	switch {
	case t == wire.TypeSRV:
		return fmt.Sprintf("%d ports", len(r.ports))
	case len(as) > 0:
		return fmt.Sprint([]any{as}...)
	}
	return fmt.Sprintf("nothing of that type (it has %v)", r.addresses)
}

// from names the objects behind records.
func from(r *Records) []string {
	lines := []string{"declared by " + r.origin.String()}
	for _, s := range r.slices {
		lines = append(lines, "endpoints from "+s.String())
	}
	return lines
}

// absence says why a name does not exist.
func (z *Zone) absence(n *wire.Name, f *found) string {
	if f.reverse {
		return fmt.Sprintf("no Service and no published endpoint has %v", f.address)
	}
	if f.level < 1 {
		return "no such name"
	}
	switch under := string(n.Label(f.level - 1)); under {
	default:
		return fmt.Sprintf("there is nothing under %q in the cluster domain", under)
	case "svc", "pod":
		space := string(n.Label(f.level - 2))
		switch r := f.records; {
		case !z.hasNamespace(n.Between(f.level-2, f.level-1)):
			return fmt.Sprintf("no namespace %q is known", space)
		case under == "pod":
			return "the label is not an address written with dashes"
		case r == nil:
			return fmt.Sprintf("namespace %q has no Service %q", space, n.Label(f.level-3))
		case r.Empty() && r.kind == model.Headless:
			return r.origin.String() + " is headless and has no ready endpoints"
		case r.Empty():
			return r.origin.String() + " has no name or address that can be published"
		case f.level == 4:
			return r.origin.String() + " has no ready endpoint of that name"
		}
		return f.records.origin.String() + " has no such port"
	}
}
