package rbac

import (
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"

	"github.com/weftmesh/weft/internal/proxy/authz"
	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Network is the rules for the connections of a filter chain. It decides once for each, before a byte goes on.
type Network struct {
	rules  *enforced
	shadow *shadow
	logs   *logging
}

// NewNetwork compiles the network filter. A delay of refusals (delay_deny) is left out: a connection that is not allowed is closed at once.
func NewNetwork(m *rbacv3.RBAC, env *filter.Env) (*Network, error) {
	if err := field.Only(m, "rules", "shadow_rules", "shadow_rules_stat_prefix", "stat_prefix", "enforcement_type", "delay_deny"); err != nil {
		return nil, err
	}
	n := &Network{}
	if m.GetRules() != nil {
		rules, err := authz.New(m.GetRules())
		if err != nil {
			return nil, field.In("rules", err)
		}
		if rules.Logs() {
			n.logs = &logging{rules}
		} else {
			n.rules = newEnforced(rules, env, "tcp")
		}
	}
	if m.GetShadowRules() != nil {
		rules, err := authz.New(m.GetShadowRules())
		if err != nil {
			return nil, field.In("shadow_rules", err)
		}
		n.shadow = newShadow(rules, m.GetShadowRulesStatPrefix(), env, "tcp")
	}
	return n, nil
}

// Allow tells whether a connection may go on. If not, it has said why in info's Details; who asks closes the connection.
func (n *Network) Allow(info *message.Info) bool {
	if n.shadow != nil {
		n.shadow.look(info, networkFilter)
	}
	if n.logs != nil {
		n.logs.look(info)
	}
	if n.rules == nil {
		return true
	}
	by, ok := n.rules.allow(info)
	if !ok {
		info.Details = by.Details
	}
	return ok
}
