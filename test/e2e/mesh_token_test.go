package e2e

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/demo"
)

// issuer signs tokens (RFC 7515, ES256).
type issuer struct {
	t   *testing.T
	key *ecdsa.PrivateKey
}

// keys is the issuer's key as a set of JSON Web Keys (RFC 7517).
func (i issuer) keys() string {
	point, err := i.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		i.t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"keys": [{"kty": "EC", "crv": "P-256", "kid": "one", "x": %q, "y": %q}]}`, b64(point[1:33]), b64(point[33:]))
}

// token says claims, for so long.
func (i issuer) token(issuer, subject string, good time.Duration) string {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{"iss": issuer, "sub": subject, "iat": now.Add(-time.Hour).Unix(), "exp": now.Add(good).Unix()})
	if err != nil {
		i.t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(`{"alg":"ES256","typ":"JWT","kid":"one"}`)) + "." + b64(claims)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		i.t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + b64(signature)
}

// A Pod that asks for a token lets in who brings a good one of somebody it wants; a bad one is refused as such, and none as a stranger.
func TestRequestsWithTokens(t *testing.T) {
	shop(t)
	const at = "https://issuer.bookshop.test"
	good, other := issuer{t, newKey(t)}, issuer{t, newKey(t)}
	apply(t, demo.Shop, `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: catalog}
spec:
  selector: {matchLabels: {app: catalog}}
  jwtRules:
  - issuer: `+at+`
    jwks: '`+good.keys()+`'
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: catalog}
spec:
  selector: {matchLabels: {app: catalog}}
  rules: [{from: [{source: {requestPrincipals: ["`+at+`/reader"]}}]}]`)
	ask := func(args ...string) string {
		out, err := cluster.Exec(t.Context(), workload("storefront-v1"), "bookshop", append(append([]string{"get"}, args...), "http://catalog:9080/books/1")...)
		if err != nil && out == "" {
			return err.Error()
		}
		return strings.TrimSpace(out)
	}
	with := func(token string) []string { return []string{"-H", "authorization:Bearer " + token} }
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"none", nil, "1 403 RBAC: access denied"},
		{"a good one", with(good.token(at, "reader", time.Hour)), "1 200 catalog/v1"},
		{"of another subject", with(good.token(at, "writer", time.Hour)), "1 403 RBAC: access denied"},
		{"of another key", with(other.token(at, "reader", time.Hour)), "1 401 Jwt verification fails"},
		{"of another issuer", with(good.token("https://elsewhere.test", "reader", time.Hour)), "1 401 Jwt issuer is not configured"},
		{"that has expired", with(good.token(at, "reader", -time.Minute*10)), "1 401 Jwt is expired"},
		{"that is none", with("none"), "1 401 Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"},
		{"changed", with(strings.Replace(good.token(at, "reader", time.Hour), ".", ".e30", 1)), "1 401"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eventually(t, 30*time.Second, func() error {
				if got := ask(c.args...); !strings.HasPrefix(got, c.want) {
					return fmt.Errorf("%q, want %q", got, c.want)
				}
				return nil
			})
		})
	}
}
