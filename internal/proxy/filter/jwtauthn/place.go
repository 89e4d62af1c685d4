package jwtauthn

import (
	"strings"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// place is where in a request a token may be.
type place struct {
	kind   placeKind
	name   string // of the field in lower case, the parameter or the cookie
	prefix string // of the token, in a field
}

type placeKind uint8

const (
	inField placeKind = iota
	inParameter
	inCookie
)

// newPlaces gives the places of a provider, in the order in which they are looked at; where it names none, those that RFC 6750 does.
func newPlaces(m *jwtv3.JwtProvider) []place {
	var out []place
	for _, h := range m.GetFromHeaders() {
		out = append(out, place{inField, strings.ToLower(h.GetName()), h.GetValuePrefix()})
	}
	for _, p := range m.GetFromParams() {
		out = append(out, place{kind: inParameter, name: p})
	}
	for _, c := range m.GetFromCookies() {
		out = append(out, place{kind: inCookie, name: c})
	}
	if len(out) == 0 {
		out = []place{{inField, "authorization", "Bearer "}, {kind: inParameter, name: "access_token"}}
	}
	return out
}

// find gives the token that is there.
func (p *place) find(req *message.Request) (token string, ok bool) {
	switch p.kind {
	case inField:
		v, there := req.Fields.Get(p.name)
		if !there || p.prefix == "" {
			return v, there
		}
		i := strings.Index(v, p.prefix)
		if i < 0 {
			return "", false
		}
		return first(v[i+len(p.prefix):]), true
	case inParameter:
		_, query := match.Split(req.Path)
		return match.Parameter(query, p.name)
	}
	for _, f := range req.Fields.All() {
		if f.Name != "cookie" {
			continue
		}
		for pair := range strings.SplitSeq(f.Value, ";") {
			if name, v, _ := strings.Cut(strings.TrimSpace(pair), "="); name == p.name {
				return strings.Trim(v, `"`), true
			}
		}
	}
	return "", false
}

// first gives the first piece of a text that has nothing in it but what a token is written in.
func first(text string) string {
	start := 0
	for start < len(text) && !tokenByte(text[start]) {
		start++
	}
	end := start
	for end < len(text) && tokenByte(text[end]) {
		end++
	}
	return text[start:end]
}

func tokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

// remove takes the token out of the request. A cookie stays, as with Envoy.
func (p *place) remove(req *message.Request) {
	switch p.kind {
	case inField:
		req.Fields.Del(p.name)
	case inParameter:
		path, query := match.Split(req.Path)
		var kept []string
		for one := range strings.SplitSeq(query, "&") {
			if name, _, _ := strings.Cut(one, "="); name != p.name {
				kept = append(kept, one)
			}
		}
		if len(kept) > 0 {
			path += "?" + strings.Join(kept, "&")
		}
		req.Path = path
	}
}
