package match

import (
	"errors"
	"regexp"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// String is a StringMatcher. The zero value matches everything.
type String struct {
	kind stringKind
	text string
	fold bool
	re   *regexp.Regexp
}

type stringKind uint8

const (
	anyString stringKind = iota
	exactString
	prefixString
	suffixString
	containsString
	regexString
)

// NewString compiles a StringMatcher.
func NewString(m *matcherv3.StringMatcher) (String, error) {
	s := String{fold: m.GetIgnoreCase()}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		s.kind, s.text = exactString, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		s.kind, s.text = prefixString, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		s.kind, s.text = suffixString, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		s.kind, s.text = containsString, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		re, err := NewRegex(p.SafeRegex)
		if err != nil {
			return s, field.In("safe_regex", err)
		}
		return String{kind: regexString, re: re}, nil
	case *matcherv3.StringMatcher_Custom:
		return s, field.Errorf("custom", "this proxy does not know it")
	default:
		return s, errors.New("no pattern")
	}
	if s.text == "" && s.kind != exactString {
		return s, errors.New("empty pattern")
	}
	return s, nil
}

// Exact matches one value.
func Exact(text string) String { return String{kind: exactString, text: text} }

// Match tells whether the value matches.
func (s *String) Match(v string) bool {
	n := len(s.text)
	switch s.kind {
	case exactString:
		return len(v) == n && s.equal(v)
	case prefixString:
		return len(v) >= n && s.equal(v[:n])
	case suffixString:
		return len(v) >= n && s.equal(v[len(v)-n:])
	case containsString:
		if !s.fold {
			return strings.Contains(v, s.text)
		}
		for ; len(v) >= n; v = v[1:] {
			if EqualFold(v[:n], s.text) {
				return true
			}
		}
		return false
	case regexString:
		return s.re.MatchString(v)
	}
	return true
}

func (s *String) equal(v string) bool { return v == s.text || s.fold && EqualFold(v, s.text) }

// String says what is matched, for a person.
func (s *String) String() string {
	text := [...]string{anyString: "anything", exactString: "", prefixString: "prefix ", suffixString: "suffix ", containsString: "something with ", regexString: "regex "}[s.kind]
	switch s.kind {
	case anyString:
	case regexString:
		text += s.re.String()
	default:
		text += `"` + s.text + `"`
	}
	if s.fold {
		text += " in any case"
	}
	return text
}

// EqualFold compares as ASCII does.
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && Lower(a[i]) != Lower(b[i]) {
			return false
		}
	}
	return true
}

// Lower is a byte in lower case, if it is an ASCII letter.
func Lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Prefix matches values that begin with a text; with fold, in whatever case.
func Prefix(text string, fold bool) String { return String{kind: prefixString, text: text, fold: fold} }

// Whole matches one value; with fold, in whatever case.
func Whole(text string, fold bool) String { return String{kind: exactString, text: text, fold: fold} }

// Len is how long the text is that is looked for.
func (s *String) Len() int { return len(s.text) }
