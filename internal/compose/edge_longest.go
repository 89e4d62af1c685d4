package compose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// competitor is a route that competes with others by its path.
type competitor struct {
	*model.Route
	owner model.Seniority
}

// compete orders the routes of sets whose order nobody wrote: an exact path before a prefix or a pattern, the longer before the shorter, what asks
// for more besides before what asks for less; what still is equal belongs to the older set.
func compete(r *derive.Reader, k virtualHostKey, sets []boundSet) (out []*model.Route) {
	var all []competitor
	for _, b := range sets {
		routes := b.routes(k)
		for i := range routes {
			all = append(all, competitor{&routes[i], b.set.Seniority})
		}
	}
	slices.SortStableFunc(all, func(a, b competitor) int { // sets come in order of seniority
		return compareMatches(first(a.Matches), first(b.Matches))
	})
	holder := map[string]competitor{}
	for _, c := range all {
		key := conditions(first(c.Matches))
		if h, ok := holder[key]; !ok {
			holder[key] = c
		} else {
			if h.Origin != c.Origin {
				report(r, c.Origin, finding.Error, "path-taken", fmt.Sprintf("%s of %s belongs to %v; this is left out", path(first(c.Matches)), k.domain, h.Origin))
			}
			continue
		}
		out = append(out, c.Route)
	}
	return out
}

// first gives the condition that a route is ordered by: sets that compete have one in each route.
func first(matches []model.Match) model.Match {
	if len(matches) == 0 {
		return model.Match{}
	}
	return matches[0]
}

func compareMatches(a, b model.Match) int {
	exact := func(m model.Match) int {
		switch m.Path.Kind {
		case model.MatchExact:
			return 0
		case model.MatchAny:
			return 2
		}
		return 1
	}
	asks := func(m model.Match) int { return len(m.Headers) + len(m.Query) + min(int(m.Port), 1) }
	return cmp.Or(cmp.Compare(exact(a), exact(b)), cmp.Compare(len(b.Path.Value), len(a.Path.Value)), cmp.Compare(asks(b), asks(a)))
}

// conditions is what a condition asks of a request, as a text that is equal for equal ones.
func conditions(m model.Match) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v %+v %+v %+v %d", m.Path, m.Method, m.Scheme, m.Authority, m.Port)
	for _, h := range m.Headers {
		fmt.Fprintf(&b, " header %+v", h)
	}
	for _, q := range m.Query {
		fmt.Fprintf(&b, " query %+v", q)
	}
	return b.String()
}

func path(m model.Match) string {
	if m.Path.Kind == model.MatchAny {
		return "every other path"
	}
	return fmt.Sprintf("%v %s", m.Path.Kind, m.Path.Value)
}
