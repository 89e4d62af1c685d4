package resource

import (
	"cmp"
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy/jwt"
)

const (
	jwtFilterName = "envoy.filters.http.jwt_authn"
	jwtPayload    = "payload" // where in the filter's metadata the claims of a token are that is believed
)

// unknownKey is the public half of a key whose private half was thrown away when it was made: no token is ever signed with it.
const unknownKey = `{"keys":[{"kty":"RSA","e":"AQAB","n":"uGx_IvPAl8i_wsYsm0L5uVg1NpRKtNMAvM9k_1d3cjbsGqjaAOZ0j636LDUE7ym51whs5np6KeMcdNihlSXLZWcb9iUr0gdXafqIg-0VvD_7EJll8XBrWhbj_1v1znTCPFtQm27BfvXAPCngeJJLiHSkpy7J6Iu4SFBVsX7Z5HkLMgybGgjvSUTNwrZiXo_pSihHKOfpHT4bjAW8SQgEkp0S0gZyfva1dG9zMnesqyT9GHk4YoEl39Ldj5AI1kbL_6jhrOMtYrPwAjo1w-YhyrrXCVh9X04mVGkH-WJr_YcFVyQp3LRqTLutUqd6JY1HjXUobKRhWL-nIK08wGop2Q"}]}`

// spaceDelimited are the claims whose texts are lists in every token.
var spaceDelimited = []string{"permission", "scope"}

// jwtFilter says which tokens are believed, nil if nothing is said of any. A token that is there must be a good one for each issuer that finds it
// where it looks, unless one believes it; no token is good too.
func jwtFilter(list []*model.RequestAuthentication) *hcmv3.HttpFilter {
	var rules []*model.JWTRule
	for _, a := range list {
		for i := range a.Rules {
			rules = append(rules, &a.Rules[i])
		}
	}
	if len(rules) == 0 {
		return nil
	}
	slices.SortStableFunc(rules, func(a, b *model.JWTRule) int { return cmp.Compare(a.Issuer, b.Issuer) })
	out := &jwtv3.JwtAuthentication{Providers: map[string]*jwtv3.JwtProvider{}, BypassCorsPreflight: true}
	var some, each []*jwtv3.JwtRequirement
	for i, r := range rules {
		name := fmt.Sprintf("origins-%d", i)
		out.Providers[name] = jwtProvider(r)
		this := &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: name}}
		none := &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}}}
		some, each = append(some, this), append(each, anyRequirement(this, none))
	}
	requires := each[0]
	if len(each) > 1 {
		requires = anyRequirement(append(some, &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAll{RequiresAll: &jwtv3.JwtRequirementAndList{Requirements: each}}})...)
	}
	out.Rules = []*jwtv3.RequirementRule{{
		Match:           &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		RequirementType: &jwtv3.RequirementRule_Requires{Requires: requires},
	}}
	return filter(jwtFilterName, out)
}

func anyRequirement(list ...*jwtv3.JwtRequirement) *jwtv3.JwtRequirement {
	return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAny{RequiresAny: &jwtv3.JwtRequirementOrList{Requirements: list}}}
}

// jwtProvider says one rule. One that a proxy would not take finds tokens where it would, and believes none.
func jwtProvider(r *model.JWTRule) *jwtv3.JwtProvider {
	out := &jwtv3.JwtProvider{
		Issuer: utf8(r.Issuer), Audiences: sayableTexts(r.Audiences), Forward: r.Forward, ForwardPayloadHeader: r.PayloadHeader, PayloadInMetadata: jwtPayload,
		NormalizePayloadInMetadata: &jwtv3.JwtProvider_NormalizePayload{SpaceDelimitedClaims: claimLists(r.SpaceDelimited)},
		FromParams:                 sayableTexts(r.Params), FromCookies: sayableTexts(r.Cookies), JwksSourceSpecifier: keys(known(r.Keys)),
	}
	for _, h := range r.Headers {
		out.FromHeaders = append(out.FromHeaders, &jwtv3.JwtHeader{Name: h.Name, ValuePrefix: h.Prefix})
	}
	for _, c := range r.ClaimHeaders {
		out.ClaimToHeaders = append(out.ClaimToHeaders, &jwtv3.JwtClaimToHeader{HeaderName: c.Header, ClaimName: utf8(c.Claim)})
	}
	if valid(out) != nil {
		return &jwtv3.JwtProvider{Issuer: utf8(r.Issuer), PayloadInMetadata: jwtPayload, JwksSourceSpecifier: keys(unknownKey)}
	}
	return out
}

// known gives keys that a proxy takes: one that finds no key in them would refuse the whole listener.
func known(jwks string) string {
	if _, err := jwt.ParseKeys([]byte(jwks)); err != nil {
		return unknownKey
	}
	return jwks
}

func keys(jwks string) *jwtv3.JwtProvider_LocalJwks {
	return &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: utf8(jwks)}}}
}

// claimLists are the claims that are lists.
func claimLists(more []string) []string {
	out := sayableTexts(append(slices.Clone(spaceDelimited), more...))
	slices.Sort(out)
	return slices.Compact(out)
}

func sayableTexts(list []string) (out []string) {
	for _, s := range list {
		out = append(out, utf8(s))
	}
	return out
}
