package index

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

// Rule is where some of the connections to a port lead that are carried as bytes. It does not change.
type Rule struct {
	Origin string // the object and field that say so

	subnets []netip.Prefix
	names   []string // or "*.suffix", in lower case
	to      []share
	total   uint64
}

type share struct {
	cluster string
	weight  uint32
}

func newRule(m *meshpb.Rule) (Rule, error) {
	r := Rule{Origin: m.GetOrigin()}
	for i, p := range m.GetSubnets() {
		prefix, err := newPrefix(p)
		if err != nil {
			return r, field.At("subnets", i, err)
		}
		r.subnets = append(r.subnets, prefix)
	}
	for _, name := range m.GetServerNames() {
		r.names = append(r.names, strings.ToLower(name))
	}
	for i, to := range m.GetTo() {
		if to.GetCluster() == "" {
			return r, field.At("to", i, field.Errorf("cluster", "is empty"))
		}
		r.to = append(r.to, share{to.GetCluster(), to.GetWeight()})
		r.total += uint64(to.GetWeight())
	}
	if len(r.to) > 1 && r.total == 0 {
		return r, field.In("to", errors.New("all weights are 0"))
	}
	return r, nil
}

// Cluster chooses one of the rule's clusters by weight; "" if there is none.
func (r *Rule) Cluster() string {
	if len(r.to) > 1 {
		at := rand.Uint64N(r.total)
		for _, s := range r.to {
			if at < uint64(s.weight) {
				return s.cluster
			}
			at -= uint64(s.weight)
		}
	}
	if len(r.to) == 0 {
		return ""
	}
	return r.to[0].cluster
}

// String reads "10.0.0.0/8 *.example.com -> outbound|5432|v2|db.shop.svc.cluster.local:90 (VirtualService shop/db spec.tcp[0])".
func (r *Rule) String() string {
	var b strings.Builder
	for _, p := range r.subnets {
		b.WriteString(p.String() + " ")
	}
	for _, n := range r.names {
		b.WriteString(n + " ")
	}
	b.WriteString("->")
	for _, to := range r.to {
		b.WriteString(" " + to.cluster + ":" + strconv.Itoa(int(to.weight)))
	}
	if r.Origin != "" {
		b.WriteString(" (" + r.Origin + ")")
	}
	return b.String()
}

// Rules are the rules of a port, or of several, the first of those that say the same counting.
type Rules []Rule

// Names tells whether the name that a client begins TLS with decides anything.
func (l Rules) Names() bool {
	for i := range l {
		if len(l[i].names) > 0 {
			return true
		}
	}
	return false
}

// Clusters are the names of all clusters that the rules lead to.
func (l Rules) Clusters() (out []string) {
	for i := range l {
		for _, to := range l[i].to {
			out = append(out, to.cluster)
		}
	}
	return out
}

// For gives the rule for a connection to an address, of a client that begins TLS with a name, or "": as Envoy chooses among filter chains, by the closest
// subnet, then by the closest name. nil if there is none.
func (l Rules) For(at netip.Addr, name string) (found *Rule) {
	name = strings.ToLower(name)
	bits, closest := -1, -1
	for i := range l {
		r := &l[i]
		b := r.bits(at)
		if b < bits || b < 0 && len(r.subnets) > 0 {
			continue
		}
		if b > bits {
			bits, closest, found = b, -1, nil
		}
		if n := r.named(name); n > closest {
			closest, found = n, r
		}
	}
	for i := range l {
		if found == nil && len(l[i].subnets)+len(l[i].names) == 0 {
			found = &l[i]
		}
	}
	return found
}

// bits is how long the longest of the rule's subnets is that an address is in; -1 if it is in none.
func (r *Rule) bits(at netip.Addr) int {
	best := -1
	for _, p := range r.subnets {
		if p.Contains(at) {
			best = max(best, p.Bits())
		}
	}
	return best
}

// named is how closely the rule names a name: longer than any wildcard if exactly, 0 if it has no names, -1 if it has others.
func (r *Rule) named(name string) int {
	if len(r.names) == 0 {
		return 0
	}
	best := -1
	for _, n := range r.names {
		suffix, wild := strings.CutPrefix(n, "*")
		switch {
		case n == name && name != "":
			return 1 << 16
		case wild && len(name) > len(suffix) && strings.HasSuffix(name, suffix):
			best = max(best, 1+len(suffix))
		}
	}
	return best
}
