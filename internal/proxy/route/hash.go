package route

import (
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// hashPolicy is one thing that load balancing by hash looks at.
type hashPolicy struct {
	kind     hashKind
	name     string
	regex    *match.Substitution
	terminal bool // when it has a value, those that follow are not asked
	// The cookie to hand out where there is none.
	generate   bool
	ttl        time.Duration
	path       string
	attributes []string
}

type hashKind uint8

const (
	hashHeader hashKind = iota
	hashCookie
	hashSource
	hashParameter
)

func newHashes(ms []*routev3.RouteAction_HashPolicy) ([]hashPolicy, error) {
	var out []hashPolicy
	for i, m := range ms {
		h, err := newHash(m)
		if err != nil {
			return nil, field.At("hash_policy", i, err)
		}
		out = append(out, h)
	}
	return out, nil
}

func newHash(m *routev3.RouteAction_HashPolicy) (hashPolicy, error) {
	h := hashPolicy{terminal: m.GetTerminal()}
	if err := field.Only(m, "terminal", "header", "cookie", "connection_properties", "query_parameter"); err != nil {
		return h, err
	}
	switch {
	case m.GetHeader() != nil:
		h.kind, h.name = hashHeader, strings.ToLower(m.GetHeader().GetHeaderName())
		if rw := m.GetHeader().GetRegexRewrite(); rw != nil {
			var err error
			if h.regex, err = match.NewSubstitution(rw); err != nil {
				return h, field.In("header.regex_rewrite", err)
			}
		}
	case m.GetCookie() != nil:
		return h, h.cookie(m.GetCookie())
	case m.GetQueryParameter() != nil:
		h.kind, h.name = hashParameter, m.GetQueryParameter().GetName()
	default:
		h.kind, h.name = hashSource, "source"
		if !m.GetConnectionProperties().GetSourceIp() {
			h.name = ""
		}
	}
	if h.name == "" {
		return h, field.Errorf("policy_specifier", "it does not say what to hash")
	}
	return h, nil
}

func (h *hashPolicy) cookie(m *routev3.RouteAction_HashPolicy_Cookie) error {
	h.kind, h.name, h.path, h.generate = hashCookie, m.GetName(), m.GetPath(), m.GetTtl() != nil
	for _, a := range m.GetAttributes() {
		text := a.GetName()
		if a.GetValue() != "" {
			text += "=" + a.GetValue()
		}
		h.attributes = append(h.attributes, text)
	}
	for _, text := range append([]string{h.name, h.path}, h.attributes...) {
		if !validPath(text) || strings.ContainsAny(text, ";,\"") {
			return field.Errorf("cookie", "%q cannot be part of a cookie", text)
		}
	}
	if h.name == "" {
		return field.Errorf("cookie.name", "empty")
	}
	var err error
	h.ttl, err = limit("cookie.ttl", m.GetTtl())
	return err
}

// Hash gives the hash by which an endpoint is chosen; it is false when the route asks for none, or the request has nothing of what it asks for. If a
// cookie is returned, the response is to set it. Asking again gives the same.
func (f *Forward) Hash(x *message.Info) (hash uint64, ok bool, cookie *Cookie) {
	for i := range f.hashes {
		h := &f.hashes[i]
		v, found := h.value(x)
		if !found && h.kind == hashCookie && h.generate {
			cookie = &Cookie{Name: h.name, Value: newCookieValue(x), Path: h.path, TTL: h.ttl, Attributes: h.attributes}
			v, found = xxhash.Sum64String(cookie.Value), true
		}
		if found {
			hash, ok = bits.RotateLeft64(hash, 1)^v, true
			if h.terminal {
				break
			}
		}
	}
	return hash, ok, cookie
}

func (h *hashPolicy) value(x *message.Info) (uint64, bool) {
	switch h.kind {
	case hashHeader:
		v, ok := header(x.Request, h.name)
		if ok && h.regex != nil {
			v = h.regex.Apply(v)
		}
		return xxhash.Sum64String(v), ok
	case hashCookie:
		v, ok := cookieValue(&x.Request.Fields, h.name)
		return xxhash.Sum64String(v), ok && v != ""
	case hashParameter:
		_, query := match.Split(x.Request.Path)
		v, ok := match.Parameter(query, h.name)
		return xxhash.Sum64String(v), ok
	}
	var room [64]byte
	return xxhash.Sum64(x.Client.Addr().Unmap().AppendTo(room[:0])), x.Client.IsValid()
}

func header(r *message.Request, name string) (string, bool) {
	switch {
	case name == "host":
		return r.Authority, r.Authority != ""
	case name[0] == ':':
		return match.Pseudo(r, name)
	}
	return match.Joined(&r.Fields, name)
}

// cookieValue finds a cookie (RFC 6265, section 4.2).
func cookieValue(f *message.Fields, name string) (string, bool) {
	for _, field := range f.All() {
		if field.Name != "cookie" {
			continue
		}
		for rest := field.Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			if k, v, ok := strings.Cut(strings.Trim(pair, " \t"), "="); ok && k == name {
				return strings.Trim(v, `"`), true
			}
		}
	}
	return "", false
}

func newCookieValue(x *message.Info) string {
	const hex = "0123456789abcdef"
	var b [16]byte
	for i, n := 0, match.Draw(x.Random, drawCookie); i < len(b); i, n = i+1, n>>4 {
		b[i] = hex[n&15]
	}
	return string(b[:])
}

// Append writes the cookie as the value of set-cookie.
func (c *Cookie) Append(dst []byte) []byte {
	dst = append(append(append(append(dst, c.Name...), `="`...), c.Value...), '"')
	if c.TTL > 0 {
		dst = strconv.AppendInt(append(dst, "; Max-Age="...), int64(c.TTL/time.Second), 10)
	}
	if c.Path != "" {
		dst = append(append(dst, "; Path="...), c.Path...)
	}
	for _, a := range c.Attributes {
		dst = append(append(dst, "; "...), a...)
	}
	return append(dst, "; HttpOnly"...)
}
