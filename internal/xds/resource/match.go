package resource

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/regex"
)

var errNever = errors.New("can never hold")

// routeMatch says one match. errNever: nothing that is a request can fulfil it.
func routeMatch(m *model.Match) (*routev3.RouteMatch, error) {
	out := &routev3.RouteMatch{}
	if err := pathMatch(m.Path, out); err != nil {
		return nil, err
	}
	for _, h := range []struct {
		name string
		m    model.StringMatch
	}{{":method", m.Method}, {":scheme", m.Scheme}, {":authority", m.Authority}} {
		if h.m.Kind == model.MatchAny {
			continue
		}
		hm, err := headerMatch(model.NamedMatch{Name: h.name, StringMatch: h.m})
		if err != nil {
			return nil, err
		}
		out.Headers = append(out.Headers, hm)
	}
	for _, h := range m.Headers {
		if h.Kind == model.MatchAny {
			if h.Invert {
				return nil, errNever
			}
			continue
		}
		hm, err := headerMatch(h)
		if err != nil {
			return nil, err
		}
		out.Headers = append(out.Headers, hm)
	}
	for _, q := range m.Query {
		if q.Kind == model.MatchAny {
			if q.Invert {
				return nil, errNever
			}
			continue
		}
		qm, err := queryMatch(q)
		if err != nil {
			return nil, err
		}
		out.QueryParameters = append(out.QueryParameters, qm)
	}
	return out, nil
}

func pathMatch(p model.PathMatch, out *routev3.RouteMatch) error {
	prefix := func(v string) {
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: v}
	}
	switch p.Kind {
	case model.MatchAny, model.MatchPresent:
		prefix("/")
		return nil
	case model.MatchExact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: p.Value}
	case model.MatchPrefix:
		prefix(p.Value)
	case model.MatchSegments:
		v := strings.TrimRight(p.Value, "/")
		switch {
		case v == "":
			prefix("/")
		case strings.ContainsAny(v, "?#"):
			return errNever // a path has neither
		case len(v) == 1: // too short for Envoy's own match of segments, and no path begins so
			return errNever
		default:
			out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: v}
		}
	case model.MatchRegex:
		re, err := regexMatcher(p.Value, p.IgnoreCase)
		if err != nil {
			return err
		}
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: re}
		return nil
	default:
		return fmt.Errorf("path match of kind %d is not known", p.Kind)
	}
	if p.IgnoreCase {
		out.CaseSensitive = wrapperspb.Bool(false)
	}
	return nil
}

func headerMatch(h model.NamedMatch) (*routev3.HeaderMatcher, error) {
	out := &routev3.HeaderMatcher{Name: h.Name, InvertMatch: h.Invert}
	if h.Kind == model.MatchPresent {
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
		return out, nil
	}
	sm, err := stringMatch(h.StringMatch)
	if err != nil {
		return nil, err
	}
	out.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: sm}
	// A header that is not there is not what must not be there either: Envoy would say that nothing matches a missing header.
	out.TreatMissingHeaderAsEmpty = h.Invert
	return out, nil
}

func queryMatch(q model.NamedMatch) (*routev3.QueryParameterMatcher, error) {
	out := &routev3.QueryParameterMatcher{Name: q.Name}
	if q.Invert {
		return nil, errors.New("a query parameter that must not match cannot be said to a proxy")
	}
	if q.Kind == model.MatchPresent {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
		return out, nil
	}
	sm, err := stringMatch(q.StringMatch)
	if err != nil {
		return nil, err
	}
	out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: sm}
	return out, nil
}

// stringMatch says a comparison with a text that is there.
func stringMatch(m model.StringMatch) (*matcherv3.StringMatcher, error) {
	out := &matcherv3.StringMatcher{IgnoreCase: m.IgnoreCase}
	switch m.Kind {
	case model.MatchExact:
		out.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: m.Value}
	case model.MatchPrefix:
		if m.Value == "" { // Envoy wants at least a letter; everything begins with nothing
			return stringMatch(model.StringMatch{Kind: model.MatchRegex, Value: "(?s).*"})
		}
		out.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: m.Value}
	case model.MatchRegex:
		re, err := regexMatcher(m.Value, m.IgnoreCase)
		if err != nil {
			return nil, err
		}
		out.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: re}
		out.IgnoreCase = false
	case model.MatchAny, model.MatchPresent:
		return stringMatch(model.StringMatch{Kind: model.MatchRegex, Value: "(?s).*"})
	default:
		return nil, fmt.Errorf("match of kind %v is not known for a text", m.Kind)
	}
	return out, nil
}

// regexMatcher says an RE2 that was tried, because one that does not compile costs its whole resource.
func regexMatcher(expr string, ignoreCase bool) (*matcherv3.RegexMatcher, error) {
	if ignoreCase {
		expr = "(?i)" + expr
	}
	if _, err := compile(expr); err != nil {
		return nil, err
	}
	return &matcherv3.RegexMatcher{Regex: expr}, nil
}

func compile(expr string) (*regexp.Regexp, error) {
	re, err := regex.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	return re, nil
}

// substitution checks that a rewrite refers only to groups that the expression has.
func substitution(re *regexp.Regexp, s string) error {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		i++
		if i == len(s) {
			return fmt.Errorf("substitution %q ends with a backslash", s)
		}
		if s[i] == '\\' {
			continue
		}
		n, err := strconv.Atoi(s[i : i+1])
		if err != nil {
			return fmt.Errorf("substitution %q: \\%c stands for nothing", s, s[i])
		}
		if n > re.NumSubexp() {
			return fmt.Errorf("substitution %q refers to group %d of %d", s, n, re.NumSubexp())
		}
	}
	return nil
}
