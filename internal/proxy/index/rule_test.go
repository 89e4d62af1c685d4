package index

import (
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

func share1(cluster string) []*meshpb.Share { return []*meshpb.Share{{Cluster: cluster}} }

func prefix(text string) *meshpb.Prefix {
	p := netip.MustParsePrefix(text)
	return &meshpb.Prefix{Address: p.Addr().AsSlice(), Length: uint32(p.Bits())}
}

func rulesOf(t *testing.T, rules ...*meshpb.Rule) Rules {
	t.Helper()
	s, err := newService(&meshpb.Service{Host: "a", Ports: []*meshpb.Port{{Number: 1, Rules: rules}}})
	if err != nil {
		t.Fatal(err)
	}
	return s.Ports[0].Rules
}

// The closest subnet counts first, then the closest name, then the first rule.
func TestRules(t *testing.T) {
	rules := rulesOf(t,
		&meshpb.Rule{ServerNames: []string{"a.example.com"}, To: share1("a")},
		&meshpb.Rule{ServerNames: []string{"*.example.com"}, To: share1("some")},
		&meshpb.Rule{ServerNames: []string{"A.example.com"}, To: share1("again")},
		&meshpb.Rule{Subnets: []*meshpb.Prefix{prefix("10.0.0.0/8")}, To: share1("eight")},
		&meshpb.Rule{Subnets: []*meshpb.Prefix{prefix("10.1.0.0/16"), prefix("fd00::/8")}, ServerNames: []string{"b.example.com", "*.example.com"}, To: share1("sixteen")},
		&meshpb.Rule{To: share1("rest")},
	)
	for _, c := range []struct{ at, name, want string }{
		{"192.0.2.1", "", "rest"},
		{"192.0.2.1", "a.example.com", "a"},
		{"192.0.2.1", "A.EXAMPLE.com", "a"},
		{"192.0.2.1", "x.example.com", "some"},
		{"192.0.2.1", "example.com", "rest"},
		{"192.0.2.1", ".example.com", "rest"},
		{"10.9.0.1", "a.example.com", "eight"},
		{"10.1.0.1", "b.example.com", "sixteen"},
		{"10.1.0.1", "c.example.com", "sixteen"},
		{"10.1.0.1", "example.org", "rest"}, // not by the subnet around it: so does Envoy
		{"fd00::1", "b.example.com", "sixteen"},
	} {
		if r := rules.For(netip.MustParseAddr(c.at), c.name); r == nil || r.Cluster() != c.want {
			t.Errorf("%s %q: %v, want %s", c.at, c.name, r, c.want)
		}
	}
	if r := rules[:5].For(netip.MustParseAddr("192.0.2.1"), "example.org"); r != nil {
		t.Errorf("%v takes what is for nobody", r)
	}
	if !rules.Names() || rules[3:4].Names() {
		t.Error("which rules ask for names")
	}
}

func TestRuleWeights(t *testing.T) {
	rule := &rulesOf(t, &meshpb.Rule{To: []*meshpb.Share{{Cluster: "v1", Weight: 1}, {Cluster: "none"}, {Cluster: "v2", Weight: 3}}})[0]
	count := map[string]int{}
	for range 4000 {
		count[rule.Cluster()]++
	}
	if count["none"] > 0 || count["v1"] < 800 || count["v1"] > 1200 {
		t.Errorf("%v", count)
	}
	if got := (&Rule{}).Cluster(); got != "" {
		t.Errorf("a rule without clusters leads to %s", got)
	}
	for _, wrong := range []*meshpb.Rule{
		{To: []*meshpb.Share{{}}}, {To: []*meshpb.Share{{Cluster: "a"}, {Cluster: "b"}}}, {Subnets: []*meshpb.Prefix{{}}}, {Subnets: []*meshpb.Prefix{{Address: ip("10.0.0.0"), Length: 33}}},
	} {
		if _, err := newRule(wrong); err == nil {
			t.Errorf("%v is taken", wrong)
		}
	}
}
