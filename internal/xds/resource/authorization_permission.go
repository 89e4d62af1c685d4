package resource

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/internal/model"
)

// permission says a condition on what is asked for.
func permission(c *model.Condition) (out []*rbacv3.Permission) {
	if len(c.Values) > 0 {
		out = append(out, anyOfPermissions(c.Attribute, c.Values))
	}
	if len(c.NotValues) > 0 {
		out = append(out, notPermission(anyOfPermissions(c.Attribute, c.NotValues)))
	}
	return out
}

func anyOfPermissions(a model.Attribute, values []model.Pattern) *rbacv3.Permission {
	var list []*rbacv3.Permission
	for _, v := range values {
		list = append(list, permissionOf(a, v))
	}
	if len(list) == 1 {
		return list[0]
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: list}}}
}

func permissionOf(a model.Attribute, v model.Pattern) *rbacv3.Permission {
	switch a {
	case model.AttributeHost:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: headerPattern(":authority", v, true)}}
	case model.AttributeMethod:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: headerPattern(":method", v, false)}}
	case model.AttributePath:
		if v.Kind == model.PatternTemplate {
			return &rbacv3.Permission{Rule: &rbacv3.Permission_UriTemplate{UriTemplate: &corev3.TypedExtensionConfig{
				Name: "uri-template", TypedConfig: pack(&uritemplatev3.UriTemplateMatchConfig{PathTemplate: templates.Replace(utf8(v.Text))}),
			}}}
		}
		return &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: pattern(v, false)}}}}
	case model.AttributePort:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPort{DestinationPort: uint32(v.Port)}}
	case model.AttributeDestinationIP:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationIp{DestinationIp: block(v)}}
	default: // AttributeSNI
		return &rbacv3.Permission{Rule: &rbacv3.Permission_RequestedServerName{RequestedServerName: pattern(v, false)}}
	}
}

// templates makes a template of AuthorizationPolicy one of Envoy.
var templates = strings.NewReplacer("{**}", "**", "{*}", "*")

// pattern says a comparison of texts.
func pattern(v model.Pattern, ignoreCase bool) *matcherv3.StringMatcher {
	m := &matcherv3.StringMatcher{IgnoreCase: ignoreCase}
	switch v.Kind {
	case model.PatternPrefix:
		m.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: utf8(v.Text)}
	case model.PatternSuffix:
		m.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: utf8(v.Text)}
	case model.PatternPresent:
		return somethingThere()
	default:
		m.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: utf8(v.Text)}
	}
	return m
}

// somethingThere is any text but the empty one.
func somethingThere() *matcherv3.StringMatcher { return regexPattern(".+") }

func regexPattern(expr string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: expr}}}
}

func headerPattern(name string, v model.Pattern, ignoreCase bool) *routev3.HeaderMatcher {
	if v.Kind == model.PatternPresent {
		return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	}
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: pattern(v, ignoreCase)}}
}

func anyPermission() *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
}

func notPermission(p *rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: p}}
}

func allPermissions(list []*rbacv3.Permission) *rbacv3.Permission {
	switch len(list) {
	case 0:
		return anyPermission()
	case 1:
		return list[0]
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: list}}}
}
