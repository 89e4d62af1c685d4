package resource

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftmesh/weft/internal/model"
)

// authorization is a policy of namespace shop.
func authorization(action model.AuthorizationAction, name string, rules ...model.AuthorizationRule) *model.AuthorizationPolicy {
	return &model.AuthorizationPolicy{Name: model.ObjectName{Namespace: "shop", Name: name}, Action: action, Rules: rules}
}

func asks(a model.Attribute, values ...string) []model.Clause {
	c := model.Condition{Attribute: a}
	for _, v := range values {
		c.Values = append(c.Values, model.MakePattern(v))
	}
	return []model.Clause{{All: []model.Condition{c}}}
}

// What policies are to a proxy, in full.
func TestGoldenPolicies(t *testing.T) {
	not := model.Condition{Attribute: model.AttributePath, NotValues: []model.Pattern{{Text: "/open"}}}
	tried := authorization(model.AuthorizationDeny, "tried", model.AuthorizationRule{})
	tried.DryRun = true
	custom := authorization(model.AuthorizationCustom, "ask", model.AuthorizationRule{To: asks(model.AttributePath, "/ask*")})
	custom.Provider = "opa"
	guard := &model.Guard{
		Authorizations: []*model.AuthorizationPolicy{
			authorization(model.AuthorizationAllow, "readers", model.AuthorizationRule{Index: 1, From: asks(model.AttributePrincipal, "cluster.local/ns/shop/sa/api", "*/sa/ops"), To: asks(model.AttributeMethod, "GET", "HEAD"),
				When: []model.Condition{{Attribute: model.AttributeClaim, Path: []string{"groups"}, Values: []model.Pattern{{Text: "a"}, {Text: "b"}}}}}),
			authorization(model.AuthorizationAllow, "nothing"),
			authorization(model.AuthorizationDeny, "closed", model.AuthorizationRule{When: []model.Condition{not}, From: asks(model.AttributeNamespace, "dev")}),
			authorization(model.AuthorizationAudit, "seen", model.AuthorizationRule{}),
			tried, custom,
		},
		Authentications: []*model.RequestAuthentication{{Rules: []model.JWTRule{
			{Issuer: "b", Keys: `{"keys":[{"kty":"oct","k":"AAAA"}]}`, Audiences: []string{"shop"}, Headers: []model.TokenHeader{{Name: "x-token", Prefix: "T "}}, Params: []string{"t"}, Cookies: []string{"c"}, Forward: true,
				PayloadHeader: "x-payload", ClaimHeaders: []model.ClaimHeader{{Claim: "sub", Header: "x-sub"}}, SpaceDelimited: []string{"roles"}},
			{Issuer: "a"},
		}}},
	}
	golden(t, "policies_http", &hcmv3.HttpConnectionManager{HttpFilters: PoliciesHTTP(guard)})
	golden(t, "policies_tcp", &listenerv3.FilterChain{Filters: PoliciesTCP(guard)})
	guard.Authentications[0].Rules = guard.Authentications[0].Rules[1:]
	golden(t, "policies_jwt", jwtFilter(guard.Authentications))
	if PoliciesHTTP(&model.Guard{}) != nil || PoliciesTCP(&model.Guard{}) != nil {
		t.Error("who is not guarded has filters")
	}
}

// Keys in which a proxy finds none would cost it the listener: they are replaced by one that verifies nothing.
func TestKeysThatAreNone(t *testing.T) {
	for keys, want := range map[string]string{`{"keys":[{"kty":"oct","k":"AAAA"}]}`: `{"keys":[{"kty":"oct","k":"AAAA"}]}`, `{"keys":[]}`: unknownKey, `{"keys":[{"kty":"RSA"}]}`: unknownKey, "": unknownKey} {
		if got := jwtProvider(&model.JWTRule{Issuer: "i", Keys: keys}).GetLocalJwks().GetInlineString(); got != want {
			t.Errorf("%s: %s", keys, got)
		}
	}
}
