package resource

import (
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/internal/model"
)

// spiffeScheme is what the names in certificates of the mesh begin with, and those in policies do not.
const spiffeScheme = "spiffe://"

// principal says a condition on who asks.
func principal(c *model.Condition) (out []*rbacv3.Principal) {
	if len(c.Values) > 0 {
		out = append(out, anyOfPrincipals(c, c.Values))
	}
	if len(c.NotValues) > 0 {
		out = append(out, notPrincipal(anyOfPrincipals(c, c.NotValues)))
	}
	return out
}

func anyOfPrincipals(c *model.Condition, values []model.Pattern) *rbacv3.Principal {
	switch c.Attribute {
	case model.AttributeAudience:
		return claim([]string{"aud"}, values)
	case model.AttributePresenter:
		return claim([]string{"azp"}, values)
	case model.AttributeClaim:
		return claim(c.Path, values)
	}
	var list []*rbacv3.Principal
	for _, v := range values {
		list = append(list, principalOf(c, v))
	}
	if len(list) == 1 {
		return list[0]
	}
	return anyPrincipalOf(list...)
}

func principalOf(c *model.Condition, v model.Pattern) *rbacv3.Principal {
	switch c.Attribute {
	case model.AttributePrincipal:
		return peer(v)
	case model.AttributeRequestPrincipal:
		issuer, subject := v.Token()
		return allPrincipals([]*rbacv3.Principal{tokenField("iss", issuer), tokenField("sub", subject)})
	case model.AttributeAccount:
		namespace, name, _ := strings.Cut(v.Text, "/")
		return authenticated(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: utf8("/ns/" + namespace + "/sa/" + name)}})
	case model.AttributeNamespace:
		if v.Kind != model.PatternGlob {
			return authenticated(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: utf8("/ns/" + v.Text + "/")}})
		}
		parts := strings.Split(utf8(v.Text), "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		return authenticated(regexPattern(".*/ns/" + strings.Join(parts, ".*") + "/.*"))
	case model.AttributeRemoteIP:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: block(v)}}
	case model.AttributeSourceIP:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: block(v)}}
	default: // AttributeHeader
		name := ""
		if len(c.Path) > 0 {
			name = utf8(c.Path[0])
		}
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Header{Header: headerPattern(name, v, false)}}
	}
}

// peer says what the name in a client's certificate must be.
func peer(v model.Pattern) *rbacv3.Principal {
	switch v.Kind {
	case model.PatternPresent:
		return authenticated(somethingThere())
	case model.PatternSuffix:
		return allPrincipals([]*rbacv3.Principal{authenticated(pattern(model.Pattern{Kind: model.PatternPrefix, Text: spiffeScheme}, false)), authenticated(pattern(v, false))})
	}
	v.Text = spiffeScheme + v.Text
	return authenticated(pattern(v, false))
}

func authenticated(name *matcherv3.StringMatcher) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: &rbacv3.Principal_Authenticated{PrincipalName: name}}}
}

// tokenField says what a claim of the request's token must be.
func tokenField(name string, v model.Pattern) *rbacv3.Principal {
	return token([]string{name}, stringValue(v))
}

// claim says what a claim of the request's token, or one of the elements of its list, must be.
func claim(path []string, values []model.Pattern) *rbacv3.Principal {
	var list []*matcherv3.ValueMatcher
	for _, v := range values {
		list = append(list, stringValue(v))
	}
	one := list[0]
	if len(list) > 1 {
		one = anyValue(list...)
	}
	return token(path, anyValue(
		&matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: one}}}}, one))
}

func token(path []string, value *matcherv3.ValueMatcher) *rbacv3.Principal {
	m := &matcherv3.MetadataMatcher{Filter: jwtFilterName, Value: value}
	for _, key := range append([]string{jwtPayload}, path...) {
		m.Path = append(m.Path, &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: utf8(key)}})
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Metadata{Metadata: m}}
}

func stringValue(v model.Pattern) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: pattern(v, false)}}
}

func anyValue(list ...*matcherv3.ValueMatcher) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{OrMatch: &matcherv3.OrMatcher{ValueMatchers: list}}}
}

// block says a block of addresses. One that is none is not valid.
func block(v model.Pattern) *corev3.CidrRange {
	if !v.Block.IsValid() {
		return &corev3.CidrRange{}
	}
	return cidr(v.Block)
}

func anyPrincipal() *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
}

func notPrincipal(p *rbacv3.Principal) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: p}}
}

func anyPrincipalOf(list ...*rbacv3.Principal) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: list}}}
}

func allPrincipals(list []*rbacv3.Principal) *rbacv3.Principal {
	switch len(list) {
	case 0:
		return anyPrincipal()
	case 1:
		return list[0]
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: list}}}
}
