package jwtauthn

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// claimField is a field that has the value of a claim.
type claimField struct {
	field string
	path  []string
}

func newClaimField(m *jwtv3.JwtClaimToHeader) (claimField, error) {
	c := claimField{field: strings.ToLower(m.GetHeaderName())}
	for _, s := range m.GetClaimPath() {
		c.path = append(c.path, s.GetKey())
	}
	if len(c.path) == 0 && m.GetClaimName() != "" {
		c.path = strings.Split(m.GetClaimName(), ".")
	}
	switch {
	case c.field == "" || strings.ContainsAny(c.field, ":\r\n\x00 "):
		return c, field.Errorf("header_name", "%q is no name of a field", m.GetHeaderName())
	case len(c.path) == 0:
		return c, field.Errorf("claim_name", "empty")
	}
	return c, nil
}

// value gives the claim as a field has it: a list or an object as JSON in base64. "" is none, or one that would not fit in a field.
func (c *claimField) value(claims map[string]any) string {
	var v any = claims
	for _, name := range c.path {
		inner, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = inner[name]
	}
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		for i := range len(v) {
			if v[i] < ' ' && v[i] != '\t' || v[i] == 0x7f {
				return ""
			}
		}
		return strings.TrimSpace(v)
	case bool:
		return strconv.FormatBool(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatInt(int64(v), 10)
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(text)
}
