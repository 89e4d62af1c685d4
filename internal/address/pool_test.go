package address

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePools(t *testing.T) {
	for _, c := range []struct {
		text     string
		pools    string // name=ranges(size)
		findings []string
	}{
		{text: ""},
		{text: "10.89.0.200-10.89.0.250", pools: "10.89.0.200-10.89.0.250=10.89.0.200-10.89.0.250(51)"},
		{text: "10.89.0.7", pools: "10.89.0.7=10.89.0.7(1)"},
		{text: "10.89.0.16/28", pools: "10.89.0.16/28=10.89.0.17-10.89.0.30(14)"},
		{text: "10.89.0.16/31", pools: "10.89.0.16/31=10.89.0.16-10.89.0.17(2)"},
		{text: "10.89.0.16/32", pools: "10.89.0.16/32=10.89.0.16(1)"},
		{text: "fd00:89::/112", pools: "fd00:89::/112=fd00:89::1-fd00:89::ffff(65535)"},
		{text: "fd00::/16", pools: fmt.Sprintf("fd00::/16=fd00::1-fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff(%d)", uint64(math.MaxUint64))},
		{text: "10.1.0.1-10.1.0.2, fd00::1-fd00::2\n10.2.0.1", pools: "10.1.0.1-10.1.0.2=10.1.0.1-10.1.0.2(2) fd00::1-fd00::2=fd00::1-fd00::2(2) 10.2.0.1=10.2.0.1(1)"},
		{text: "::ffff:10.1.0.1-::ffff:10.1.0.2", pools: "::ffff:10.1.0.1-::ffff:10.1.0.2=10.1.0.1-10.1.0.2(2)"},

		{text: "10.0.0.10-10.0.0.20,10.0.0.15-10.0.0.30", pools: "10.0.0.10-10.0.0.20=10.0.0.10-10.0.0.20(11) 10.0.0.15-10.0.0.30=10.0.0.21-10.0.0.30(10)",
			findings: []string{"warning Pool 10.0.0.15-10.0.0.30 addresses: a part of it is in earlier pools and stays theirs (pools-overlap)"}},
		{text: "10.0.0.15,10.0.0.10-10.0.0.20", pools: "10.0.0.15=10.0.0.15(1) 10.0.0.10-10.0.0.20=10.0.0.10-10.0.0.14,10.0.0.16-10.0.0.20(10)",
			findings: []string{"warning Pool 10.0.0.10-10.0.0.20 addresses: a part of it is in earlier pools and stays theirs (pools-overlap)"}},
		{text: "10.0.0.10-10.0.0.20,10.0.0.12/30", pools: "10.0.0.10-10.0.0.20=10.0.0.10-10.0.0.20(11)",
			findings: []string{"error Pool 10.0.0.12/30 addresses: all of it is in earlier pools; the pool is left out (pools-overlap)"}},

		{text: "nonsense,10.0.0.1", pools: "10.0.0.1=10.0.0.1(1)",
			findings: []string{`error Pool nonsense addresses: "nonsense" is no address; the pool is left out (invalid-pool)`}},
		{text: "10.0.0.9-10.0.0.1", findings: []string{"error Pool 10.0.0.9-10.0.0.1 addresses: 10.0.0.9 comes after 10.0.0.1; the pool is left out (invalid-pool)"}},
		{text: "10.0.0.9-fd00::1", findings: []string{"error Pool 10.0.0.9-fd00::1 addresses: 10.0.0.9 and fd00::1 are of different families; the pool is left out (invalid-pool)"}},
		{text: "10.0.0.9/24", findings: []string{`error Pool 10.0.0.9/24 addresses: "10.0.0.9/24" is no address range: did you mean 10.0.0.0/24, or the one address 10.0.0.9; the pool is left out (invalid-pool)`}},
		{text: "10.0.0.9/99", findings: []string{`error Pool 10.0.0.9/99 addresses: "10.0.0.9/99" is no address range; the pool is left out (invalid-pool)`}},
		{text: "fe80::1%eth0", findings: []string{`error Pool fe80::1%eth0 addresses: "fe80::1%eth0" is no address; the pool is left out (invalid-pool)`}},
		{text: "fe80::1", findings: []string{"error Pool fe80::1 addresses: fe80::1 is in fe80::/10, which is not for Services; the pool is left out (invalid-pool)"}},
		{text: "0.0.0.0/0", findings: []string{"error Pool 0.0.0.0/0 addresses: 0.0.0.1-255.255.255.254 is in 0.0.0.0/8, which is not for Services; the pool is left out (invalid-pool)"}},
		{text: "224.0.0.1", findings: []string{"error Pool 224.0.0.1 addresses: 224.0.0.1 is in 224.0.0.0/3, which is not for Services; the pool is left out (invalid-pool)"}},
	} {
		t.Run(c.text, func(t *testing.T) {
			pools, found := ParsePools(c.text)
			var shown, findings []string
			for _, p := range pools {
				var ranges []string
				for _, r := range p.Ranges {
					ranges = append(ranges, r.String())
				}
				shown = append(shown, fmt.Sprintf("%s=%s(%d)", p.Name, strings.Join(ranges, ","), size(p.Ranges)))
			}
			for _, f := range found {
				findings = append(findings, f.String())
			}
			if d := cmp.Diff(c.pools, strings.Join(shown, " ")); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(c.findings, findings); d != "" {
				t.Error(d)
			}
		})
	}
}

// FuzzParsePools holds for any text that what comes out is well-formed: ranges in order, no address twice.
func FuzzParsePools(f *testing.F) {
	for _, s := range []string{"10.0.0.1-10.0.0.9,10.0.0.5", "fd00::/8 10.0.0.0/8", "-", "/", "1.2.3.4-", "255.255.255.255", "ffff::-ffff::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		pools, _ := ParsePools(text)
		var all []Range
		var sum uint64
		for _, p := range pools {
			for _, r := range p.Ranges {
				if !r.First.IsValid() || r.First.BitLen() != r.Last.BitLen() || r.Last.Less(r.First) {
					t.Fatalf("%q has the range %v", text, r)
				}
				for _, o := range all {
					if r.Overlaps(o) {
						t.Fatalf("%v and %v overlap", r, o)
					}
				}
				all = append(all, r)
				if n := r.Size(); sum+n > sum {
					sum += n
				}
			}
		}
		if len(all) > 0 && sum == 0 {
			t.Fatal("pools without addresses")
		}
	})
}

func TestPrefixesOfARange(t *testing.T) {
	for text, want := range map[string]string{
		"10.89.0.200-10.89.0.250": "[10.89.0.200/29 10.89.0.208/28 10.89.0.224/28 10.89.0.240/29 10.89.0.248/31 10.89.0.250/32]",
		"10.89.0.7":               "[10.89.0.7/32]", "10.89.0.0-10.89.0.255": "[10.89.0.0/24]",
		"0.0.0.0-255.255.255.255": "[0.0.0.0/0]", "fd00::1-fd00::4": "[fd00::1/128 fd00::2/127 fd00::4/128]",
	} {
		r, err := readRange(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(r.Prefixes()); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// Ranges are compared with sets of addresses, one by one.
func TestRangesAreSets(t *testing.T) {
	base := netip.MustParseAddr("10.0.0.0").As4()
	at := func(i int) netip.Addr { b := base; b[3] = byte(i); return netip.AddrFrom4(b) }
	set := func(list []Range) (m [16]bool) {
		for i := range m {
			for _, r := range list {
				m[i] = m[i] || r.Contains(at(i))
			}
		}
		return m
	}
	for first := range 16 {
		for last := first; last < 16; last++ {
			r := Range{at(first), at(last)}
			for _, others := range [][]Range{nil, {{at(3), at(5)}, {at(6), at(6)}}, {{at(9), at(12)}, {at(10), at(15)}}, {{at(4), at(4)}, {at(0), at(1)}, {at(14), at(15)}}, {{at(0), at(15)}}} {
				want, minus, in := set([]Range{r}), set(others), set([]Range{r})
				n := uint64(0)
				for i := range want {
					if want[i] = want[i] && !minus[i]; want[i] {
						n++
					}
					in[i] = in[i] || minus[i]
				}
				rest := subtract(r, others)
				if set(rest) != want || size(rest) != n {
					t.Errorf("%v without %v gives %v", r, others, rest)
				}
				if joined := merge(append([]Range{r}, others...)); set(joined) != in {
					t.Errorf("%v and %v together give %v", r, others, joined)
				}
			}
		}
	}
}
