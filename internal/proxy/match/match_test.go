package match

import (
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/internal/proxy/message"
)

func TestRegexIsBounded(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "empty",
		"a{1000}":                            "",
		"(abcdefghij){1000}":                 "",
		"([a-z]|[^b]x+){1,1000}":             "",
		"(abcdefghijklmnopqrstuvwxyz){1000}": "too costly",
		strings.Repeat("a|", 9000):           "may have",
		"(" + strings.Repeat("a", 100) + "){500}": "too costly",
		"a{2000}": "invalid repeat count",
		"(?=a)":   "invalid",
		`\C`:      "invalid",
	} {
		_, err := NewRegex(&matcherv3.RegexMatcher{Regex: text})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %q", text, err, want)
		}
	}
}

func TestSubstitution(t *testing.T) {
	for _, c := range []struct{ pattern, with, in, want, err string }{
		{"a(.)", `<\1\0>`, "xabac", "x<bab><cac>", ""},
		{"a", `\\$1`, "a", `\$1`, ""},
		{"(a)", `\2`, "", "", "refers to a group"},
		{"a", `x\`, "", "", "single backslash"},
		{"a", `\n`, "", "", "means nothing"},
		{"", "x", "", "", "empty"},
	} {
		s, err := NewSubstitution(&matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: c.pattern}, Substitution: c.with})
		if err != nil {
			if c.err == "" || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if got := s.Apply(c.in); got != c.want || c.err != "" {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// The forms before string_match mean the same.
func TestOldForms(t *testing.T) {
	r := &message.Request{}
	r.Fields.Add("h", "abc")
	for _, c := range []struct {
		m    *routev3.HeaderMatcher
		want bool
	}{
		{&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: "abc"}}, true},
		{&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: "ab"}}, false},
		{&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_PrefixMatch{PrefixMatch: "ab"}}, true},
		{&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_SuffixMatch{SuffixMatch: "ab"}}, false},
		{&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_ContainsMatch{ContainsMatch: "b"}}, true},
		{&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: &matcherv3.RegexMatcher{Regex: "a.c"}}}, true},
		{&routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: &matcherv3.RegexMatcher{Regex: "a."}}}, false},
		{&routev3.HeaderMatcher{}, true},
	} {
		c.m.Name = "H"
		h, err := NewHeader(c.m)
		if err != nil || h.Match(r) != c.want || h.MatchFields(&r.Fields) != c.want {
			t.Errorf("%v: %v, want %t", c.m, err, c.want)
		}
	}
	if _, err := NewHeader(&routev3.HeaderMatcher{}); err == nil {
		t.Error("a header without a name")
	}
	if _, err := NewQuery(&routev3.QueryParameterMatcher{}); err == nil {
		t.Error("a query parameter without a name")
	}
}

func TestString(t *testing.T) {
	for _, m := range []*matcherv3.StringMatcher{
		nil, {}, {MatchPattern: &matcherv3.StringMatcher_Prefix{}}, {MatchPattern: &matcherv3.StringMatcher_Custom{}},
		{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "("}}},
	} {
		if _, err := NewString(m); err == nil {
			t.Errorf("%v is accepted", m)
		}
	}
	// Folding is that of ASCII: the Kelvin sign is no k.
	s, err := NewString(&matcherv3.StringMatcher{IgnoreCase: true, MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "key"}})
	if err != nil || !s.Match("KEY") || s.Match("\u212aey") {
		t.Error("folding", err)
	}
	if exact := Exact("a"); !exact.Match("a") || exact.Match("A") {
		t.Error("Exact")
	}
}

func TestFraction(t *testing.T) {
	for _, c := range []struct {
		numerator   uint32
		denominator typev3.FractionalPercent_DenominatorType
		text        string
		hits        int // of a million
	}{
		{0, typev3.FractionalPercent_HUNDRED, "0 %", 0},
		{25, typev3.FractionalPercent_HUNDRED, "25 %", 250_000},
		{1, typev3.FractionalPercent_TEN_THOUSAND, "0.01 %", 100},
		{3, typev3.FractionalPercent_MILLION, "0.0003 %", 3},
		{200, typev3.FractionalPercent_HUNDRED, "200 %", 1_000_000},
	} {
		f, err := NewFraction(&typev3.FractionalPercent{Numerator: c.numerator, Denominator: c.denominator})
		if err != nil {
			t.Fatal(err)
		}
		hits := 0
		for i := range uint64(1_000_000) {
			if f.Hit(i) {
				hits++
			}
		}
		if hits != c.hits || f.String() != c.text {
			t.Errorf("%d of a million are in %s, want %d in %s", hits, f, c.hits, c.text)
		}
	}
	if _, err := NewFraction(&typev3.FractionalPercent{Denominator: 9}); err == nil {
		t.Error("an unknown denominator")
	}
	if f, err := NewRuntimeFraction(nil); err != nil || f != All || !f.Hit(7) || (Fraction{}).Hit(0) {
		t.Error("the ends", f, err)
	}
}

func TestSplit(t *testing.T) {
	for in, want := range map[string][2]string{
		"/a": {"/a", ""}, "/a?b?c": {"/a", "b?c"}, "/a#b?c": {"/a", ""}, "/a?b#c": {"/a", "b"}, "": {"", ""}, "?": {"", ""},
	} {
		if p, q := Split(in); p != want[0] || q != want[1] {
			t.Errorf("%q: %q, %q", in, p, q)
		}
	}
}
