package match

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/regex"
)

// NewRegex compiles a RegexMatcher, as one that matches a whole value.
func NewRegex(m *matcherv3.RegexMatcher) (*regexp.Regexp, error) {
	re, err := regex.CompileWhole(m.GetRegex())
	return re, field.In("regex", err)
}

// Substitution is a RegexMatchAndSubstitute: each match of a pattern is replaced.
type Substitution struct {
	re   *regexp.Regexp
	with string // in the form that regexp.ReplaceAllString takes
}

// NewSubstitution compiles a RegexMatchAndSubstitute. In it \1 is what the first group matched, \0 the whole match and \\ a backslash.
func NewSubstitution(m *matcherv3.RegexMatchAndSubstitute) (*Substitution, error) {
	re, err := regex.Compile(m.GetPattern().GetRegex())
	if err != nil {
		return nil, field.In("pattern.regex", err)
	}
	with, err := goTemplate(m.GetSubstitution(), re.NumSubexp())
	return &Substitution{re: re, with: with}, field.In("substitution", err)
}

func goTemplate(text string, groups int) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '$':
			b.WriteString("$$")
		case c != '\\':
			b.WriteByte(c)
		case i+1 == len(text):
			return "", errors.New("it ends with a single backslash")
		case text[i+1] == '\\':
			b.WriteByte('\\')
			i++
		case '0' <= text[i+1] && text[i+1] <= '9':
			i++
			if int(text[i]-'0') > groups {
				return "", fmt.Errorf(`\%c refers to a group, and the pattern has %d`, text[i], groups)
			}
			b.WriteString("${" + text[i:i+1] + "}")
		default:
			return "", fmt.Errorf(`\%c means nothing`, text[i+1])
		}
	}
	return b.String(), nil
}

// Apply gives the text with each match replaced.
func (s *Substitution) Apply(text string) string { return s.re.ReplaceAllString(text, s.with) }
