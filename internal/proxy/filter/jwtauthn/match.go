package jwtauthn

import (
	"regexp"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// routeMatch is which requests a rule is for.
type routeMatch struct {
	path    match.String
	re      *regexp.Regexp // instead, if not nil
	below   bool           // the path itself, or what is below it
	headers []match.Header
	queries []match.Query
}

func newRouteMatch(m *routev3.RouteMatch) (r routeMatch, err error) {
	if err := field.Only(m, "prefix", "path", "safe_regex", "path_separated_prefix", "case_sensitive", "headers", "query_parameters"); err != nil {
		return r, err
	}
	fold := m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		r.path = match.Prefix(p.Prefix, fold)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		r.path, r.below = match.Prefix(p.PathSeparatedPrefix, fold), true
	case *routev3.RouteMatch_Path:
		r.path = match.Whole(p.Path, fold)
	case *routev3.RouteMatch_SafeRegex:
		if r.re, err = match.NewRegex(p.SafeRegex); err != nil {
			return r, field.In("safe_regex", err)
		}
	default:
		return r, field.Errorf("path_specifier", "which paths?")
	}
	if r.headers, err = match.NewHeaders("headers", m.GetHeaders()); err != nil {
		return r, err
	}
	for i, q := range m.GetQueryParameters() {
		one, err := match.NewQuery(q)
		if err != nil {
			return r, field.At("query_parameters", i, err)
		}
		r.queries = append(r.queries, one)
	}
	return r, nil
}

func (r *routeMatch) is(req *message.Request) bool {
	path, query := match.Split(req.Path)
	switch n := r.path.Len(); {
	case r.re != nil:
		if !r.re.MatchString(path) {
			return false
		}
	case !r.path.Match(path), r.below && len(path) > n && path[n] != '/':
		return false
	}
	for i := range r.headers {
		if !r.headers[i].Match(req) {
			return false
		}
	}
	for i := range r.queries {
		if !r.queries[i].Match(query) {
			return false
		}
	}
	return true
}
