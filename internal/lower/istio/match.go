package istio

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/regex"
)

// maxRegexBytes is the longest regular expression that Istio takes.
const maxRegexBytes = 1024

// lowerMatch reads a match; ok is false for one that cannot hold as it was meant.
func (s *routes) lowerMatch(m *networking.HTTPMatchRequest, at spot) (out model.Match, ok bool) {
	out, ok = s.conditions(m.GetPort(), m.GetGateways(), m.GetSourceLabels(), m.GetSourceNamespace(), at)
	out.Name, out.Origin = m.GetName(), at.where
	if m == nil {
		return out, ok
	}
	if len(m.Gateways) > 0 && (len(m.SourceLabels) > 0 || m.SourceNamespace != "") {
		at.warnf(codeNoEffect, "sourceLabels and sourceNamespace have no effect beside gateways") // as in Istio, for HTTP
		out.SourceLabels, out.SourceNamespace = "", ""
	}
	read := func(in *networking.StringMatch, field string) model.StringMatch {
		sm, good := stringMatch(in, at.in(field), field == "uri")
		ok = ok && good
		if sm.Kind == model.MatchPresent { // there always is one
			return model.StringMatch{}
		}
		return sm
	}
	out.Path, out.Method, out.Scheme, out.Authority = read(m.Uri, "uri"), read(m.Method, "method"), read(m.Scheme, "scheme"), read(m.Authority, "authority")
	out.Path.IgnoreCase = m.IgnoreUriCase
	headers, good := namedMatches(m.Headers, "headers", false, at)
	without, good2 := namedMatches(m.WithoutHeaders, "withoutHeaders", true, at)
	out.Headers = append(headers, without...)
	var good3 bool
	out.Query, good3 = namedMatches(m.QueryParams, "queryParams", false, at)
	at.in("statPrefix").unsupported(m.StatPrefix != "")
	return out, ok && good && good2 && good3
}

// conditions reads what all kinds of matches have in common.
func (s *routes) conditions(port uint32, gateways []string, labels map[string]string, namespace string, at spot) (out model.Match, ok bool) {
	ok = true
	if port != 0 {
		out.Port = at.in("port").port(port)
		ok = out.Port != 0
	}
	inMatch := &routes{namespace: s.namespace, spot: at}
	out.Gateways = inMatch.gatewayNames(gateways)
	for i, g := range out.Gateways {
		if s.gateways != nil && !slices.Contains(s.gateways, g) {
			at.at("gateways", i).warnf(codeNoEffect, "spec.gateways does not name %q, so that the match never holds there", gateways[i])
		}
	}
	var good bool
	out.SourceLabels, good = at.labels("sourceLabels", labels)
	ok = ok && good
	if namespace != "" && len(validation.IsDNS1123Label(namespace)) > 0 {
		at.in("sourceNamespace").errorf(codeMatch, "%q is no namespace; the match is left out", namespace)
		ok = false
	}
	out.SourceNamespace = namespace
	return out, ok
}

// stringMatch reads a comparison. Without a type it asks for presence. empty says that an empty prefix is fine.
func stringMatch(in *networking.StringMatch, at spot, empty bool) (out model.StringMatch, ok bool) {
	if in == nil {
		return out, true
	}
	switch m := in.MatchType.(type) {
	case *networking.StringMatch_Exact:
		return model.StringMatch{Kind: model.MatchExact, Value: m.Exact}, true
	case *networking.StringMatch_Prefix:
		if m.Prefix == "" && !empty {
			at.in("prefix").errorf(codeMatch, "must not be empty; the match is left out")
			return out, false
		}
		return model.StringMatch{Kind: model.MatchPrefix, Value: m.Prefix}, true
	case *networking.StringMatch_Regex:
		return model.StringMatch{Kind: model.MatchRegex, Value: m.Regex}, goodRegex(m.Regex, at.in("regex"), "the match is left out")
	}
	return model.StringMatch{Kind: model.MatchPresent}, true
}

func goodRegex(re string, at spot, otherwise string) bool {
	if re == "" {
		at.errorf(codeRegex, "must not be empty; %s", otherwise)
		return false
	}
	if len(re) > maxRegexBytes {
		at.errorf(codeRegex, "is longer than %d bytes; %s", maxRegexBytes, otherwise)
		return false
	}
	if _, err := regex.Compile(re); err != nil {
		at.errorf(codeRegex, "%q is no regular expression (RE2): %s; %s", re, strings.TrimPrefix(err.Error(), "error parsing regexp: "), otherwise)
		return false
	}
	return true
}

// namedMatches reads comparisons with headers or query parameters, sorted by name. The regular expression "*" is Istio's word for presence.
func namedMatches(set map[string]*networking.StringMatch, field string, invert bool, at spot) (out []model.NamedMatch, ok bool) {
	ok = true
	for _, name := range slices.Sorted(maps.Keys(set)) {
		spot := at.key(field, name)
		n := model.NamedMatch{Name: name, Invert: invert}
		if field != "queryParams" {
			n.Name = strings.ToLower(name)
			switch {
			case strings.HasPrefix(n.Name, "@request.auth.claims"):
				spot.errorf(codeUnsupported, "matching by claims of a token is not supported; the match is left out")
				ok = false
				continue
			case !isToken(strings.TrimPrefix(name, ":")):
				spot.errorf(codeHeader, "%q is no name of a header; the match is left out", name)
				ok = false
				continue
			}
		}
		var good bool
		switch in := set[name]; {
		case in.GetRegex() == "*" || in == nil:
			n.StringMatch, good = model.StringMatch{Kind: model.MatchPresent}, true
		default:
			n.StringMatch, good = stringMatch(in, spot, false)
		}
		ok = ok && good
		out = append(out, n)
	}
	slices.SortStableFunc(out, func(a, b model.NamedMatch) int { return strings.Compare(a.Name, b.Name) })
	return out, ok
}

// isToken tells whether a text can be the name of a header (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
