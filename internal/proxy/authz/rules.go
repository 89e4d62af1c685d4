// Package authz decides who may do what: Envoy's role based access control (envoy.config.rbac.v3.RBAC), compiled.
//
// It owns the meaning of permissions and principals, for requests as well as for connections without any. A decision allocates nothing, asks nobody
// and depends on nothing but the exchange and the rules. The package never answers or closes: that is for the filters that ask it.
//
// Conditions in CEL, matching trees and audit loggers are refused. What a permission says of requests never holds for a connection without one,
// and "not" of it always does.
package authz

import (
	"maps"
	"slices"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Rules is a compiled RBAC. It never changes.
type Rules struct {
	action   rbacv3.RBAC_Action
	policies []*Policy
	none     *Policy
}

// Policy is one of the policies of a set of rules, and what is to be said when it decides.
type Policy struct {
	// Name is the policy's; "none" stands for no policy.
	Name string
	// Details is what a refusal says of itself, in Envoy's words.
	Details string
	// ID is the name as a value of metadata, nil if there is none.
	ID any
	// Index is its place among [Rules.Policies].
	Index int

	permissions, principals condition
}

// condition is a compiled permission or principal.
type condition func(*message.Info) bool

// New compiles rules. Errors name the field.
func New(m *rbacv3.RBAC) (*Rules, error) {
	if err := field.Only(m, "action", "policies"); err != nil {
		return nil, err
	}
	r := &Rules{action: m.GetAction(), none: newPolicy("none")}
	if rbacv3.RBAC_Action_name[int32(r.action)] == "" {
		return nil, field.Errorf("action", "%d is unknown", r.action)
	}
	r.none.ID = nil
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) { // in Envoy's order, of which the first that matches is named
		p, err := compilePolicy(name, m.GetPolicies()[name])
		if err != nil {
			return nil, field.In("policies["+name+"]", err)
		}
		p.Index = len(r.policies)
		r.policies = append(r.policies, p)
	}
	r.none.Index = len(r.policies)
	return r, nil
}

func newPolicy(name string) *Policy {
	return &Policy{Name: name, ID: name, Details: "rbac_access_denied_matched_policy[" + strings.Join(strings.Fields(name), "_") + "]"}
}

func compilePolicy(name string, m *rbacv3.Policy) (*Policy, error) {
	if err := field.Only(m, "permissions", "principals"); err != nil {
		return nil, err
	}
	p := newPolicy(name)
	var err error
	if p.permissions, err = anyPermission("permissions", m.GetPermissions()); err != nil {
		return nil, err
	}
	p.principals, err = anyPrincipal("principals", m.GetPrincipals())
	return p, err
}

// Decision is what rules say of an exchange.
type Decision struct {
	Allowed bool
	// Log says that the rules are of those that only look, and that a policy wants the exchange logged.
	Log bool
	// By is the policy that matched; never nil.
	By *Policy
}

// Decide decides about an exchange, or about a connection (without a request). It changes nothing.
func (r *Rules) Decide(info *message.Info) Decision {
	by := r.none
	for _, p := range r.policies {
		if p.permissions(info) && p.principals(info) {
			by = p
			break
		}
	}
	matched := by != r.none
	switch r.action {
	case rbacv3.RBAC_ALLOW:
		return Decision{Allowed: matched, By: by}
	case rbacv3.RBAC_DENY:
		return Decision{Allowed: !matched, By: by}
	}
	return Decision{Allowed: true, Log: matched, By: by}
}

// Logs tells whether the rules only look.
func (r *Rules) Logs() bool { return r.action == rbacv3.RBAC_LOG }

// Policies is all that a decision may be by, the one that stands for none among them.
func (r *Rules) Policies() []*Policy { return append(slices.Clip(r.policies), r.none) }

// anyOf is true when one is. Nothing is never true.
func anyOf(all []condition) condition {
	if len(all) == 1 {
		return all[0]
	}
	return func(x *message.Info) bool {
		for _, c := range all {
			if c(x) {
				return true
			}
		}
		return false
	}
}

// allOf is true when all are.
func allOf(all []condition) condition {
	if len(all) == 1 {
		return all[0]
	}
	return func(x *message.Info) bool {
		for _, c := range all {
			if !c(x) {
				return false
			}
		}
		return true
	}
}

func not(c condition) condition { return func(x *message.Info) bool { return !c(x) } }

func always(*message.Info) bool { return true }

func never(*message.Info) bool { return false }
