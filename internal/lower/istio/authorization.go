package istio

import (
	"slices"
	"strconv"

	security "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

const kindAuthorizationPolicy = "AuthorizationPolicy"

// dryRunAnnotation says of an AuthorizationPolicy that it is only to be noted what it would do.
const dryRunAnnotation = "istio.io/dry-run"

// authorization is an AuthorizationPolicy with the workloads that it is for.
type authorization struct {
	target target
	policy model.AuthorizationPolicy
}

func (l *Lowered) defineAuthorizations(db *derive.DB) {
	l.authorizations = definePolicies(db, l.objects.AuthorizationPolicies, "authorization", l.opts.lowerAuthorization, nil)
	l.authorized = derive.Define(db, "lower/istio/authorizations for workload", sameList, func(r *derive.Reader, w workloadKey) (out []*model.AuthorizationPolicy) {
		for _, namespace := range l.opts.speakFor(w.namespace) {
			for _, a := range l.authorizations.in.Get(r, namespace) {
				if a.target.picks(w) {
					out = append(out, &a.policy)
				}
			}
		}
		return out
	})
}

// AuthorizationsFor gives the AuthorizationPolicies for a workload, those of the root namespace first, the older before the younger. Policies that
// mean what they meant are the same pointers as before.
func (l *Lowered) AuthorizationsFor(r *derive.Reader, namespace string, labels model.Labels) []*model.AuthorizationPolicy {
	return l.authorized.Get(r, workloadKey{namespace, labels})
}

var authorizationActions = map[security.AuthorizationPolicy_Action]model.AuthorizationAction{
	security.AuthorizationPolicy_ALLOW: model.AuthorizationAllow, security.AuthorizationPolicy_DENY: model.AuthorizationDeny,
	security.AuthorizationPolicy_AUDIT: model.AuthorizationAudit, security.AuthorizationPolicy_CUSTOM: model.AuthorizationCustom,
}

// lowerAuthorization gives nil for a policy that is for no workload. What cannot be read never lets in more: of a policy that allows it costs the
// whole rule, and of any other the condition, so that more is matched.
func (o Options) lowerAuthorization(r *derive.Reader, in *securityv1.AuthorizationPolicy) *authorization {
	s := specOf(origin(kindAuthorizationPolicy, in), r.Report)
	out := &authorization{policy: model.AuthorizationPolicy{Name: model.ObjectName(keyOf(in)), Provider: in.Spec.GetProvider().GetName(), Origin: model.Origin{Object: s.where.Object}}}
	var known, ok bool
	if out.policy.Action, known = authorizationActions[in.Spec.Action]; !known {
		s.in("action").errorf(codeValue, "%d is no action that is known; what the rules match is denied", in.Spec.Action)
		out.policy.Action = model.AuthorizationDeny
	}
	if out.target, ok = s.target(in.Namespace, &in.Spec); !ok {
		return nil
	}
	if text, said := in.Annotations[dryRunAnnotation]; said {
		var err error
		if out.policy.DryRun, err = strconv.ParseBool(text); err != nil {
			spot{r.Report, out.policy.Origin.At("metadata.annotations[" + dryRunAnnotation + "]")}.errorf(codeValue, "%q is neither true nor false; the policy is in force", text)
		}
	}
	s.provider(&in.Spec, out.policy.Action)
	for i, rule := range in.Spec.Rules {
		x := &ruleReader{spot: s.at("rules", i), opts: o, namespace: in.Namespace, allows: out.policy.Action == model.AuthorizationAllow}
		if rule := x.rule(rule); !x.broken {
			rule.Index = i
			out.policy.Rules = append(out.policy.Rules, rule)
		}
	}
	if len(in.Spec.Rules) == 0 && out.policy.Action != model.AuthorizationAllow {
		s.in("rules").warnf(codeNoEffect, "without rules it matches nothing; one rule {} matches everything")
	}
	return out
}

// provider says what is wrong with who is to be asked.
func (s spot) provider(in *security.AuthorizationPolicy, action model.AuthorizationAction) {
	switch {
	case action == model.AuthorizationCustom:
		s.in("action").errorf(codeUnsupported, "nobody can be asked (provider %q): what the rules match is denied", in.GetProvider().GetName())
	case in.GetProvider() != nil:
		s.in("provider").warnf(codeNoEffect, "has an effect only with action CUSTOM")
	}
}

// speakFor lists the namespaces whose policies may be for the workloads of a namespace.
func (o Options) speakFor(namespace string) []string {
	return slices.Compact([]string{o.RootNamespace, namespace})
}
