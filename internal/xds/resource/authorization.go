package resource

import (
	"fmt"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"

	"github.com/weftmesh/weft/internal/model"
)

// Filters that judge by AuthorizationPolicies, one for each action. A request or connection that one refuses is refused by the filter's policy,
// whose name says the object and the rule.
const (
	httpRBACFilter    = "envoy.filters.http.rbac"
	networkRBACFilter = "envoy.filters.network.rbac"
)

// What a proxy calls that which policies that are only tried would have decided, as Istio's dashboards ask for it.
const (
	dryRunAllow = "istio_dry_run_allow_"
	dryRunDeny  = "istio_dry_run_deny_"
)

// PoliciesHTTP says the filters, in their order, by which requests are judged: what the tokens are that they bring, and whether they are let in.
// They go before all filters that act on a request.
func PoliciesHTTP(g *model.Guard) (out []*hcmv3.HttpFilter) {
	add := func(action model.AuthorizationAction) {
		if rules, shadow := rbac(g.Authorizations, action, false); rules != nil || shadow != nil {
			out = append(out, filter(httpRBACFilter, &httprbacv3.RBAC{Rules: rules, ShadowRules: shadow, ShadowRulesStatPrefix: shadowPrefix(shadow)}))
		}
	}
	add(model.AuthorizationCustom)
	if jwt := jwtFilter(g.Authentications); jwt != nil {
		out = append(out, jwt)
	}
	add(model.AuthorizationAudit)
	add(model.AuthorizationDeny)
	add(model.AuthorizationAllow)
	return out
}

// PoliciesTCP says the filters, in their order, by which connections are judged whose requests are not looked at. What only requests have cannot be
// looked at: a rule that allows and asks for it matches nothing, and any other rule matches as if it did not ask.
func PoliciesTCP(g *model.Guard) (out []*listenerv3.Filter) {
	for _, action := range []model.AuthorizationAction{model.AuthorizationCustom, model.AuthorizationAudit, model.AuthorizationDeny, model.AuthorizationAllow} {
		if rules, shadow := rbac(g.Authorizations, action, true); rules != nil || shadow != nil {
			out = append(out, networkFilter(networkRBACFilter, &networkrbacv3.RBAC{StatPrefix: "tcp.", Rules: rules, ShadowRules: shadow, ShadowRulesStatPrefix: shadowPrefix(shadow)}))
		}
	}
	return out
}

func shadowPrefix(shadow *rbacv3.RBAC) string {
	switch {
	case shadow == nil:
		return ""
	case shadow.Action == rbacv3.RBAC_ALLOW:
		return dryRunAllow
	case shadow.Action == rbacv3.RBAC_DENY:
		return dryRunDeny
	}
	return ""
}

// rbac says the policies of one action: those that decide, and those that are only tried. Each is nil if there are none. Whoever would have to be
// asked cannot be, so that what is to be asked about is refused, as by Istio where it does not know the provider. A rule that a proxy would not take
// lets nothing in, and refuses everything.
func rbac(list []*model.AuthorizationPolicy, action model.AuthorizationAction, tcp bool) (rules, shadow *rbacv3.RBAC) {
	kind := rbacv3.RBAC_DENY
	switch action {
	case model.AuthorizationAllow:
		kind = rbacv3.RBAC_ALLOW
	case model.AuthorizationAudit:
		kind = rbacv3.RBAC_LOG
	}
	for _, p := range list {
		if p.Action != action || p.DryRun && action == model.AuthorizationCustom {
			continue
		}
		into := &rules
		if p.DryRun {
			into = &shadow
		}
		if *into == nil {
			*into = &rbacv3.RBAC{Action: kind, Policies: map[string]*rbacv3.Policy{}}
		}
		if len(p.Rules) == 0 {
			(*into).Policies[PolicyName(p, 0)] = never()
		}
		for i := range p.Rules {
			r := &p.Rules[i]
			policy := rbacPolicy(r, action, tcp)
			if policy == nil {
				continue
			}
			if valid(policy) != nil { // no rule that was lowered
				if action == model.AuthorizationAllow {
					continue
				}
				policy = always()
			}
			(*into).Policies[PolicyName(p, r.Index)] = policy
		}
	}
	return rules, shadow
}

// PolicyName is what a rule is called in access logs and statistics, as by Istio: "ns[shop]-policy[web]-rule[0]".
func PolicyName(p *model.AuthorizationPolicy, rule int) string {
	name := fmt.Sprintf("ns[%s]-policy[%s]-rule[%d]", p.Name.Namespace, p.Name.Name, rule)
	if p.Action != model.AuthorizationCustom {
		return utf8(name)
	}
	if p.Provider != "" {
		name = p.Provider + "-" + name
	}
	return utf8("istio-ext-authz-" + name + "-deny-due-to-bad-CUSTOM-action")
}

// rbacPolicy says one rule; nil if there is nothing that it could match.
func rbacPolicy(r *model.AuthorizationRule, action model.AuthorizationAction, tcp bool) *rbacv3.Policy {
	if tcp && action == model.AuthorizationAllow && r.HTTP() {
		return nil
	}
	out := &rbacv3.Policy{}
	for _, c := range clauses(r.To) {
		var all []*rbacv3.Permission
		for _, list := range [][]model.Condition{c.All, r.When} {
			for i := range list {
				if a := list[i].Attribute; !a.OfSource() && !(tcp && a.HTTP()) {
					all = append(all, permission(&list[i])...)
				}
			}
		}
		out.Permissions = append(out.Permissions, allPermissions(all))
	}
	for _, c := range clauses(r.From) {
		var all []*rbacv3.Principal
		for _, list := range [][]model.Condition{c.All, r.When} {
			for i := range list {
				if a := list[i].Attribute; a.OfSource() && !(tcp && a.HTTP()) {
					all = append(all, principal(&list[i])...)
				}
			}
		}
		out.Principals = append(out.Principals, allPrincipals(all))
	}
	return out
}

// clauses gives one that always holds for none.
func clauses(list []model.Clause) []model.Clause {
	if len(list) == 0 {
		return []model.Clause{{}}
	}
	return list
}

func always() *rbacv3.Policy {
	return &rbacv3.Policy{Permissions: []*rbacv3.Permission{anyPermission()}, Principals: []*rbacv3.Principal{anyPrincipal()}}
}

func never() *rbacv3.Policy {
	return &rbacv3.Policy{Permissions: []*rbacv3.Permission{notPermission(anyPermission())}, Principals: []*rbacv3.Principal{notPrincipal(anyPrincipal())}}
}
