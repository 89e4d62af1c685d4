package policies

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

var raw = base64.RawURLEncoding

// issuer signs tokens.
type issuer struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{r, e}
}

// jwks is the public keys.
func (i *issuer) jwks(t *testing.T) string {
	t.Helper()
	point, err := i.ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":"r","n":%q,"e":"AQAB"},{"kty":"EC","kid":"e","crv":"P-256","x":%q,"y":%q}]}`,
		raw.EncodeToString(i.rsa.N.Bytes()), raw.EncodeToString(point[1:33]), raw.EncodeToString(point[33:]))
}

// token signs claims; kid says with which key.
func (i *issuer) token(t *testing.T, kid, claims string) string {
	t.Helper()
	alg := map[string]string{"r": "RS256", "e": "ES256", "x": "RS256"}[kid]
	text := raw.EncodeToString([]byte(`{"alg":"`+alg+`","kid":"`+kid+`"}`)) + "." + raw.EncodeToString([]byte(claims))
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	if kid == "e" {
		r, s, err := ecdsa.Sign(rand.Reader, i.ec, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		signature = make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
	} else {
		var err error
		if signature, err = rsa.SignPKCS1v15(rand.Reader, i.rsa, crypto.SHA256, sum[:]); err != nil {
			t.Fatal(err)
		}
	}
	return text + "." + raw.EncodeToString(signature)
}

func jwtAuthn(config string) string {
	return `{name: envoy.filters.http.jwt_authn, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication, ` + config + `}}`
}

func denied(status int, what string) string {
	return fmt.Sprintf("%d %s|- jwt_authn_access_denied{%s}", status, what, strings.ReplaceAll(what, " ", "_"))
}

func TestJWT(t *testing.T) {
	i, stranger := newIssuer(t), newIssuer(t)
	now := time.Now().Unix()
	claims := func(iss, more string) string {
		return fmt.Sprintf(`{"iss":%q,"sub":"ann","exp":%d,"scope":"read write","level":3,"admin":true,"org":{"unit":"a b"},"groups":["red","blue"]%s}`, iss, now+600, more)
	}
	ann := claims("https://id.example", "")
	good, goodEC := i.token(t, "r", ann), i.token(t, "e", ann)
	payload := strings.Split(good, ".")[1]
	expired := i.token(t, "r", fmt.Sprintf(`{"iss":"https://id.example","exp":%d}`, now-100))
	early := i.token(t, "r", fmt.Sprintf(`{"iss":"https://id.example","nbf":%d}`, now+3600))
	skewed := i.token(t, "r", fmt.Sprintf(`{"iss":"https://id.example","exp":%d}`, now-5))
	other := i.token(t, "r", claims("https://other.example", ""))
	shop := i.token(t, "r", claims("https://id.example", `,"aud":["https://shop/","web"]`))
	second := i.token(t, "r", claims("second", ""))
	forged, forgedShop := stranger.token(t, "r", ann), stranger.token(t, "r", claims("https://id.example", `,"aud":"shop"`))
	unknown := i.token(t, "x", ann)
	none := raw.EncodeToString([]byte(`{"alg":"none"}`)) + "." + payload + "."
	provider := func(more string) string {
		return fmt.Sprintf(`{issuer: "https://id.example", local_jwks: {inline_string: %q}%s}`, i.jwks(t), more)
	}
	const anyPath = `rules: [{match: {prefix: /}, requires: `
	istio := jwtAuthn(`bypass_cors_preflight: true, providers: {origins-0: ` + provider(`, forward: true, payload_in_metadata: payload, normalize_payload_in_metadata: {space_delimited_claims: [scope]},
		claim_to_headers: [{header_name: x-sub, claim_name: sub}, {header_name: x-level, claim_name: level}, {header_name: x-admin, claim_name: admin}, {header_name: x-unit, claim_name: org.unit},
		{header_name: x-none, claim_name: none}]`) + `},
		` + anyPath + `{requires_any: {requirements: [{provider_name: origins-0}, {allow_missing: {}}]}}}]`)
	claim := func(path, value string) string {
		return `{metadata: {filter: envoy.filters.http.jwt_authn, path: [{key: payload}, {key: ` + path + `}], value: {or_match: {value_matchers: [{list_match: {one_of: {string_match: {exact: ` + value + `}}}}, {string_match: {exact: ` + value + `}}]}}}}`
	}
	bearer := func(token string) string { return " authorization=Bearer+" + token }
	both(t, i.jwks(t), []policy{
		{name: "istio", filters: istio, requests: []request{
			{ask: "GET /", want: passed, shows: []string{"endpoint:x-sub="}},
			{ask: "GET / x-sub=lie x-none=lie", want: passed, shows: []string{"endpoint:x-sub=", "endpoint:x-none="}},
			{ask: "GET /" + bearer(good), want: passed, shows: []string{"endpoint:authorization=Bearer " + good, "endpoint:x-sub=ann", "endpoint:x-level=3", "endpoint:x-admin=true", "endpoint:x-unit=a b"}},
			{ask: "GET /" + bearer(goodEC) + " x-sub=lie", want: passed, shows: []string{"endpoint:x-sub=ann"}},
			{ask: "GET /" + bearer(good), want: passed, shows: []string{"endpoint:x-sub=ann"}},
			{ask: "GET /p?access_token=" + good, want: passed, shows: []string{"endpoint:x-sub=ann", "endpoint::path=/p?access_token=" + good}},
			{ask: "GET /" + bearer(forged), want: denied(401, "Jwt verification fails")},
			{ask: "GET /" + bearer(expired), want: denied(401, "Jwt is expired")},
			{ask: "GET /" + bearer(skewed), want: passed},
			{ask: "GET /" + bearer(early), want: denied(401, "Jwt not yet valid")},
			{ask: "GET /" + bearer(other), want: denied(401, "Jwt issuer is not configured")},
			{ask: "GET /" + bearer(unknown), want: denied(401, "Jwks doesn't have key to match kid or alg from Jwt")},
			{ask: "GET /" + bearer(none), want: denied(401, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")},
			{ask: "GET /" + bearer(none+"AAAA"), want: denied(401, "Jwt header [alg] is not supported")},
			{ask: "GET /" + bearer("a.b"), want: denied(401, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")},
			{ask: "GET /" + bearer(good+"x"), want: denied(401, "Jwt verification fails")},
			{ask: "GET / authorization=Basic+abc", want: passed},
			{ask: "GET / authorization=bearer+" + forged, want: passed},
			{ask: "GET / authorization=Bearer", want: passed},
			{ask: "OPTIONS / origin=x access-control-request-method=GET" + bearer(forged), want: passed},
		}},
		{name: "required", filters: jwtAuthn(`providers: {p: ` + provider(`, audiences: [shop], forward_payload_header: x-payload, from_headers: [{name: x-token, value_prefix: "T "}], from_params: [t], from_cookies: [c]`) + `},
			rules: [{match: {prefix: /open}}, {match: {path: /audience}, requires: {provider_and_audiences: {provider_name: p, audiences: [other]}}}, {match: {prefix: /}, requires: {provider_name: p}}]`),
			requests: []request{
				{ask: "GET /", want: denied(401, "Jwt is missing"), shows: []string{`www-authenticate=Bearer realm="http://HOST/"`}},
				{ask: "GET /open", want: passed},
				{ask: "GET /x?y=1 x-token=T+" + forgedShop, want: denied(401, "Jwt verification fails"), shows: []string{`www-authenticate=Bearer realm="http://HOST/x?y=1", error="invalid_token"`}},
				{ask: "GET / x-token=T+" + good, want: denied(403, "Audiences in Jwt are not allowed")},
				{ask: "GET / x-token=T+" + shop + " x-payload=lie", want: passed, shows: []string{"endpoint:x-token=", "endpoint:x-payload=" + strings.Split(shop, ".")[1]}},
				{ask: "GET /q?a=1&t=" + shop + "&b=2", want: passed, shows: []string{"endpoint::path=/q?a=1&b=2"}},
				{ask: "GET /q?t=" + shop, want: passed, shows: []string{"endpoint::path=/q"}},
				{ask: "GET / cookie=a=b;c=" + shop, want: passed},
				{ask: "GET /" + bearer(shop), want: denied(401, "Jwt is missing")},
				{ask: "GET /audience x-token=T+" + shop, want: denied(403, "Audiences in Jwt are not allowed")},
			}},
		{name: "two", filters: jwtAuthn(`providers: {a: ` + provider("") + `, b: {issuer: second, local_jwks: {inline_string: ` + fmt.Sprintf("%q", i.jwks(t)) + `}}},
			` + anyPath + `{requires_any: {requirements: [{provider_name: a}, {provider_name: b}, {requires_all: {requirements: [
			{requires_any: {requirements: [{provider_name: a}, {allow_missing: {}}]}}, {requires_any: {requirements: [{provider_name: b}, {allow_missing: {}}]}}]}}]}}}]`),
			requests: []request{
				{ask: "GET /", want: passed},
				{ask: "GET /" + bearer(good), want: passed},
				{ask: "GET /" + bearer(second), want: passed},
				{ask: "GET /" + bearer(other), want: denied(401, "Jwt issuer is not configured")},
				{ask: "GET /" + bearer(forged), want: denied(401, "Jwt verification fails")},
				{ask: "GET /" + bearer(expired), want: denied(401, "Jwt is expired")},
			}},
		{name: "all", filters: jwtAuthn(`providers: {a: ` + provider(`, from_headers: [{name: x-a}]`) + `, b: {issuer: second, from_headers: [{name: x-b}], local_jwks: {inline_string: ` + fmt.Sprintf("%q", i.jwks(t)) + `}}},
			rules: [{match: {prefix: /failed}, requires: {allow_missing_or_failed: {}}}, {match: {prefix: /}, requires: {requires_all: {requirements: [{provider_name: a}, {provider_name: b}]}}}]`),
			requests: []request{
				{ask: "GET / x-a=" + good + " x-b=" + second, want: passed},
				{ask: "GET / x-a=" + good, want: denied(401, "Jwt is missing")},
				{ask: "GET / x-a=" + second + " x-b=" + good, want: denied(401, "Jwt issuer is not configured")},
				{ask: "GET /failed x-a=" + forged, want: passed},
				{ask: "GET /failed", want: passed},
			}},
		{name: "route", filters: jwtAuthn(`providers: {a: ` + provider(``) + `}, requirement_map: {needs: {provider_name: a}}`),
			route: `, typed_per_filter_config: {envoy.filters.http.jwt_authn: {"@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig, requirement_name: needs}}`,
			requests: []request{
				{ask: "GET /", want: passed},
				{ask: "GET /off", want: denied(401, "Jwt is missing")},
				{ask: "GET /off" + bearer(good), want: passed},
			}},
		{name: "remote", filters: jwtAuthn(`providers: {a: {issuer: "https://id.example", remote_jwks: {http_uri: {uri: "http://id.example/jwks", cluster: web, timeout: 5s}, cache_duration: 300s}}}, ` +
			anyPath + `{provider_name: a}}]`),
			requests: []request{
				{ask: "GET /" + bearer(good), want: passed},
				{ask: "GET /" + bearer(forged), want: denied(401, "Jwt verification fails")},
			}},
		{name: "nowhere", filters: jwtAuthn(`providers: {a: {issuer: "https://id.example", remote_jwks: {http_uri: {uri: "http://id.example/other", cluster: web, timeout: 5s}}}}, ` +
			anyPath + `{provider_name: a}}]`),
			requests: []request{{ask: "GET /" + bearer(good), want: denied(401, "Jwks remote fetch is failed")}}},
		{name: "claims", filters: istio + `, ` + rbac(`rules: {action: ALLOW, policies: {p: {permissions: [{any: true}], principals: [{or_ids: {ids: [`+claim("scope", "write")+`, `+claim("groups", "green")+`]}}]}}}`),
			requests: []request{
				{ask: "GET /", want: noPolicy},
				{ask: "GET /" + bearer(good), want: passed},
				{ask: "GET /" + bearer(skewed), want: noPolicy},
				{ask: "GET /" + bearer(forged), want: denied(401, "Jwt verification fails")},
			}},
		{name: "groups", filters: istio + `, ` + rbac(`rules: `+rules("DENY", anybody, claim("groups", "blue"))),
			requests: []request{
				{ask: "GET /", want: passed},
				{ask: "GET /" + bearer(good), want: byPolicy},
			}},
	})
}
