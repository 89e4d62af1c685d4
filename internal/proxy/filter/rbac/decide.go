package rbac

import (
	"github.com/weftmesh/weft/internal/proxy/authz"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/stats"
)

// What the filters say of themselves in metadata.
const (
	httpFilter    = "envoy.filters.http.rbac"
	networkFilter = "envoy.filters.network.rbac"
)

// counters count the decisions of one kind, by the policy's index.
type counters []*stats.Counter

func newCounters(rules *authz.Rules, env *filter.Env, layer, result string) counters {
	if env == nil || env.Stats == nil {
		return nil
	}
	var c counters
	for _, p := range rules.Policies() {
		c = append(c, env.Stats.Counter("weft_proxy_rbac_decisions_total", "Decisions about requests (layer http) and connections (layer tcp) by the policy that matched.",
			stats.Label{Name: "layer", Value: layer}, stats.Label{Name: "policy", Value: bounded(p.Name)}, stats.Label{Name: "result", Value: result}))
	}
	return c
}

// bounded keeps a policy's name, which a control plane chose, to a length that is fit for a label.
func bounded(name string) string {
	const most = 200
	return name[:min(len(name), most)]
}

func (c counters) add(p *authz.Policy, info *message.Info) {
	if c != nil {
		c[p.Index].Add(stats.Shard(info.ConnectionID), 1)
	}
}

// enforced is rules that are obeyed.
type enforced struct {
	rules *authz.Rules
	count [2]counters // refused, allowed
}

func newEnforced(rules *authz.Rules, env *filter.Env, layer string) *enforced {
	return &enforced{rules, [2]counters{newCounters(rules, env, layer, "denied"), newCounters(rules, env, layer, "allowed")}}
}

func (e *enforced) allow(info *message.Info) (by *authz.Policy, ok bool) {
	d := e.rules.Decide(info)
	e.count[index(d.Allowed)].add(d.By, info)
	return d.By, d.Allowed
}

func index(allowed bool) int {
	if allowed {
		return 1
	}
	return 0
}

// shadow is rules of which is only said what they would do.
type shadow struct {
	rules    *authz.Rules
	count    [2]counters
	idKey    string
	resultOf string
	results  [2]any
}

func newShadow(rules *authz.Rules, prefix string, env *filter.Env, layer string) *shadow {
	return &shadow{
		rules: rules, idKey: prefix + "shadow_effective_policy_id", resultOf: prefix + "shadow_engine_result", results: [2]any{"denied", "allowed"},
		count: [2]counters{newCounters(rules, env, layer, "shadow_denied"), newCounters(rules, env, layer, "shadow_allowed")},
	}
}

func (s *shadow) look(info *message.Info, as string) {
	d := s.rules.Decide(info)
	s.count[index(d.Allowed)].add(d.By, info)
	if d.By.ID != nil {
		info.SetMetadata(as, s.idKey, d.By.ID)
	}
	info.SetMetadata(as, s.resultOf, s.results[index(d.Allowed)])
}

// logging is rules of the action LOG: they mark exchanges for who writes logs.
type logging struct{ rules *authz.Rules }

func (l *logging) look(info *message.Info) {
	info.SetMetadata("envoy.common", "access_log_hint", marks[index(l.rules.Decide(info).Log)])
}

// marks are false and true as values of metadata.
var marks = [2]any{false, true}
