// Package rbac is the filters envoy.filters.http.rbac and envoy.filters.network.rbac: they refuse requests and connections that rules do not allow.
//
// It owns what is done about a decision, and what is counted and said of it; package authz decides. A request is refused with 403 and the body
// "RBAC: access denied" (gRPC: PERMISSION_DENIED), a connection by closing it, and the access log has the policy that did it in
// RESPONSE_CODE_DETAILS. Shadow rules refuse nothing: what they would have done is counted, and in DYNAMIC_METADATA(envoy.filters.http.rbac:...),
// under Envoy's keys. A route's own configuration holds instead of the listener's as a whole.
//
// Matching trees (matcher, shadow_matcher) are refused, since to leave them out would let everybody in. A listener may have the filter several
// times, as Istio's control plane does for AUDIT, DENY and ALLOW.
package rbac

import (
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"

	"github.com/weftmesh/weft/internal/proxy/authz"
	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Policy is the rules that hold for a route.
type Policy struct {
	rules  *enforced
	shadow *shadow
	logs   *logging
}

// New compiles a policy.
func New(m *rbacv3.RBAC, env *filter.Env) (*Policy, error) {
	if err := field.Only(m, "rules", "rules_stat_prefix", "shadow_rules", "shadow_rules_stat_prefix", "track_per_rule_stats"); err != nil {
		return nil, err
	}
	p := &Policy{}
	if m.GetRules() != nil {
		rules, err := authz.New(m.GetRules())
		if err != nil {
			return nil, field.In("rules", err)
		}
		if rules.Logs() {
			p.logs = &logging{rules}
		} else {
			p.rules = newEnforced(rules, env, "http")
		}
	}
	if m.GetShadowRules() != nil {
		rules, err := authz.New(m.GetShadowRules())
		if err != nil {
			return nil, field.In("shadow_rules", err)
		}
		p.shadow = newShadow(rules, m.GetShadowRulesStatPrefix(), env, "http")
	}
	return p, nil
}

// NewRoute compiles what a route says: nothing but the name of the filter is that it is not to run.
func NewRoute(m *rbacv3.RBACPerRoute, env *filter.Env) (*Policy, error) {
	if m.GetRbac() == nil {
		return &Policy{}, nil
	}
	p, err := New(m.GetRbac(), env)
	return p, field.In("rbac", err)
}

var denied = []byte("RBAC: access denied")

// Request refuses what is not allowed.
func (p *Policy) Request(x filter.Exchange, reply *filter.Reply) bool {
	info := x.Info()
	if p.shadow != nil {
		p.shadow.look(info, httpFilter)
	}
	if p.logs != nil {
		p.logs.look(info)
	}
	if p.rules == nil {
		return false
	}
	by, ok := p.rules.allow(info)
	if ok {
		return false
	}
	reply.Response.Status, reply.Details, reply.Body = 403, by.Details, denied
	reply.Response.Fields.Set("content-type", "text/plain")
	return true
}

// Response does nothing.
func (p *Policy) Response(filter.Exchange, *message.Response) {}
