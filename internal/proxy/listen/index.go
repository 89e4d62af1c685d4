package listen

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/proxy/detect"
	"github.com/weftmesh/weft/internal/proxy/field"
)

// facts is what of a connection the choice goes by.
type facts struct {
	to        netip.AddrPort
	name      string
	transport string
	alpn      []string
}

// index finds the chain of a connection: by port, then address, then name, then transport, then ALPN, at each step the most specific that there is.
// There is no way back: Envoy's FilterChainMatch says so.
type index struct{ ports map[uint16]*destinations }

// destinations are the chains of a port by the address: of the prefixes the longest counts.
type destinations struct {
	prefixes map[netip.Prefix]*candidates
	lengths  [2][]int // of the prefixes of IPv4 and IPv6, the longest first
	any      *candidates
}

// candidates are the chains of a port and an address, and what has to be known of a connection to choose among them.
type candidates struct {
	names    names
	question detect.Question
}

type names map[string]transports // "" is any; ".x" is every name below x
type transports map[string]protocols
type protocols map[string]*Chain

func newIndex(chains []*Chain) (*index, error) {
	x := &index{ports: map[uint16]*destinations{}}
	for i, c := range chains {
		d := x.ports[c.Match.Port]
		if d == nil {
			d = &destinations{prefixes: map[netip.Prefix]*candidates{}}
			x.ports[c.Match.Port] = d
		}
		for _, at := range d.of(c.Match.Prefixes) {
			if other := at.add(c); other != nil {
				return nil, field.At("filter_chains", i, fmt.Errorf("matches the same as filter chain %d", slices.Index(chains, other)))
			}
		}
	}
	return x, nil
}

// of gives the candidates of these prefixes, or of any address if there are none; it makes those that are new.
func (d *destinations) of(prefixes []netip.Prefix) (out []*candidates) {
	if len(prefixes) == 0 {
		if d.any == nil {
			d.any = &candidates{names: names{}}
		}
		return []*candidates{d.any}
	}
	for _, p := range prefixes {
		if d.prefixes[p] == nil {
			d.prefixes[p] = &candidates{names: names{}}
			lengths := &d.lengths[family(p.Addr())]
			if !slices.Contains(*lengths, p.Bits()) {
				*lengths = append(*lengths, p.Bits())
				slices.SortFunc(*lengths, func(a, b int) int { return b - a })
			}
		}
		out = append(out, d.prefixes[p])
	}
	return out
}

func family(ip netip.Addr) int {
	if ip.Is4() {
		return 0
	}
	return 1
}

// add puts a chain among the candidates; the other is one that matches the same, if there is one.
func (x *candidates) add(c *Chain) (other *Chain) {
	m := &c.Match
	clear := slices.ContainsFunc(m.ALPN, func(p string) bool { return p == detect.HTTP10 || p == detect.HTTP11 || p == detect.H2C })
	x.question.HTTP = x.question.HTTP || clear && m.Transport != "tls"
	x.question.TLS = x.question.TLS || len(m.ServerNames) > 0 || m.Transport != "" || len(m.ALPN) > 0
	for _, name := range orAny(m.ServerNames) {
		name = strings.TrimPrefix(name, "*")
		if x.names[name] == nil {
			x.names[name] = transports{}
		}
		if x.names[name][m.Transport] == nil {
			x.names[name][m.Transport] = protocols{}
		}
		for _, alpn := range orAny(m.ALPN) {
			p := x.names[name][m.Transport]
			if p[alpn] != nil {
				return p[alpn]
			}
			p[alpn] = c
		}
	}
	return nil
}

func orAny(list []string) []string {
	if len(list) == 0 {
		return []string{""}
	}
	return list
}

// candidates gives those of a destination; nil is none.
func (x *index) candidates(to netip.AddrPort) *candidates {
	d := x.ports[to.Port()]
	if d == nil {
		if d = x.ports[0]; d == nil {
			return nil
		}
	}
	if !to.IsValid() {
		return d.any
	}
	for _, bits := range d.lengths[family(to.Addr())] {
		if p, err := to.Addr().Prefix(bits); err == nil && d.prefixes[p] != nil {
			return d.prefixes[p]
		}
	}
	return d.any
}

// find gives the chain, or nil.
func (x *index) find(f *facts) *Chain {
	if of := x.candidates(f.to); of != nil {
		return of.find(f)
	}
	return nil
}

func (x *candidates) find(f *facts) *Chain {
	byTransport := x.names.find(f.name)
	if byTransport == nil {
		return nil
	}
	byALPN := byTransport[f.transport]
	if byALPN == nil {
		if byALPN = byTransport[""]; byALPN == nil {
			return nil
		}
	}
	for _, p := range f.alpn {
		if c := byALPN[p]; c != nil && p != "" {
			return c
		}
	}
	return byALPN[""]
}

func (n names) find(name string) transports {
	if name != "" {
		if t := n[name]; t != nil {
			return t
		}
		for rest := name; ; {
			i := strings.IndexByte(rest[1:], '.')
			if i < 0 {
				break
			}
			rest = rest[i+1:]
			if t := n[rest]; t != nil {
				return t
			}
		}
	}
	return n[""]
}
