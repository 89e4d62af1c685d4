package route

import (
	"errors"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// condition is a RouteMatch.
type condition struct {
	kind     pathKind
	path     string // what to compare with; in lower case if fold
	fold     bool
	regex    *regexp.Regexp
	grpc     bool
	partial  bool // only a fraction of the requests
	fraction match.Fraction
	headers  []match.Header
	query    []match.Query
}

type pathKind uint8

const (
	pathPrefix pathKind = iota
	pathExact
	pathSeparated // a prefix that ends where a segment ends
	pathRegex
	pathConnect // no path at all: CONNECT
)

// What a number drawn for an exchange is used for; see match.Draw. Filters have theirs beside them.
const (
	drawFraction = iota
	drawWeight
	drawCookie
	drawMirror // and those that follow, one for each mirror
)

func newCondition(m *routev3.RouteMatch) (condition, error) {
	c := condition{fold: m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue(), grpc: m.GetGrpc() != nil}
	if err := field.Only(m, "prefix", "path", "safe_regex", "path_separated_prefix", "connect_matcher", "case_sensitive", "runtime_fraction", "headers",
		"query_parameters", "grpc"); err != nil {
		return c, err
	}
	var err error
	switch s := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		c.kind, c.path = pathPrefix, s.Prefix
	case *routev3.RouteMatch_Path:
		c.kind, c.path = pathExact, s.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		c.kind, c.path = pathSeparated, s.PathSeparatedPrefix
		if len(c.path) < 2 || c.path[0] != '/' || c.path[len(c.path)-1] == '/' || strings.ContainsAny(c.path, "?#") {
			return c, field.Errorf("path_separated_prefix", "%q: it begins with / and does not end with one, and has no query", c.path)
		}
	case *routev3.RouteMatch_SafeRegex:
		c.kind, c.fold = pathRegex, false
		if c.regex, err = match.NewRegex(s.SafeRegex); err != nil {
			return c, field.In("safe_regex", err)
		}
	case *routev3.RouteMatch_ConnectMatcher_:
		c.kind, c.fold = pathConnect, false
	default:
		return c, errors.New("it says nothing about the path")
	}
	if c.fold {
		c.path = lower(c.path)
	}
	if f := m.GetRuntimeFraction(); f != nil {
		c.partial = true
		if c.fraction, err = match.NewRuntimeFraction(f); err != nil {
			return c, field.In("runtime_fraction.default_value", err)
		}
	}
	if c.headers, err = match.NewHeaders("headers", m.GetHeaders()); err != nil {
		return c, err
	}
	for i, p := range m.GetQueryParameters() {
		q, err := match.NewQuery(p)
		if err != nil {
			return c, field.At("query_parameters", i, err)
		}
		c.query = append(c.query, q)
	}
	return c, nil
}

// input is a request as conditions see it.
type input struct {
	info        *message.Info
	path, query string
}

func newInput(x *message.Info) input {
	in := input{info: x}
	in.path, in.query = match.Split(x.Request.Path)
	return in
}

func (c *condition) matchesPath(in *input) bool {
	switch c.kind {
	case pathExact:
		return in.path == c.path || c.fold && match.EqualFold(in.path, c.path)
	case pathPrefix:
		return c.hasPrefix(in.path)
	case pathSeparated:
		return c.hasPrefix(in.path) && c.endsSegment(in.path)
	case pathRegex:
		return c.regex.MatchString(in.path)
	}
	return in.info.Request.Method == "CONNECT" && in.info.Request.Protocol == ""
}

func (c *condition) hasPrefix(path string) bool {
	n := len(c.path)
	return len(path) >= n && (path[:n] == c.path || c.fold && match.EqualFold(path[:n], c.path))
}

// endsSegment tells whether a prefix, which the path has, ends where a segment ends, if that is asked for.
func (c *condition) endsSegment(path string) bool {
	return c.kind != pathSeparated || len(path) == len(c.path) || path[len(c.path)] == '/'
}

func (c *condition) matchesRest(in *input) bool {
	if c.grpc && !isGRPC(in.info.Request) {
		return false
	}
	for i := range c.headers {
		if !c.headers[i].Match(in.info.Request) {
			return false
		}
	}
	for i := range c.query {
		if !c.query[i].Match(in.query) {
			return false
		}
	}
	return !c.partial || c.fraction.Hit(match.Draw(in.info.Random, drawFraction))
}

// fails says which condition a request does not meet, or "".
func (c *condition) fails(in *input) string {
	switch {
	case !c.matchesPath(in):
		return c.pathText()
	case c.grpc && !isGRPC(in.info.Request):
		return "gRPC"
	}
	for i := range c.headers {
		if h := &c.headers[i]; !h.Match(in.info.Request) {
			return h.String()
		}
	}
	for i := range c.query {
		if q := &c.query[i]; !q.Match(in.query) {
			return q.String()
		}
	}
	if c.partial && !c.fraction.Hit(match.Draw(in.info.Random, drawFraction)) {
		return "one of " + c.fraction.String()
	}
	return ""
}

func (c *condition) pathText() string {
	text := [...]string{pathPrefix: "path prefix ", pathExact: "path ", pathSeparated: "path prefix by segment ", pathRegex: "path regex ", pathConnect: "CONNECT"}[c.kind]
	if c.regex != nil {
		return text + c.regex.String()
	}
	if c.fold {
		return text + c.path + " in any case"
	}
	return text + c.path
}

// isGRPC tells whether a request is gRPC by its content-type: that of gRPC, or with a suffix that names the codec.
func isGRPC(r *message.Request) bool {
	v, _ := r.Fields.Get("content-type")
	rest, ok := strings.CutPrefix(v, "application/grpc")
	return ok && (rest == "" || rest[0] == '+')
}

// lower is ASCII lower case.
func lower(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = match.Lower(b[i])
	}
	return string(b)
}
