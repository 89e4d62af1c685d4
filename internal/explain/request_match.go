package explain

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// matches gives the condition of a rule that holds, or else the first part that fails of each.
func (r *request) matches(rule *model.Route) (*model.Match, string) {
	if len(rule.Matches) == 0 {
		return &model.Match{}, ""
	}
	var why []string
	for i := range rule.Matches {
		failed := r.fails(&rule.Matches[i])
		if failed == "" {
			return &rule.Matches[i], ""
		}
		why = append(why, failed)
	}
	return nil, strings.Join(why, "; or ")
}

// fails says which part of a condition does not hold, "" if all do.
func (r *request) fails(m *model.Match) string {
	scheme := "http"
	if r.encrypted {
		scheme = "https"
	}
	for _, p := range []struct {
		what  string
		m     model.StringMatch
		value string
	}{{"path", m.Path, r.path}, {"method", m.Method, r.q.Method}, {"scheme", m.Scheme, scheme}, {"authority", m.Authority, r.authority}} {
		if !holds(p.m, p.value, true) {
			return fmt.Sprintf("%s %s is not %s", p.what, p.value, wanted(p.m))
		}
	}
	for _, h := range m.Headers {
		value, there := r.headers[h.Name]
		if why := failsNamed("header", h, value, there); why != "" {
			return why
		}
	}
	for _, q := range m.Query {
		if why := failsNamed("query parameter", q, r.params.Get(q.Name), r.params.Has(q.Name)); why != "" {
			return why
		}
	}
	return ""
}

func failsNamed(what string, m model.NamedMatch, value string, there bool) string {
	ok := holds(m.StringMatch, value, there)
	if ok != m.Invert {
		return ""
	}
	has := fmt.Sprintf("is %q", value)
	if !there {
		has = "is missing"
	}
	if m.Invert {
		return fmt.Sprintf("%s %s %s, and must not be %s", what, m.Name, has, wanted(m.StringMatch))
	}
	return fmt.Sprintf("%s %s %s, not %s", what, m.Name, has, wanted(m.StringMatch))
}

func wanted(m model.StringMatch) string {
	text := m.Kind.String()
	if m.Value != "" {
		text += " " + m.Value
	}
	if m.IgnoreCase {
		text += " (in any case)"
	}
	return text
}

// holds tells whether a comparison does.
func holds(m model.StringMatch, value string, there bool) bool {
	if m.Kind == model.MatchAny {
		return true
	}
	if !there {
		return false
	}
	want := m.Value
	if m.IgnoreCase && m.Kind != model.MatchRegex {
		want, value = strings.ToLower(want), strings.ToLower(value)
	}
	switch m.Kind {
	case model.MatchExact:
		return value == want
	case model.MatchPrefix:
		return strings.HasPrefix(value, want)
	case model.MatchSegments:
		rest, ok := strings.CutPrefix(value, strings.TrimRight(want, "/"))
		return ok && (rest == "" || rest[0] == '/')
	case model.MatchRegex:
		re, err := compile(m)
		return err == nil && re.MatchString(value)
	}
	return true // MatchPresent
}

// compile makes a pattern that must match the whole text.
func compile(m model.StringMatch) (*regexp.Regexp, error) {
	flags := "(?s"
	if m.IgnoreCase {
		flags += "i"
	}
	return regexp.Compile(`^` + flags + ":" + m.Value + `)$`)
}

// matched is how much of the path a condition took, which a rewrite replaces.
func (r *request) matched(m *model.Match) string {
	switch m.Path.Kind {
	case model.MatchPrefix:
		return r.path[:min(len(m.Path.Value), len(r.path))]
	case model.MatchSegments:
		return r.path[:min(len(strings.TrimRight(m.Path.Value, "/")), len(r.path))]
	case model.MatchAny:
		return "/"
	}
	return r.path
}
