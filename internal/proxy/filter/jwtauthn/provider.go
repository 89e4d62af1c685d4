package jwtauthn

import (
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/jwt"
	"github.com/weftmesh/weft/internal/proxy/match"
)

// provider is somebody whose tokens are taken.
type provider struct {
	issuer    string // "": any
	subjects  *match.String
	audiences audiences
	expires   bool  // a token must say until when it holds
	lifetime  int64 // seconds that a token may hold from now on; 0 is any
	skew      int64 // seconds that clocks may differ
	places    []place
	keys      keySource
	cache     *cache

	forward       bool
	payloadField  string
	padded        bool
	payloadKey    string // of metadata; "" says nothing
	headerKey     string
	spaced        []string // claims whose words become a list in metadata
	claimToFields []claimField
}

// defaultSkew is as with Envoy.
const defaultSkew = 60

func newProvider(m *jwtv3.JwtProvider, env *filter.Env) (*provider, error) {
	if err := field.Only(m, "issuer", "audiences", "subjects", "require_expiration", "max_lifetime", "remote_jwks", "local_jwks", "forward", "from_headers", "from_params",
		"from_cookies", "forward_payload_header", "pad_forward_payload_header", "payload_in_metadata", "normalize_payload_in_metadata", "header_in_metadata",
		"clock_skew_seconds", "jwt_cache_config", "claim_to_headers", "clear_route_cache"); err != nil {
		return nil, err
	}
	p := &provider{
		issuer: m.GetIssuer(), audiences: newAudiences(m.GetAudiences()), expires: m.GetRequireExpiration(), skew: defaultSkew, places: newPlaces(m), forward: m.GetForward(),
		payloadField: strings.ToLower(m.GetForwardPayloadHeader()), padded: m.GetPadForwardPayloadHeader(), payloadKey: m.GetPayloadInMetadata(),
		headerKey: m.GetHeaderInMetadata(), spaced: m.GetNormalizePayloadInMetadata().GetSpaceDelimitedClaims(),
		lifetime: int64(m.GetMaxLifetime().AsDuration().Seconds()), cache: newCache(int(m.GetJwtCacheConfig().GetJwtCacheSize())),
	}
	if s := m.GetClockSkewSeconds(); s > 0 {
		p.skew = int64(s)
	}
	if m.GetSubjects() != nil {
		s, err := match.NewString(m.GetSubjects())
		if err != nil {
			return nil, field.In("subjects", err)
		}
		p.subjects = &s
	}
	for i, c := range m.GetClaimToHeaders() {
		one, err := newClaimField(c)
		if err != nil {
			return nil, field.At("claim_to_headers", i, err)
		}
		p.claimToFields = append(p.claimToFields, one)
	}
	var err error
	p.keys, err = newKeys(m, env)
	return p, err
}

func newKeys(m *jwtv3.JwtProvider, env *filter.Env) (keySource, error) {
	switch s := m.GetJwksSourceSpecifier().(type) {
	case *jwtv3.JwtProvider_LocalJwks:
		text, err := read(s.LocalJwks)
		if err != nil {
			return nil, field.In("local_jwks", err)
		}
		keys, err := jwt.ParseKeys(text)
		return given{keys}, field.In("local_jwks", err)
	case *jwtv3.JwtProvider_RemoteJwks:
		r, err := newRemote(s.RemoteJwks, env)
		return r, field.In("remote_jwks", err)
	}
	return nil, field.Errorf("jwks_source_specifier", "neither local_jwks nor remote_jwks")
}

func read(d *corev3.DataSource) ([]byte, error) {
	switch s := d.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		return []byte(s.InlineString), nil
	case *corev3.DataSource_InlineBytes:
		return s.InlineBytes, nil
	case *corev3.DataSource_Filename:
		return os.ReadFile(s.Filename)
	}
	return nil, fmt.Errorf("neither inline nor a file")
}

// sets is the fields that the provider sets, and nobody else may.
func (p *provider) sets() []string {
	var out []string
	if p.payloadField != "" {
		out = append(out, p.payloadField)
	}
	for _, c := range p.claimToFields {
		out = append(out, c.field)
	}
	return out
}

// looks tells whether the provider's tokens may be at a place.
func (p *provider) looks(at *place) bool { return slices.Contains(p.places, *at) }

// verified is a token that was verified, and what becomes of it.
type verified struct {
	*jwt.Token
	keys    *jwt.Keys // by which
	payload any
	header  any
	fields  []string // values of claimToFields; "" is none
}

// admit verifies a token that was found in a request, and passes on what it says if it is good.
func (p *provider) admit(c *check, text string, at *place, aud audiences) jwt.Status {
	v, s := p.verify(c, text, aud)
	if s == jwt.OK {
		p.pass(c, v, at)
	}
	return s
}

func (p *provider) verify(c *check, text string, aud audiences) (*verified, jwt.Status) {
	if v := p.cache.get(text); v != nil && v.keys == p.keys.current() {
		return v, p.holds(c, v.Token, aud)
	}
	t, s := jwt.Parse(text)
	switch {
	case s != jwt.OK:
		return nil, s
	case p.issuer != "" && t.Issuer != p.issuer:
		return nil, jwt.UnknownIssuer
	}
	if s = p.holds(c, t, aud); s != jwt.OK {
		return nil, s
	}
	keys, s := p.keys.get(c)
	if s != jwt.OK {
		return nil, s
	}
	if s = keys.Verify(t); s != jwt.OK {
		return nil, s
	}
	v := p.prepare(t, keys)
	p.cache.put(text, v)
	return v, jwt.OK
}

// holds tells whether a token is for us and for now.
func (p *provider) holds(c *check, t *jwt.Token, aud audiences) jwt.Status {
	switch s := t.At(c.now, p.skew); {
	case p.subjects != nil && !p.subjects.Match(t.Subject):
		return jwt.NotVerified
	case s != jwt.OK:
		return s
	case p.expires && t.Expires == 0, p.lifetime > 0 && t.Expires-c.now > p.lifetime:
		return jwt.NotVerified
	case !aud.allow(t.Audiences):
		return jwt.WrongAudience
	}
	return jwt.OK
}

// prepare makes what is passed on.
func (p *provider) prepare(t *jwt.Token, keys *jwt.Keys) *verified {
	v := &verified{Token: t, keys: keys, header: t.Header}
	claims := t.Claims
	if p.payloadKey != "" && len(p.spaced) > 0 {
		claims = make(map[string]any, len(t.Claims))
		for name, value := range t.Claims {
			if s, ok := value.(string); ok && slices.Contains(p.spaced, name) {
				words := []any{}
				for _, w := range strings.Fields(s) {
					words = append(words, w)
				}
				value = words
			}
			claims[name] = value
		}
	}
	v.payload = claims
	for _, c := range p.claimToFields {
		v.fields = append(v.fields, c.value(t.Claims))
	}
	return v
}

// pass tells those who come after what a token says.
func (p *provider) pass(c *check, v *verified, at *place) {
	f := &c.info.Request.Fields
	if p.payloadField != "" {
		payload := v.Payload
		if n := len(payload) % 4; p.padded && n > 0 {
			payload += strings.Repeat(string(base64.StdPadding), 4-n)
		}
		f.Set(p.payloadField, payload)
	}
	for i, value := range v.fields {
		if value != "" {
			f.Set(p.claimToFields[i].field, value)
		}
	}
	if p.payloadKey != "" {
		c.info.SetMetadata(metadataName, p.payloadKey, v.payload)
	}
	if p.headerKey != "" {
		c.info.SetMetadata(metadataName, p.headerKey, v.header)
	}
	if !p.forward {
		at.remove(c.info.Request)
	}
}
