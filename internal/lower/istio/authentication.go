package istio

import (
	"net/url"
	"slices"
	"strings"

	security "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/jwks"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

const kindRequestAuthentication = "RequestAuthentication"

// authentication is a RequestAuthentication with the workloads that it is for.
type authentication struct {
	target target
	policy model.RequestAuthentication
}

func (l *Lowered) defineAuthentications(db *derive.DB) {
	l.authentications = definePolicies(db, l.objects.RequestAuthentications, "authentication", l.lowerAuthentication, nil)
	l.KeySources = derive.Define(db, "lower/istio/key sources", sameList, func(r *derive.Reader, k store.Key) (out []model.KeySource) {
		o := l.objects.RequestAuthentications.Get(r, k)
		if o == nil {
			return nil
		}
		for _, rule := range o.Spec.JwtRules {
			if s := keySource(rule); s.URL != "" && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
		return out
	})
	l.authenticated = derive.Define(db, "lower/istio/authentications for workload", sameList, func(r *derive.Reader, w workloadKey) (out []*model.RequestAuthentication) {
		for _, namespace := range l.opts.speakFor(w.namespace) {
			for _, a := range l.authentications.in.Get(r, namespace) {
				if a.target.picks(w) {
					out = append(out, &a.policy)
				}
			}
		}
		return out
	})
}

// RequestAuthenticationsFor gives the RequestAuthentications for a workload, those of the root namespace first, the older before the younger.
// Policies that mean what they meant are the same pointers as before.
func (l *Lowered) RequestAuthenticationsFor(r *derive.Reader, namespace string, labels model.Labels) []*model.RequestAuthentication {
	return l.authenticated.Get(r, workloadKey{namespace, labels})
}

// keySource is where a rule's keys are to be had; the zero one if they are given, or nobody knows.
func keySource(rule *security.JWTRule) model.KeySource {
	if rule.GetJwks() != "" {
		return model.KeySource{}
	}
	at := rule.GetJwksUri()
	if at == "" && rule.GetIssuer() != "" {
		at = strings.TrimSuffix(rule.Issuer, "/") + model.OpenIDConfiguration
	}
	if u, err := url.Parse(at); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return model.KeySource{}
	}
	return model.KeySource{URL: at, Timeout: silent.duration(rule.Timeout)}
}

// lowerAuthentication gives nil for a policy that is for no workload. A rule whose keys cannot be had believes no token: it is never left out.
func (l *Lowered) lowerAuthentication(r *derive.Reader, in *securityv1.RequestAuthentication) *authentication {
	s := specOf(origin(kindRequestAuthentication, in), r.Report)
	out := &authentication{policy: model.RequestAuthentication{Name: model.ObjectName(keyOf(in)), Origin: model.Origin{Object: s.where.Object}}}
	var ok bool
	if out.target, ok = s.target(in.Namespace, &in.Spec); !ok {
		return nil
	}
	for i, rule := range in.Spec.JwtRules {
		at := s.at("jwtRules", i)
		if rule == nil {
			at.errorf(codeMissing, "says nothing; it is left out")
			continue
		}
		lowered := at.jwtRule(rule)
		lowered.Keys = l.keysOf(r, rule, at)
		if len(rule.Audiences) > 0 && len(lowered.Audiences) == 0 {
			lowered.Keys = "" // it is for nobody, not for everybody
		}
		out.policy.Rules = append(out.policy.Rules, lowered)
	}
	if len(in.Spec.JwtRules) == 0 {
		s.in("jwtRules").warnf(codeNoEffect, "without rules every request is let by, whatever token it has")
	}
	return out
}

// keysOf gives the keys of a rule, "" if there are none.
func (l *Lowered) keysOf(r *derive.Reader, rule *security.JWTRule, at spot) string {
	if rule.Jwks != "" {
		private, err := jwks.Check(rule.Jwks)
		if err != nil {
			at.in("jwks").errorf(codeKeys, "%v; every token is refused", err)
			return ""
		}
		if private {
			at.in("jwks").warnf(codeKeys, "holds a private key, with which anybody who may read it can sign tokens")
		}
		if rule.JwksUri != "" {
			at.in("jwksUri").warnf(codeConflict, "has no effect beside jwks")
		}
		return rule.Jwks
	}
	if rule.JwksUri == "" {
		at = at.in("issuer")
	} else {
		at = at.in("jwksUri")
	}
	from := keySource(rule)
	if from.URL == "" {
		at.errorf(codeKeys, "no keys are given, nor an http or https URL where they are; every token is refused")
		return ""
	}
	if l.objects.KeySets == nil {
		return ""
	}
	set := l.objects.KeySets.Get(r, jwks.Key(from.URL))
	switch {
	case set == nil: // not tried yet
		return ""
	case set.Problem != "" && set.Keys == "":
		at.errorf(codeKeys, "there are no keys, and every token is refused: %s", set.Problem)
	case set.Problem != "":
		at.warnf(codeKeys, "the keys that were had before are used: %s", set.Problem)
	}
	return set.Keys
}

func (s spot) jwtRule(in *security.JWTRule) model.JWTRule {
	out := model.JWTRule{
		Issuer: in.Issuer, Audiences: s.nonEmpty("audiences", in.Audiences), Params: s.nonEmpty("fromParams", in.FromParams), Cookies: s.nonEmpty("fromCookies", in.FromCookies),
		Forward: in.ForwardOriginalToken, SpaceDelimited: slices.Sorted(slices.Values(s.nonEmpty("spaceDelimitedClaims", in.SpaceDelimitedClaims))), Origin: s.where,
	}
	s.in("timeout").duration(in.Timeout)
	for i, h := range in.FromHeaders {
		if !isToken(h.GetName()) {
			s.at("fromHeaders", i).in("name").errorf(codeHeader, "%q is no name of a header; no token is looked for there", h.GetName())
			continue
		}
		out.Headers = append(out.Headers, model.TokenHeader{Name: h.Name, Prefix: h.Prefix})
	}
	if in.OutputPayloadToHeader != "" && !isToken(in.OutputPayloadToHeader) {
		s.in("outputPayloadToHeader").errorf(codeHeader, "%q is no name of a header; it is left out", in.OutputPayloadToHeader)
	} else {
		out.PayloadHeader = in.OutputPayloadToHeader
	}
	for i, c := range in.OutputClaimToHeaders {
		at := s.at("outputClaimToHeaders", i)
		switch {
		case c.GetClaim() == "":
			at.in("claim").errorf(codeMissing, "is needed; it is left out")
		case !isToken(c.GetHeader()):
			at.in("header").errorf(codeHeader, "%q is no name of a header; it is left out", c.GetHeader())
		default:
			out.ClaimHeaders = append(out.ClaimHeaders, model.ClaimHeader{Claim: c.Claim, Header: c.Header})
		}
	}
	return out
}

// nonEmpty is the texts that are not empty.
func (s spot) nonEmpty(field string, list []string) (out []string) {
	for i, text := range list {
		if text == "" {
			s.at(field, i).errorf(codeValue, "is empty; it is left out")
			continue
		}
		out = append(out, text)
	}
	return out
}
