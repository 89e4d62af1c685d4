package istio

import (
	"slices"
	"strings"

	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/internal/model"
)

// ruleReader reads one rule of an AuthorizationPolicy.
type ruleReader struct {
	spot
	opts      Options
	namespace string
	allows    bool // what matches is let in
	broken    bool // the rule must not be used
}

// wrong says that an element of the rule cannot be read.
func (x *ruleReader) wrong(at spot, code, format string, args ...any) {
	if x.allows {
		x.broken = true
		at.errorf(code, format+"; the rule is left out", args...)
		return
	}
	at.errorf(code, format+"; it is left out, so that the rule matches more", args...)
}

func (x *ruleReader) rule(in *security.Rule) (out model.AuthorizationRule) {
	out.Origin = x.where
	if in == nil {
		x.broken = true
		x.errorf(codeMissing, "says nothing; it is left out")
		return out
	}
	for i, from := range in.From {
		at := x.at("from", i).in("source")
		out.From = append(out.From, x.clause(at, x.source(from.GetSource(), at)))
	}
	for i, to := range in.To {
		at := x.at("to", i).in("operation")
		out.To = append(out.To, x.clause(at, x.operation(to.GetOperation(), at)))
	}
	for i, when := range in.When {
		if c, ok := x.when(when, x.at("when", i)); ok {
			out.When = append(out.When, c)
		}
	}
	return out
}

// clause is the conditions of a source or an operation that say something.
func (x *ruleReader) clause(at spot, list []model.Condition) model.Clause {
	if list == nil {
		x.wrong(at, codeMissing, "says nothing")
	}
	return model.Clause{Origin: at.where, All: slices.DeleteFunc(list, saysNothingOf)}
}

func saysNothingOf(c model.Condition) bool { return len(c.Values)+len(c.NotValues) == 0 }

// source reads who may be meant, nil if nothing is said.
func (x *ruleReader) source(in *security.Source, at spot) (out []model.Condition) {
	add := func(a model.Attribute, field, not string, values, notValues []string) {
		if len(values)+len(notValues) > 0 {
			out = append(out, x.condition(a, at, field, not, values, notValues))
		}
	}
	add(model.AttributePrincipal, "principals", "notPrincipals", in.GetPrincipals(), in.GetNotPrincipals())
	add(model.AttributeRequestPrincipal, "requestPrincipals", "notRequestPrincipals", in.GetRequestPrincipals(), in.GetNotRequestPrincipals())
	add(model.AttributeAccount, "serviceAccounts", "notServiceAccounts", in.GetServiceAccounts(), in.GetNotServiceAccounts())
	add(model.AttributeNamespace, "namespaces", "notNamespaces", in.GetNamespaces(), in.GetNotNamespaces())
	add(model.AttributeRemoteIP, "remoteIpBlocks", "notRemoteIpBlocks", in.GetRemoteIpBlocks(), in.GetNotRemoteIpBlocks())
	add(model.AttributeSourceIP, "ipBlocks", "notIpBlocks", in.GetIpBlocks(), in.GetNotIpBlocks())
	return out
}

// operation reads what may be asked for, nil if nothing is said.
func (x *ruleReader) operation(in *security.Operation, at spot) (out []model.Condition) {
	add := func(a model.Attribute, field, not string, values, notValues []string) {
		if len(values)+len(notValues) > 0 {
			out = append(out, x.condition(a, at, field, not, values, notValues))
		}
	}
	add(model.AttributeHost, "hosts", "notHosts", in.GetHosts(), in.GetNotHosts())
	add(model.AttributeMethod, "methods", "notMethods", in.GetMethods(), in.GetNotMethods())
	add(model.AttributePath, "paths", "notPaths", in.GetPaths(), in.GetNotPaths())
	add(model.AttributePort, "ports", "notPorts", in.GetPorts(), in.GetNotPorts())
	return out
}

func (x *ruleReader) when(in *security.Condition, at spot) (out model.Condition, ok bool) {
	a, path, known := attributeOf(in.GetKey())
	switch {
	case in.GetKey() == "":
		x.wrong(at.in("key"), codeMissing, "is needed")
	case !known:
		x.wrong(at.in("key"), codeMatch, "%q is no attribute that can be looked at", in.GetKey())
	case a == model.AttributeHeader && !isToken(strings.TrimPrefix(path[0], ":")):
		x.wrong(at.in("key"), codeHeader, "%q is no name of a header", path[0])
	case len(in.GetValues())+len(in.GetNotValues()) == 0:
		x.wrong(at, codeMissing, "one of values and notValues is needed")
	default:
		out = x.condition(a, at, "values", "notValues", in.Values, in.NotValues)
		out.Path, out.Origin = path, at.where
		return out, !saysNothingOf(out)
	}
	return out, false
}

// attributeOf reads a key of when.
func attributeOf(key string) (a model.Attribute, path []string, ok bool) {
	switch key {
	case "source.principal":
		return model.AttributePrincipal, nil, true
	case "source.namespace":
		return model.AttributeNamespace, nil, true
	case "source.serviceAccount":
		return model.AttributeAccount, nil, true
	case "source.ip":
		return model.AttributeSourceIP, nil, true
	case "remote.ip":
		return model.AttributeRemoteIP, nil, true
	case "request.auth.principal":
		return model.AttributeRequestPrincipal, nil, true
	case "request.auth.audiences":
		return model.AttributeAudience, nil, true
	case "request.auth.presenter":
		return model.AttributePresenter, nil, true
	case "destination.ip":
		return model.AttributeDestinationIP, nil, true
	case "destination.port":
		return model.AttributePort, nil, true
	case "connection.sni":
		return model.AttributeSNI, nil, true
	}
	if rest, found := strings.CutPrefix(key, "request.headers"); found {
		name, ok := inBrackets(rest)
		return model.AttributeHeader, []string{strings.ToLower(name)}, ok
	}
	if rest, found := strings.CutPrefix(key, "request.auth.claims"); found {
		path, ok = claimPath(rest)
		return model.AttributeClaim, path, ok
	}
	return 0, nil, false
}

// inBrackets reads "[NAME]".
func inBrackets(s string) (name string, ok bool) {
	if len(s) < 3 || s[0] != '[' || s[len(s)-1] != ']' {
		return "", false
	}
	return s[1 : len(s)-1], true
}

// claimPath reads "[A][B]", the claim B inside of A. Where the brackets do not come in pairs, what is between the outer ones is one name.
func claimPath(s string) (path []string, ok bool) {
	whole, ok := inBrackets(s)
	if !ok {
		return nil, false
	}
	parts := strings.Split(whole, "][")
	if slices.ContainsFunc(parts, func(p string) bool { return p == "" || strings.ContainsAny(p, "[]") }) {
		return []string{whole}, true
	}
	return parts, true
}
