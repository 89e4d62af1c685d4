// Package jwtauthn is the filter envoy.filters.http.jwt_authn: requests with JSON Web Tokens that are not good are refused, and of those that are good
// others are told what they say.
//
// It owns where tokens are found, which of them a request must have, and what becomes of their claims: fields for the application, and metadata for the
// filters that come after (package rbac). Package jwt reads and verifies. Keys are given in the resource (local_jwks), or fetched through a cluster
// (remote_jwks) when a request first needs them, and again after cache_duration; keys that could not be fetched again go on being used. async_fetch
// therefore changes nothing. What was verified is remembered, at most jwt_cache_size tokens a provider (1,000 if that is not said).
//
// A request is refused as Envoy does: with 401 (403 for a wrong audience), what is wrong as its body, and www-authenticate. The fields
// filter_state_rules and extract_only_without_validation are refused.
package jwtauthn

import (
	"strings"
	"time"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/jwt"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/stats"
)

// metadataName is what the filter says things under.
const metadataName = "envoy.filters.http.jwt_authn"

// Policy is the providers of a listener and which requests need whom.
type Policy struct {
	providers []*provider
	rules     []rule
	named     map[string]requirement
	cors      bool     // preflights go through
	terse     bool     // refusals do not say what is wrong
	sanitized []string // fields that only the filter may set
	counts    map[jwt.Status]*stats.Counter
	other     *stats.Counter
	now       func() time.Time
}

// rule is a kind of requests, and what they need; nil is nothing.
type rule struct {
	match    routeMatch
	requires requirement
}

// New compiles a policy.
func New(m *jwtv3.JwtAuthentication, env *filter.Env) (*Policy, error) {
	if err := field.Only(m, "providers", "rules", "bypass_cors_preflight", "requirement_map", "strip_failure_response", "stat_prefix"); err != nil {
		return nil, err
	}
	p := &Policy{cors: m.GetBypassCorsPreflight(), terse: m.GetStripFailureResponse(), named: map[string]requirement{}, now: time.Now}
	c := compiler{providers: map[string]*provider{}, policy: p}
	if err := c.compile(m, env); err != nil {
		return nil, err
	}
	p.count(env)
	return p, nil
}

// count makes the counters: of requests that are let through, and of each thing that may be wrong.
func (p *Policy) count(env *filter.Env) {
	if env == nil || env.Stats == nil {
		return
	}
	add := func(result string) *stats.Counter {
		return env.Stats.Counter("weft_proxy_jwt_requests_total", "Requests that were asked for a token, by what was wrong with it.", stats.Label{Name: "result", Value: result})
	}
	p.counts, p.other = map[jwt.Status]*stats.Counter{jwt.OK: add("allowed")}, add("other")
	for _, s := range []jwt.Status{
		jwt.Missing, jwt.Expired, jwt.NotYetValid, jwt.BadForm, jwt.UnknownIssuer, jwt.WrongAudience, jwt.NotVerified, jwt.NoSuchKey, jwt.NoFetch,
	} {
		p.counts[s] = add(string(s))
	}
}

// Request refuses what has not the tokens it needs.
func (p *Policy) Request(x filter.Exchange, reply *filter.Reply) bool {
	req := x.Info().Request
	if p.passes(req) {
		return false
	}
	for i := range p.rules {
		if r := &p.rules[i]; r.match.is(req) {
			return p.require(r.requires, x, reply)
		}
	}
	return false
}

// Response does nothing.
func (p *Policy) Response(filter.Exchange, *message.Response) {}

// passes tells whether a request is not asked for anything. Fields that look as if the filter had set them are gone afterwards.
func (p *Policy) passes(req *message.Request) bool {
	for _, name := range p.sanitized {
		req.Fields.Del(name)
	}
	return p.cors && preflight(req)
}

// require asks a request for what it needs.
func (p *Policy) require(r requirement, x filter.Exchange, reply *filter.Reply) bool {
	if r == nil {
		return false
	}
	s := r.check(&check{x: x, info: x.Info(), now: p.now().Unix()})
	if p.counts != nil {
		n := p.counts[s]
		if n == nil {
			n = p.other
		}
		n.Add(stats.Shard(x.Info().ConnectionID), 1)
	}
	if s == jwt.OK {
		return false
	}
	p.refuse(s, x.Info(), reply)
	return true
}

// maxURI is how much of the request's address a refusal repeats, in bytes of the path.
const maxURI = 256

func (p *Policy) refuse(s jwt.Status, info *message.Info, reply *filter.Reply) {
	r, req := reply.Response, info.Request
	if r.Status = 401; s == jwt.WrongAudience {
		r.Status = 403
	}
	reply.Details = "jwt_authn_access_denied{" + strings.ReplaceAll(string(s), " ", "_") + "}"
	if p.terse {
		return
	}
	challenge := `Bearer realm="` + req.Scheme + "://" + req.Authority + req.Path[:min(len(req.Path), maxURI)] + `"`
	if s != jwt.Missing {
		challenge += `, error="invalid_token"`
	}
	r.Fields.Set("www-authenticate", challenge)
	r.Fields.Set("content-type", "text/plain")
	reply.Body = []byte(s)
}

func preflight(req *message.Request) bool {
	if req.Method != "OPTIONS" {
		return false
	}
	origin, _ := req.Fields.Get("origin")
	method, _ := req.Fields.Get("access-control-request-method")
	return origin != "" && method != ""
}

// Route is what a route says of the filter: which of the listener's requirements its requests have, or that they have none.
type Route struct {
	name     string
	disabled bool
}

// NewRoute compiles it.
func NewRoute(m *jwtv3.PerRouteConfig) (*Route, error) {
	if m.GetRequirementName() == "" && !m.GetDisabled() {
		return nil, field.Errorf("requirement_specifier", "neither disabled nor requirement_name")
	}
	return &Route{name: m.GetRequirementName(), disabled: m.GetDisabled()}, nil
}

// Request implements [filter.Policy]: without a listener's policy there is nothing to require.
func (r *Route) Request(filter.Exchange, *filter.Reply) bool { return false }

// Response does nothing.
func (r *Route) Response(filter.Exchange, *message.Response) {}

// Refine implements [filter.Refinement].
func (r *Route) Refine(listener filter.Policy, x filter.Exchange, reply *filter.Reply) bool {
	p, ok := listener.(*Policy)
	if !ok || r.disabled || p.passes(x.Info().Request) {
		return false
	}
	needs, known := p.named[r.name]
	if !known { // nobody is let in by a name that is wrong
		reply.Response.Status, reply.Details = 403, "jwt_authn_access_denied{Wrong_requirement_name:_"+strings.ReplaceAll(r.name, " ", "_")+"}"
		reply.Response.Fields.Set("content-type", "text/plain")
		reply.Body = []byte("Failed JWT authentication")
		return true
	}
	return p.require(needs, x, reply)
}
