package jwt

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"math"
	"strings"
)

// Token is what a token says; nothing of it is verified yet. It does not change.
type Token struct {
	Algorithm, KeyID string
	Issuer, Subject  string
	Audiences        []string
	// Expires, NotBefore and IssuedAt are seconds since 1970; 0 is that the token does not say.
	Expires, NotBefore, IssuedAt int64
	// Header and Claims are all that it says, as encoding/json decodes it.
	Header, Claims map[string]any
	// Payload is the claims as the token has them.
	Payload string

	signed    string // what the signature is of
	signature []byte
}

// algorithms are those that a token may be signed with.
var algorithms = map[string]bool{
	"RS256": true, "RS384": true, "RS512": true, "PS256": true, "PS384": true, "PS512": true, "ES256": true, "ES384": true, "ES512": true,
	"EdDSA": true, "HS256": true, "HS384": true, "HS512": true,
}

var encoding = base64.RawURLEncoding

// Parse reads a token in its compact form.
func Parse(text string) (*Token, Status) {
	header, rest, ok := strings.Cut(text, ".")
	payload, signature, more := strings.Cut(rest, ".")
	if !ok || !more || header == "" || payload == "" || signature == "" || strings.IndexByte(signature, '.') >= 0 || strings.ContainsAny(text, "\r\n") { // which the decoder would pass over
		return nil, BadForm
	}
	t := &Token{Payload: strings.Clone(payload), signed: strings.Clone(text[:len(header)+1+len(payload)])}
	raw, err := encoding.DecodeString(header)
	if err != nil {
		return nil, BadHeader
	}
	if t.Header, ok = object(raw); !ok {
		return nil, BadHeaderJSON
	}
	if t.Algorithm, ok = t.Header["alg"].(string); !ok {
		return nil, NoAlgorithm
	}
	if !algorithms[t.Algorithm] {
		return nil, BadAlgorithm
	}
	if id, there := t.Header["kid"]; there {
		if t.KeyID, ok = id.(string); !ok {
			return nil, BadKeyID
		}
	}
	if raw, err = encoding.DecodeString(payload); err != nil {
		return nil, BadPayload
	}
	if t.Claims, ok = object(raw); !ok {
		return nil, BadPayloadJSON
	}
	if s := t.claims(); s != OK {
		return nil, s
	}
	if t.signature, err = encoding.DecodeString(signature); err != nil {
		return nil, BadSignature
	}
	return t, OK
}

// object reads one JSON object and nothing behind it.
func object(raw []byte) (map[string]any, bool) {
	var out map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	if d.Decode(&out) != nil || out == nil {
		return nil, false
	}
	_, err := d.Token()
	return out, err == io.EOF
}

// claims reads the registered claims (RFC 7519 section 4.1).
func (t *Token) claims() Status {
	for _, c := range [...]struct {
		name string
		to   *string
		bad  Status
	}{{"iss", &t.Issuer, BadIssuer}, {"sub", &t.Subject, BadSubject}, {"jti", new(string), BadID}} {
		v, there := t.Claims[c.name]
		if s, ok := v.(string); ok {
			*c.to = s
		} else if there {
			return c.bad
		}
	}
	for _, c := range [...]struct {
		name string
		to   *int64
		bad  Status
	}{{"iat", &t.IssuedAt, BadIssuedAt}, {"nbf", &t.NotBefore, BadNotBefore}, {"exp", &t.Expires, BadExpiry}} {
		v, there := t.Claims[c.name]
		n, ok := v.(float64)
		switch {
		case !there:
		case !ok || n < 0 || n > math.MaxInt32<<8:
			return c.bad
		default:
			*c.to = int64(n)
		}
	}
	switch v := t.Claims["aud"].(type) {
	case string:
		t.Audiences = []string{v}
	case []any:
		for _, one := range v {
			s, ok := one.(string)
			if !ok {
				return BadAudience
			}
			t.Audiences = append(t.Audiences, s)
		}
	default:
		if _, there := t.Claims["aud"]; there {
			return BadAudience
		}
	}
	return OK
}

// At tells whether the token holds at a time, in seconds since 1970, give or take skew seconds.
func (t *Token) At(now, skew int64) Status {
	switch {
	case t.NotBefore > 0 && now < t.NotBefore-skew:
		return NotYetValid
	case t.Expires > 0 && now > t.Expires+skew:
		return Expired
	}
	return OK
}
