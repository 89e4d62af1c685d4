package match

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// Query is a QueryParameterMatcher. Names and values are compared as they are written, without decoding.
type Query struct {
	name    string
	present bool // only this is asked: whether it is there
	want    bool
	value   String
}

// NewQuery compiles a QueryParameterMatcher.
func NewQuery(m *routev3.QueryParameterMatcher) (Query, error) {
	q := Query{name: m.GetName(), present: true, want: true}
	if q.name == "" {
		return q, field.Errorf("name", "empty")
	}
	var err error
	switch s := m.GetQueryParameterMatchSpecifier().(type) {
	case *routev3.QueryParameterMatcher_PresentMatch:
		q.want = s.PresentMatch
	case *routev3.QueryParameterMatcher_StringMatch:
		q.present = false
		q.value, err = NewString(s.StringMatch)
	}
	return q, field.In("string_match", err)
}

// Match tells whether a query (what is behind the "?") has such a parameter. Of several of one name the first counts.
func (q *Query) Match(query string) bool {
	v, ok := Parameter(query, q.name)
	if q.present {
		return ok == q.want
	}
	return ok && q.value.Match(v)
}

// String says what is matched, for a person.
func (q *Query) String() string {
	switch {
	case !q.present:
		return "query parameter " + q.name + " " + q.value.String()
	case q.want:
		return "query parameter " + q.name + " present"
	}
	return "query parameter " + q.name + " absent"
}

// Parameter finds the first parameter of a name in a query.
func Parameter(query, name string) (value string, ok bool) {
	for query != "" {
		var p string
		p, query, _ = strings.Cut(query, "&")
		if k, v, _ := strings.Cut(p, "="); k == name {
			return v, true
		}
	}
	return "", false
}

// Split parts a request's path from its query; a fragment, which does not belong in a request, counts to neither.
func Split(path string) (p, query string) {
	if i := strings.IndexByte(path, '#'); i >= 0 {
		path = path[:i]
	}
	p, query, _ = strings.Cut(path, "?")
	return p, query
}
