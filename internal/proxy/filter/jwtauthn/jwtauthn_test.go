package jwtauthn

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/stats"
)

type exchange struct{ info message.Info }

func (x *exchange) Info() *message.Info     { return &x.info }
func (x *exchange) Wait(time.Duration) bool { panic("it has nothing to wait for") }

func get(path, token string) *exchange {
	x := &exchange{message.Info{Request: &message.Request{Method: "GET", Scheme: "http", Authority: "shop", Path: path}, Response: &message.Response{}}}
	if token != "" {
		x.info.Request.Fields.Add("authorization", "Bearer "+token)
	}
	return x
}

// signer is a key by number: its public half as a JWK set, and tokens.
func signer(n byte) (jwks string, token func(claims string) string) {
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(n)), ed25519.SeedSize)))
	b64 := base64.RawURLEncoding.EncodeToString
	jwks = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + b64(private.Public().(ed25519.PublicKey)) + `"}]}`
	return jwks, func(claims string) string {
		text := b64([]byte(`{"alg":"EdDSA"}`)) + "." + b64([]byte(claims))
		return text + "." + b64(ed25519.Sign(private, []byte(text)))
	}
}

func compile(t *testing.T, text string, env *filter.Env) *Policy {
	t.Helper()
	m := &jwtv3.JwtAuthentication{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	p, err := New(m, env)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const needs = `,"rules":[{"match":{"prefix":"/"},"requires":{"provider_name":"p"}}]}`

func local(jwks, more string) string {
	return fmt.Sprintf(`{"providers":{"p":{"issuer":"i","local_jwks":{"inline_string":%q}%s}}`, jwks, more) + needs
}

// details gives why a request is refused; "" is that it is not.
func details(p *Policy, x *exchange) string {
	reply := filter.Reply{Response: x.info.Response}
	if p.Request(x, &reply) {
		return strings.TrimPrefix(reply.Details, "jwt_authn_access_denied")
	}
	return ""
}

// What was verified is remembered, but neither longer than the token holds nor when its keys have changed.
func TestCache(t *testing.T) {
	jwks, token := signer('a')
	p := compile(t, local(jwks, `,"payload_in_metadata":"payload","forward":true`), nil)
	now := int64(1000)
	p.now = func() time.Time { return time.Unix(now, 0) }
	text := token(`{"iss":"i","exp":2000,"sub":"ann"}`)
	x := get("/", text)
	if d := details(p, x); d != "" {
		t.Fatal(d)
	}
	if got := x.info.MetadataAt("envoy.filters.http.jwt_authn", []string{"payload", "sub"}); got != "ann" {
		t.Errorf("metadata has %v", got)
	}
	if n := testing.AllocsPerRun(100, func() {
		x.info.Metadata = x.info.Metadata[:0]
		if details(p, x) != "" {
			t.Fatal("refused")
		}
	}); n > 3 { // what belongs to the check itself
		t.Errorf("%v allocations for a token that is known", n)
	}
	now = 2061
	if d := details(p, get("/", text)); d != "{Jwt_is_expired}" {
		t.Errorf("a remembered token outlives itself: %q", d)
	}
	for i := range 3 * defaultCache {
		p.providers[0].cache.put(fmt.Sprint(i), &verified{})
	}
	n := 0
	for i := range p.providers[0].cache.shards {
		n += len(p.providers[0].cache.shards[i].all)
	}
	if n > defaultCache {
		t.Errorf("%d tokens are remembered", n)
	}
}

// Keys are fetched when they are needed, once for all who need them, and again after a while. What cannot be fetched again goes on being used.
func TestRemote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, token := signer('a')
		second, next := signer('b')
		answer, fetches := first, 0
		env := &filter.Env{Stats: stats.New(stats.Workload{}), Fetch: func(_ context.Context, cluster, uri string) ([]byte, error) {
			if cluster != "id" || uri != "http://id/keys" {
				t.Errorf("%s %s", cluster, uri)
			}
			fetches++
			time.Sleep(10 * time.Millisecond)
			if answer == "" {
				return nil, errors.New("down")
			}
			return []byte(answer), nil
		}}
		p := compile(t, `{"providers":{"p":{"issuer":"i","remote_jwks":{"http_uri":{"uri":"http://id/keys","cluster":"id","timeout":"1s"},"cache_duration":"60s"}}}`+needs, env)
		old, young := token(`{"iss":"i"}`), next(`{"iss":"i"}`)
		want := func(text, what string, n int) {
			t.Helper()
			if d := details(p, get("/", text)); d != what || fetches != n {
				t.Errorf("%q after %d fetches, want %q after %d", d, fetches, what, n)
			}
		}
		answer = ""
		want(old, "{Jwks_remote_fetch_is_failed}", 1)
		want(old, "{Jwks_remote_fetch_is_failed}", 1)
		time.Sleep(2 * time.Second)
		answer = first
		want(old, "", 2)
		want(old, "", 2)
		want(young, "{Jwt_verification_fails}", 2)
		time.Sleep(61 * time.Second)
		answer = ""
		want(old, "", 3)
		time.Sleep(2 * time.Second)
		answer = second
		want(young, "", 4)
		want(old, "{Jwt_verification_fails}", 4)
	})
}

func TestRoute(t *testing.T) {
	jwks, token := signer('a')
	p := compile(t, strings.Replace(local(jwks, `,"forward_payload_header":"x-payload"`), needs, `,"requirement_map":{"needs":{"provider_name":"p"}}}`, 1), nil)
	for _, c := range []struct {
		route, token, details string
	}{
		{`{"requirement_name":"needs"}`, "", "jwt_authn_access_denied{Jwt_is_missing}"},
		{`{"requirement_name":"needs"}`, token(`{"iss":"i"}`), ""},
		{`{"requirement_name":"wrong"}`, token(`{"iss":"i"}`), "jwt_authn_access_denied{Wrong_requirement_name:_wrong}"},
		{`{"disabled":true}`, "", ""},
	} {
		m := &jwtv3.PerRouteConfig{}
		if err := protojson.Unmarshal([]byte(c.route), m); err != nil {
			t.Fatal(err)
		}
		r, err := NewRoute(m)
		if err != nil {
			t.Fatal(err)
		}
		x := get("/", c.token)
		reply := filter.Reply{Response: x.info.Response}
		if answered := r.Refine(p, x, &reply); answered != (c.details != "") || reply.Details != c.details {
			t.Errorf("%s: %s, want %s", c.route, reply.Details, c.details)
		}
	}
}

// A claim is no way to smuggle something into a request's head.
func TestClaimFields(t *testing.T) {
	jwks, token := signer('a')
	p := compile(t, local(jwks, `,"claim_to_headers":[{"header_name":"x-a","claim_name":"a"}]`), nil)
	for claim, want := range map[string]string{
		`"x"`: "x", `"a\r\nx-b: c"`: "", `"a\u0000"`: "", `7`: "7", `1.5`: "1.5", `true`: "true", `null`: "", `["a"]`: base64.RawURLEncoding.EncodeToString([]byte(`["a"]`)), `"ä"`: "ä",
	} {
		x := get("/", token(`{"iss":"i","a":`+claim+`}`))
		if d := details(p, x); d != "" {
			t.Fatal(d)
		}
		if got, _ := x.info.Request.Fields.Get("x-a"); got != want {
			t.Errorf("%s: %q, want %q", claim, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	jwks, _ := signer('a')
	for text, want := range map[string]string{
		`{"filter_state_rules":{}}`:                                                                               "filter_state_rules: this proxy does not know it",
		`{"providers":{"p":{}}}`:                                                                                  "providers[p].jwks_source_specifier: neither",
		`{"providers":{"p":{"remote_jwks":{}}}}`:                                                                  "providers[p].remote_jwks.http_uri.cluster: is empty",
		strings.Replace(local("{}", ""), needs, "}", 1):                                                           "providers[p].local_jwks: there is no key",
		`{"rules":[{"match":{"prefix":"/"},"requires":{"provider_name":"x"}}]}`:                                   `rules[0].requires.provider_name: there is no provider "x"`,
		`{"rules":[{"match":{"prefix":"/"},"requirement_name":"x"}]}`:                                             `rules[0].requirement_name: there is no "x"`,
		`{"rules":[{"match":{"prefix":"/"},"requires":{"extract_only_without_validation":{}}}]}`:                  `rules[0].requires: this proxy does not know its kind`,
		`{"rules":[{"match":{}}]}`:                                                                                `rules[0].match.path_specifier: which paths?`,
		strings.Replace(local(jwks, `,"claim_to_headers":[{"header_name":"x y","claim_name":"a"}]`), "x", "x", 1): "providers[p].claim_to_headers[0].header_name: ",
	} {
		m := &jwtv3.JwtAuthentication{}
		if err := protojson.Unmarshal([]byte(text), m); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if _, err := New(m, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
