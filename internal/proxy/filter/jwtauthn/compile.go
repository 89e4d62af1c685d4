package jwtauthn

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
)

type compiler struct {
	providers map[string]*provider
	policy    *Policy
}

func (c *compiler) compile(m *jwtv3.JwtAuthentication, env *filter.Env) error {
	for _, name := range slices.Sorted(maps.Keys(m.GetProviders())) {
		p, err := newProvider(m.GetProviders()[name], env)
		if err != nil {
			return field.In("providers["+name+"]", err)
		}
		c.providers[name] = p
		c.policy.providers = append(c.policy.providers, p)
		c.policy.sanitized = append(c.policy.sanitized, p.sets()...)
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetRequirementMap())) {
		r, err := c.requirement(m.GetRequirementMap()[name])
		if err != nil {
			return field.In("requirement_map["+name+"]", err)
		}
		c.policy.named[name] = r
	}
	for i, r := range m.GetRules() {
		one, err := c.rule(r)
		if err != nil {
			return field.At("rules", i, err)
		}
		c.policy.rules = append(c.policy.rules, one)
	}
	return nil
}

func (c *compiler) rule(m *jwtv3.RequirementRule) (r rule, err error) {
	if r.match, err = newRouteMatch(m.GetMatch()); err != nil {
		return r, field.In("match", err)
	}
	switch t := m.GetRequirementType().(type) {
	case *jwtv3.RequirementRule_Requires:
		r.requires, err = c.requirement(t.Requires)
		return r, field.In("requires", err)
	case *jwtv3.RequirementRule_RequirementName:
		known := false
		if r.requires, known = c.policy.named[t.RequirementName]; !known {
			return r, field.Errorf("requirement_name", "there is no %q in requirement_map", t.RequirementName)
		}
	}
	return r, nil
}

// requirement compiles what requests need; nothing said is nothing needed.
func (c *compiler) requirement(m *jwtv3.JwtRequirement) (requirement, error) {
	switch r := m.GetRequiresType().(type) {
	case nil:
		return nil, nil
	case *jwtv3.JwtRequirement_ProviderName:
		p, err := c.provider(r.ProviderName)
		return &one{p: p}, field.In("provider_name", err)
	case *jwtv3.JwtRequirement_ProviderAndAudiences:
		p, err := c.provider(r.ProviderAndAudiences.GetProviderName())
		return &one{p, newAudiences(r.ProviderAndAudiences.GetAudiences())}, field.In("provider_and_audiences.provider_name", err)
	case *jwtv3.JwtRequirement_RequiresAny:
		inner, err := c.several(r.RequiresAny.GetRequirements())
		return alternatives(inner), field.In("requires_any", err)
	case *jwtv3.JwtRequirement_RequiresAll:
		inner, err := c.several(r.RequiresAll.GetRequirements())
		return all(inner), field.In("requires_all", err)
	case *jwtv3.JwtRequirement_AllowMissing:
		return &optional{policy: c.policy}, nil
	case *jwtv3.JwtRequirement_AllowMissingOrFailed:
		return &optional{policy: c.policy, failed: true}, nil
	}
	return nil, errors.New("this proxy does not know its kind")
}

func (c *compiler) several(ms []*jwtv3.JwtRequirement) ([]requirement, error) {
	var out []requirement
	for i, m := range ms {
		r, err := c.requirement(m)
		if err == nil && r == nil {
			err = errors.New("empty")
		}
		if err != nil {
			return nil, field.At("requirements", i, err)
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, field.Errorf("requirements", "empty")
	}
	return out, nil
}

// alternatives puts what lets requests without a token through behind the others, wherever it stands.
func alternatives(all []requirement) either {
	var out either
	var last *optional
	for _, r := range all {
		o, ok := r.(*optional)
		switch {
		case !ok:
			out = append(out, r)
		case last == nil || o.failed:
			last = o
		}
	}
	if last != nil {
		out = append(out, last)
	}
	return out
}

func (c *compiler) provider(name string) (*provider, error) {
	p := c.providers[name]
	if p == nil {
		return nil, fmt.Errorf("there is no provider %q", name)
	}
	return p, nil
}

// audiences are those that a token must have one of; none is any.
type audiences []string

func newAudiences(all []string) audiences {
	out := audiences{}
	for _, a := range all {
		out = append(out, bare(a))
	}
	return out
}

// bare is an audience without what makes no difference: its scheme, and a slash at its end.
func bare(a string) string {
	a = strings.TrimPrefix(strings.TrimPrefix(a, "http://"), "https://")
	return strings.TrimSuffix(a, "/")
}

func (a audiences) allow(of []string) bool {
	return len(a) == 0 || slices.ContainsFunc(of, func(one string) bool { return slices.Contains(a, bare(one)) })
}
