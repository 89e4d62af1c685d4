package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// signer is a private key with its public half as a JWK.
type signer struct {
	jwk  map[string]string
	sign func(t *testing.T, algorithm string, text []byte) []byte
}

func (s signer) token(t *testing.T, header, claims string) string {
	t.Helper()
	var h struct{ Alg string }
	if err := json.Unmarshal([]byte(header), &h); err != nil {
		t.Fatal(err)
	}
	text := encoding.EncodeToString([]byte(header)) + "." + encoding.EncodeToString([]byte(claims))
	return text + "." + encoding.EncodeToString(s.sign(t, h.Alg, []byte(text)))
}

func set(t *testing.T, keys ...map[string]string) *Keys {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKeys(text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return k
}

func newRSA(t *testing.T) signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{map[string]string{"kty": "RSA", "n": encoding.EncodeToString(key.N.Bytes()), "e": "AQAB"}, func(t *testing.T, algorithm string, text []byte) []byte {
		h := hashOf(algorithm)
		var out []byte
		var err error
		if algorithm[0] == 'P' {
			out, err = rsa.SignPSS(rand.Reader, key, h, sum(h, string(text)), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			out, err = rsa.SignPKCS1v15(rand.Reader, key, h, sum(h, string(text)))
		}
		if err != nil {
			t.Fatal(err)
		}
		return out
	}}
}

func newEC(t *testing.T, curve elliptic.Curve, name string, size int) signer {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return signer{map[string]string{"kty": "EC", "crv": name, "x": encoding.EncodeToString(raw[1 : 1+size]), "y": encoding.EncodeToString(raw[1+size:])},
		func(t *testing.T, algorithm string, text []byte) []byte {
			h := hashOf(algorithm)
			r, s, err := ecdsa.Sign(rand.Reader, key, sum(h, string(text)))
			if err != nil {
				t.Fatal(err)
			}
			out := make([]byte, 2*size)
			r.FillBytes(out[:size])
			s.FillBytes(out[size:])
			return out
		}}
}

func newEd(t *testing.T) signer {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{map[string]string{"kty": "OKP", "crv": "Ed25519", "x": encoding.EncodeToString(public)}, func(_ *testing.T, _ string, text []byte) []byte { return ed25519.Sign(private, text) }}
}

func newSecret() signer {
	return signer{map[string]string{"kty": "oct", "k": encoding.EncodeToString([]byte("a secret of more than a few bytes"))}, func(_ *testing.T, algorithm string, text []byte) []byte {
		m := hmac.New(hashOf(algorithm).New, []byte("a secret of more than a few bytes"))
		_, _ = m.Write(text)
		return m.Sum(nil)
	}}
}

func TestVerify(t *testing.T) {
	signers := map[string]signer{
		"rsa": newRSA(t), "p256": newEC(t, elliptic.P256(), "P-256", 32), "p384": newEC(t, elliptic.P384(), "P-384", 48), "p521": newEC(t, elliptic.P521(), "P-521", 66),
		"ed": newEd(t), "oct": newSecret(),
	}
	good := map[string]string{
		"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa", "ES256": "p256", "ES384": "p384", "ES512": "p521", "EdDSA": "ed",
		"HS256": "oct", "HS384": "oct", "HS512": "oct",
	}
	for algorithm, name := range good {
		s := signers[name]
		text := s.token(t, `{"alg":"`+algorithm+`"}`, `{"sub":"ann"}`)
		for other, o := range signers {
			token, status := Parse(text)
			if status != OK {
				t.Fatalf("%s: %s", algorithm, status)
			}
			want := NotVerified
			if other == name {
				want = OK
			}
			if got := set(t, o.jwk).Verify(token); got != want {
				t.Errorf("%s with the key %s: %q, want %q", algorithm, other, got, want)
			}
		}
		if token, _ := Parse(strings.Replace(text, ".", ".e", 1)); token != nil && set(t, s.jwk).Verify(token) == OK {
			t.Errorf("%s: a changed token is verified", algorithm)
		}
		token, _ := Parse(text)
		token.signature[0] ^= 1
		if set(t, s.jwk).Verify(token) == OK {
			t.Errorf("%s: a changed signature is verified", algorithm)
		}
		token.signature = nil
		if set(t, s.jwk).Verify(token) == OK {
			t.Errorf("%s: no signature is verified", algorithm)
		}
	}
	// The public key of one kind is no secret of another.
	confused := signer{sign: func(_ *testing.T, _ string, text []byte) []byte {
		m := hmac.New(crypto.SHA256.New, []byte(signers["rsa"].jwk["n"]))
		_, _ = m.Write(text)
		return m.Sum(nil)
	}}
	token, _ := Parse(confused.token(t, `{"alg":"HS256"}`, `{}`))
	if set(t, signers["rsa"].jwk).Verify(token) == OK {
		t.Error("a public key was taken for a secret")
	}
}

func TestKeyChoice(t *testing.T) {
	a, b := newEd(t), newEd(t)
	with := func(jwk map[string]string, more ...string) map[string]string {
		out := map[string]string{}
		for k, v := range jwk {
			out[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	for _, c := range []struct {
		header string
		keys   []map[string]string
		want   Status
	}{
		{`{"alg":"EdDSA"}`, []map[string]string{b.jwk, a.jwk}, OK},
		{`{"alg":"EdDSA","kid":"1"}`, []map[string]string{with(b.jwk, "kid", "2"), with(a.jwk, "kid", "1")}, OK},
		{`{"alg":"EdDSA","kid":"1"}`, []map[string]string{with(a.jwk, "kid", "2")}, NoSuchKey},
		{`{"alg":"EdDSA","kid":"1"}`, []map[string]string{a.jwk}, OK},
		{`{"alg":"EdDSA","kid":"1"}`, []map[string]string{with(b.jwk, "kid", "1")}, NotVerified},
		{`{"alg":"EdDSA"}`, []map[string]string{with(a.jwk, "kid", "1", "alg", "EdDSA", "use", "sig")}, OK},
	} {
		token, _ := Parse(a.token(t, c.header, `{}`))
		if got := set(t, c.keys...).Verify(token); got != c.want {
			t.Errorf("%s with %v: %q, want %q", c.header, c.keys, got, c.want)
		}
	}
}

func TestParseKeys(t *testing.T) {
	weak := encoding.EncodeToString(make([]byte, 64))
	for _, bad := range []string{
		``, `[]`, `{}`, `{"keys":[]}`, `{"keys":[{}]}`, `{"keys":[{"kty":"RSA","n":"` + weak + `","e":"AQAB"}]}`, `{"keys":[{"kty":"RSA","n":"!","e":"AQAB"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`, `{"keys":[{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}]}`, `{"keys":[{"kty":"OKP","crv":"X25519","x":"AA"}]}`,
		`{"keys":[{"kty":"oct","k":""}]}`, `{"keys":[{"kty":"oct","k":"AAAA","use":"enc"}]}`, `{"keys":[{"kty":"oct","k":"AAAA","alg":"RS256"}]}`, `{"keys":[7,"x",{"kty":7}]}`,
		fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","x":%q,"y":%[1]q}]}`, encoding.EncodeToString(append(make([]byte, 31), 1))), // not on the curve
	} {
		if _, err := ParseKeys([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if k, err := ParseKeys([]byte(`{"keys":[{"kty":"new"},{"kty":"oct","k":"AAAA"}],"more":1}`)); err != nil || len(k.all) != 1 {
		t.Errorf("what is not known costs the others: %v", err)
	}
}

func TestParse(t *testing.T) {
	part := func(s string) string { return encoding.EncodeToString([]byte(s)) }
	of := func(header, claims string) string { return part(header) + "." + part(claims) + ".AAAA" }
	const alg = `{"alg":"RS256"}`
	for text, want := range map[string]Status{
		"": BadForm, "a": BadForm, "a.b": BadForm, "a.b.c.d": BadForm, "a.b.c.": BadForm, of(alg, `{}`) + "\n": BadForm,
		"!." + part(`{}`) + ".AAAA":              BadHeader,
		"." + part(`{}`) + ".AAAA":               BadForm,
		part(alg) + "=." + part(`{}`) + ".AAAA":  BadHeader,
		of(`{`, `{}`):                            BadHeaderJSON,
		of(`{"alg":"RS256"} {}`, `{}`):           BadHeaderJSON,
		of(`null`, `{}`):                         BadHeaderJSON,
		of(`{}`, `{}`):                           NoAlgorithm,
		of(`{"alg":7}`, `{}`):                    NoAlgorithm,
		of(`{"alg":"none"}`, `{}`):               BadAlgorithm,
		of(`{"alg":"None"}`, `{}`):               BadAlgorithm,
		of(`{"ALG":"RS256"}`, `{}`):              NoAlgorithm,
		of(`{"alg":"RS256","kid":7}`, `{}`):      BadKeyID,
		part(alg) + ".!.AAAA":                    BadPayload,
		of(alg, `[]`):                            BadPayloadJSON,
		of(alg, `{"iss":7}`):                     BadIssuer,
		of(alg, `{"sub":null}`):                  BadSubject,
		of(alg, `{"exp":"7"}`):                   BadExpiry,
		of(alg, `{"exp":-7}`):                    BadExpiry,
		of(alg, `{"exp":1e300}`):                 BadExpiry,
		of(alg, `{"nbf":true}`):                  BadNotBefore,
		of(alg, `{"iat":[]}`):                    BadIssuedAt,
		of(alg, `{"jti":1}`):                     BadID,
		of(alg, `{"aud":7}`):                     BadAudience,
		of(alg, `{"aud":["a",7]}`):               BadAudience,
		part(alg) + "." + part(`{}`) + ".A":      BadSignature,
		of(alg, `{"aud":["a"],"exp":1,"nbf":0}`): OK,
		part(alg) + "." + part(`{}`) + ".":       BadForm,
	} {
		if _, got := Parse(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		token Token
		now   int64
		want  Status
	}{
		{Token{}, 1000, OK},
		{Token{Expires: 1000}, 1060, OK},
		{Token{Expires: 1000}, 1061, Expired},
		{Token{NotBefore: 1000}, 940, OK},
		{Token{NotBefore: 1000}, 939, NotYetValid},
	} {
		if got := c.token.At(c.now, 60); got != c.want {
			t.Errorf("%+v at %d: %q, want %q", c.token, c.now, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	part := func(s string) string { return encoding.EncodeToString([]byte(s)) }
	f.Add(part(`{"alg":"RS256","kid":"1"}`) + "." + part(`{"iss":"i","sub":"s","aud":["a"],"exp":1,"nested":{"a":[1,true,null]}}`) + ".AAAA")
	f.Add("..")
	keys, err := ParseKeys([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, status := Parse(text)
		if (token == nil) != (status != OK) {
			t.Fatalf("%v and %q", token, status)
		}
		if token == nil {
			return
		}
		if !algorithms[token.Algorithm] || strings.Count(text, ".") != 2 {
			t.Errorf("%q is taken", text)
		}
		if keys.Verify(token) == OK {
			t.Errorf("%q is verified", text)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := ParseKeys(text); err == nil && len(k.all) == 0 {
			t.Error("no keys and no error")
		}
	})
}
