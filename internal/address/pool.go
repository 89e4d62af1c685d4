package address

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weftmesh/weft/internal/finding"
)

// Pool is addresses of one family that may be given to Services. It is immutable.
type Pool struct {
	Name   string  // as it was written: "10.89.0.200-10.89.0.250"
	Ranges []Range // sorted, not empty, without overlap; more than one if an earlier pool has something in the middle
}

// Contains tells whether an address is of the pool.
func (p Pool) Contains(a netip.Addr) bool {
	for _, r := range p.Ranges {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

// Object names the pool in findings.
func (p Pool) Object() finding.Object { return poolObject(p.Name) }

func poolObject(name string) finding.Object { return finding.Object{Kind: "Pool", Name: name} }

func (p Pool) family() family { return familyOf(p.Ranges[0].First) }

// ParsePools reads pools, each a range ("10.89.0.200-10.89.0.250"), a prefix ("fd00:89::/112") or one address, separated by commas or spaces.
// Of a prefix the addresses that are not for hosts are left out: the first and last of IPv4, the first of IPv6 (RFC 4291, section 2.6.1);
// a range is taken as it is.
//
// What cannot be used is left out and costs only itself: the findings, on Objects of kind Pool, say what and why. Addresses that an earlier
// pool has are not the later one's.
func ParsePools(text string) (pools []Pool, findings []finding.Finding) {
	say := func(name string, severity finding.Severity, code, format string, args ...any) {
		findings = append(findings, finding.Finding{Object: poolObject(name), Field: "addresses", Severity: severity, Code: code, Message: fmt.Sprintf(format, args...)})
	}
	var before []Range
	for name := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' }) {
		whole, err := parseRange(name)
		if err != nil {
			say(name, finding.Error, "invalid-pool", "%v; the pool is left out", err)
			continue
		}
		rest := subtract(whole, before)
		switch {
		case len(rest) == 0:
			say(name, finding.Error, "pools-overlap", "all of it is in earlier pools; the pool is left out")
			continue
		case size(rest) != whole.Size():
			say(name, finding.Warning, "pools-overlap", "a part of it is in earlier pools and stays theirs")
		}
		pools = append(pools, Pool{Name: name, Ranges: rest})
		before = append(before, whole)
	}
	return pools, findings
}

func parseRange(s string) (Range, error) {
	r, err := readRange(s)
	if err != nil {
		return Range{}, err
	}
	for _, p := range notForServices {
		if r.Overlaps(RangeOf(p)) {
			return Range{}, fmt.Errorf("%v is in %v, which is not for Services", r, p)
		}
	}
	return r, nil
}

func readRange(s string) (Range, error) {
	if from, to, ok := strings.Cut(s, "-"); ok {
		first, err := parseAddr(from)
		if err != nil {
			return Range{}, err
		}
		last, err := parseAddr(to)
		if err != nil {
			return Range{}, err
		}
		if first.BitLen() != last.BitLen() {
			return Range{}, fmt.Errorf("%v and %v are of different families", first, last)
		}
		if last.Less(first) {
			return Range{}, fmt.Errorf("%v comes after %v", first, last)
		}
		return Range{first, last}, nil
	}
	if !strings.Contains(s, "/") {
		a, err := parseAddr(s)
		return single(a), err
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return Range{}, fmt.Errorf("%q is no address range", s)
	}
	if p != p.Masked() {
		return Range{}, fmt.Errorf("%q is no address range: did you mean %v, or the one address %v", s, p.Masked(), p.Addr())
	}
	r := RangeOf(p)
	if host := p.Addr().BitLen() - p.Bits(); host > 1 {
		r.First = r.First.Next()
		if p.Addr().Is4() {
			r.Last = r.Last.Prev()
		}
	}
	return r, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is no address", s)
	}
	return a.Unmap(), nil
}

// notForServices are the ranges of RFC 6890 in which no other machine can reach an address, or more than one has it.
var notForServices = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"), netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// family is IPv4 or IPv6, as an index.
type family int

const (
	ipv4 family = iota
	ipv6
	families
)

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

func (f family) String() string { return [...]string{ipv4: "IPv4", ipv6: "IPv6"}[f] }
