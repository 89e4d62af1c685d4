// Package cors lets pages of other origins read what a route serves, as Envoy's filter envoy.filters.http.cors: it answers preflight requests and adds
// the access-control fields to responses.
//
// A policy (envoy.extensions.filters.http.cors.v3.CorsPolicy) belongs to a route, a virtual host or a table; each part that is not set comes from the
// next around it. Without a policy the filter does nothing. A preflight (OPTIONS with origin and access-control-request-method) from an allowed origin is
// answered with 200; one from another origin goes on to the endpoint, unless forward_not_matching_preflights is false: then it is answered
// without leave. Everything else goes on, and the response to an allowed origin says so. shadow_enabled, which only counts in Envoy, is without effect.
package cors

import (
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Policy is who may read what, and how.
type Policy struct {
	origins                        []match.String
	methods, headers, expose, age  string
	credentials, forward, privates option
	enabled                        match.Fraction
}

// option is a truth that may be unset.
type option uint8

const (
	unset option = iota
	no
	yes
)

func newOption(v *wrapperspb.BoolValue) option {
	switch {
	case v == nil:
		return unset
	case v.GetValue():
		return yes
	}
	return no
}

func (o option) or(other option) option {
	if o == unset {
		return other
	}
	return o
}

// drawEnabled is what filter_enabled uses the exchange's number for.
const drawEnabled = 1 << 32

// New compiles a policy.
func New(m *corsv3.CorsPolicy) (*Policy, error) {
	if err := field.Only(m, "allow_origin_string_match", "allow_methods", "allow_headers", "expose_headers", "max_age", "allow_credentials", "filter_enabled",
		"shadow_enabled", "allow_private_network_access", "forward_not_matching_preflights"); err != nil {
		return nil, err
	}
	p := &Policy{
		methods: m.GetAllowMethods(), headers: m.GetAllowHeaders(), expose: m.GetExposeHeaders(), age: m.GetMaxAge(),
		credentials: newOption(m.GetAllowCredentials()), forward: newOption(m.GetForwardNotMatchingPreflights()),
		privates: newOption(m.GetAllowPrivateNetworkAccess()),
	}
	for _, f := range []struct{ name, value string }{
		{"allow_methods", p.methods}, {"allow_headers", p.headers}, {"expose_headers", p.expose}, {"max_age", p.age},
	} {
		if !httpguts.ValidHeaderFieldValue(f.value) {
			return nil, field.Errorf(f.name, "%q is not allowed in a header field", f.value)
		}
	}
	for i, o := range m.GetAllowOriginStringMatch() {
		s, err := match.NewString(o)
		if err != nil {
			return nil, field.At("allow_origin_string_match", i, err)
		}
		if s.Match("*") {
			s = match.String{} // an origin is never "*": it stands for all
		}
		p.origins = append(p.origins, s)
	}
	var err error
	p.enabled, err = match.NewRuntimeFraction(m.GetFilterEnabled())
	return p, field.In("filter_enabled.default_value", err)
}

// Inherit gives the policy with what it leaves unset taken from the one around it. Whether it is enabled is its own.
func (p *Policy) Inherit(outer filter.Policy) filter.Policy {
	o, ok := outer.(*Policy)
	if !ok {
		return p
	}
	m := *p
	if len(m.origins) == 0 {
		m.origins = o.origins
	}
	for _, f := range []struct{ own, outer *string }{{&m.methods, &o.methods}, {&m.headers, &o.headers}, {&m.expose, &o.expose}, {&m.age, &o.age}} {
		if *f.own == "" {
			*f.own = *f.outer
		}
	}
	m.credentials, m.forward, m.privates = m.credentials.or(o.credentials), m.forward.or(o.forward), m.privates.or(o.privates)
	return &m
}

// Request answers preflights.
func (p *Policy) Request(x filter.Exchange, reply *filter.Reply) bool {
	info := x.Info()
	r := info.Request
	origin := p.origin(info)
	if origin == "" || r.Method != "OPTIONS" {
		return false
	}
	method, _ := r.Fields.Get("access-control-request-method")
	allowed := p.allows(origin)
	if method == "" || !allowed && p.forward != no {
		return false
	}
	reply.Response.Status, reply.Details = 200, "cors_response"
	f := &reply.Response.Fields
	if allowed {
		f.Set("access-control-allow-origin", origin)
	}
	if p.credentials == yes {
		f.Set("access-control-allow-credentials", "true")
	}
	wanted, _ := r.Fields.Get("access-control-request-headers")
	setList(f, "access-control-allow-methods", p.methods, method)
	setList(f, "access-control-allow-headers", p.headers, wanted)
	setList(f, "access-control-max-age", p.age, p.age)
	if v, _ := r.Fields.Get("access-control-request-private-network"); p.privates == yes && v == "true" {
		f.Set("access-control-allow-private-network", "true")
	}
	return true
}

// setList sets a field to a list; "*" allows just what is asked for, since with credentials browsers take an asterisk literally.
func setList(f *message.Fields, name, list, asked string) {
	if list == "*" {
		list = asked
	}
	if list != "" {
		f.Set(name, list)
	}
}

// Response tells the browser that the page may read the response.
func (p *Policy) Response(x filter.Exchange, r *message.Response) {
	origin := p.origin(x.Info())
	if origin == "" || !p.allows(origin) {
		return
	}
	r.Fields.Set("access-control-allow-origin", origin)
	if p.credentials == yes {
		r.Fields.Set("access-control-allow-credentials", "true")
	}
	if p.expose != "" {
		r.Fields.Set("access-control-expose-headers", p.expose)
	}
}

// origin is where the page came from that asks; "" when the request is none of a page, or the policy is not enabled for it.
func (p *Policy) origin(info *message.Info) string {
	v, _ := info.Request.Fields.Get("origin")
	if v == "" || !p.enabled.Hit(match.Draw(info.Random, drawEnabled)) {
		return ""
	}
	return v
}

func (p *Policy) allows(origin string) bool {
	for i := range p.origins {
		if p.origins[i].Match(origin) {
			return true
		}
	}
	return false
}
