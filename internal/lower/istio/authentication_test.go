package istio

import (
	"testing"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

const someKeys = `{"keys":[{"kty":"RSA","n":"a","e":"AQAB"}]}`

func (w *world) authentications(namespace string, labels model.Labels) []*model.RequestAuthentication {
	w.t.Helper()
	return ask(w, func(r *derive.Reader) []*model.RequestAuthentication {
		return w.lowered.RequestAuthenticationsFor(r, namespace, labels)
	})
}

func (w *world) fetched(set model.KeySet) {
	w.src.Commit(func(tx *store.Tx) { w.keySets.Put(tx, &set) })
}

func TestRequestAuthentication(t *testing.T) {
	w := newWorld(t)
	w.apply(`
kind: RequestAuthentication
metadata: {namespace: shop, name: x}
spec:
  selector: {matchLabels: {app: web}}
  jwtRules:
  - {issuer: me, jwks: '` + someKeys + `', audiences: [a, b], fromHeaders: [{name: x-t, prefix: "T "}], fromParams: [t], fromCookies: [c], forwardOriginalToken: true, outputPayloadToHeader: x-p,
    outputClaimToHeaders: [{claim: sub, header: x-sub}], spaceDelimitedClaims: [z, roles]}
  - {issuer: you, jwksUri: "https://you.test/k", timeout: 2s}
  - {issuer: "https://they.test/"}`)
	w.wantNoFindings()
	o := func(field string) model.Origin { return at("RequestAuthentication", "x", field) }
	want := func(you string) []*model.RequestAuthentication {
		return []*model.RequestAuthentication{{Name: model.ObjectName(shop("x")), Origin: o(""), Rules: []model.JWTRule{
			{Issuer: "me", Audiences: []string{"a", "b"}, Keys: someKeys, Headers: []model.TokenHeader{{Name: "x-t", Prefix: "T "}}, Params: []string{"t"}, Cookies: []string{"c"}, Forward: true,
				PayloadHeader: "x-p", ClaimHeaders: []model.ClaimHeader{{Claim: "sub", Header: "x-sub"}}, SpaceDelimited: []string{"roles", "z"}, Origin: o("spec.jwtRules[0]")},
			{Issuer: "you", Keys: you, Origin: o("spec.jwtRules[1]")}, {Issuer: "https://they.test/", Origin: o("spec.jwtRules[2]")},
		}}}
	}
	wantEqual(t, want(""), w.authentications("shop", "app=web"))
	wantEqual(t, ([]*model.RequestAuthentication)(nil), w.authentications("shop", "app=api"))
	wantEqual(t, []model.KeySource{{URL: "https://you.test/k", Timeout: 2e9}, {URL: "https://they.test" + model.OpenIDConfiguration}}, w.lowered.KeySources.Read(shop("x")))
	w.fetched(model.KeySet{URL: "https://you.test/k", Keys: someKeys})
	wantEqual(t, want(someKeys), w.authentications("shop", "app=web"))
	w.fetched(model.KeySet{URL: "https://you.test/k", Keys: someKeys, Problem: "it is late"})
	wantEqual(t, want(someKeys), w.authentications("shop", "app=web"))
	w.fetched(model.KeySet{URL: "https://they.test" + model.OpenIDConfiguration, Problem: "nobody is there"})
	w.wantNoMoreThan(
		"error RequestAuthentication shop/x spec.jwtRules[2].issuer: there are no keys, and every token is refused: nobody is there (invalid-keys)",
		"warning RequestAuthentication shop/x spec.jwtRules[1].jwksUri: the keys that were had before are used: it is late (invalid-keys)")
}

// What cannot be read believes no token.
func TestRequestAuthenticationThatCannotBeRead(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		keys       bool
		found      []string
	}{
		{"keys that are none", "{issuer: a, jwks: nonsense}", false, []string{"error spec.jwtRules[0].jwks (invalid-keys)"}},
		{"no keys", "{issuer: a, jwks: '{\"keys\":[]}'}", false, []string{"error spec.jwtRules[0].jwks (invalid-keys)"}},
		{"a private key", "{issuer: a, jwks: '{\"keys\":[{\"kty\":\"RSA\",\"d\":\"x\"}]}'}", true, []string{"warning spec.jwtRules[0].jwks (invalid-keys)"}},
		{"keys twice", "{issuer: a, jwks: '" + someKeys + "', jwksUri: 'http://a/b'}", true, []string{"warning spec.jwtRules[0].jwksUri (conflicting-fields)"}},
		{"keys nowhere", "{issuer: a}", false, []string{"error spec.jwtRules[0].issuer (invalid-keys)"}},
		{"keys of another scheme", "{issuer: a, jwksUri: 'file:///etc/passwd'}", false, []string{"error spec.jwtRules[0].jwksUri (invalid-keys)"}},
		{"nobody at all", "{}", false, []string{"error spec.jwtRules[0].issuer (invalid-keys)"}},
		{"for nobody", "{issuer: a, jwks: '" + someKeys + "', audiences: ['']}", false, []string{"error spec.jwtRules[0].audiences[0] (invalid-value)"}},
		{"fields", "{issuer: a, jwks: '" + someKeys + "', timeout: 0.0001s, fromHeaders: [{name: 'a b'}, {}], fromParams: [''], fromCookies: [''], outputPayloadToHeader: 'a b', outputClaimToHeaders: [{header: x}, {claim: x, header: ''}]}", true, []string{
			"error spec.jwtRules[0].fromCookies[0] (invalid-value)", "error spec.jwtRules[0].fromHeaders[0].name (invalid-header)", "error spec.jwtRules[0].fromHeaders[1].name (invalid-header)",
			"error spec.jwtRules[0].fromParams[0] (invalid-value)", "error spec.jwtRules[0].outputClaimToHeaders[0].claim (missing-field)", "error spec.jwtRules[0].outputClaimToHeaders[1].header (invalid-header)",
			"error spec.jwtRules[0].outputPayloadToHeader (invalid-header)", "error spec.jwtRules[0].timeout (invalid-duration)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply("kind: RequestAuthentication\nmetadata: {namespace: shop, name: x}\nspec: {jwtRules: [" + c.rule + "]}")
			wantEqual(t, c.found, w.brief("RequestAuthentication shop/x "))
			got := w.authentications("shop", "")
			if len(got) != 1 || len(got[0].Rules) != 1 || (got[0].Rules[0].Keys != "") != c.keys {
				t.Errorf("%+v", got)
			}
		})
	}
}
