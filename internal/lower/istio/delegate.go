package istio

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// delegate is the rules of a VirtualService without hosts, which hold where another one says.
type delegate struct {
	rules    []rule
	exported []string
}

func (l *Lowered) lowerDelegate(r *derive.Reader, k store.Key) *delegate {
	v := l.objects.VirtualServices.Get(r, k)
	if v == nil || len(v.Spec.Hosts) > 0 {
		return nil
	}
	s := &routes{opts: l.opts, namespace: v.Namespace, spot: specOf(origin(kindVirtualService, v), r.Report)}
	for _, f := range []struct {
		field string
		set   bool
	}{{"gateways", len(v.Spec.Gateways) > 0}, {"tls", len(v.Spec.Tls) > 0}, {"tcp", len(v.Spec.Tcp) > 0}} {
		if f.set {
			s.in(f.field).errorf(codeNoEffect, "has no effect in a VirtualService without hosts, which is a delegate")
		}
	}
	if len(v.Spec.Http) == 0 {
		s.in("http").errorf(codeMissing, "a delegate without rules has no effect")
	}
	d := &delegate{exported: s.exports(v.Spec.ExportTo, v.Namespace)}
	for i, h := range v.Spec.Http {
		rule, ok := s.lowerRule(h, s.at("http", i))
		if !ok {
			continue
		}
		if ref := h.GetDelegate(); ref != nil {
			at := s.at("http", i).in("delegate")
			if to := delegateKey(ref, v.Namespace); l.leadsTo(r, to, k) {
				at.errorf(codeDelegateLoop, "VirtualService %v leads back here; requests are answered 500", to)
			} else {
				at.errorf(codeDelegateNested, "a delegate cannot have delegates; requests are answered 500")
			}
		}
		d.rules = append(d.rules, rule)
	}
	return d
}

func delegateKey(ref *networking.Delegate, own string) store.Key {
	if ref.Namespace != "" {
		own = ref.Namespace
	}
	return store.Key{Namespace: own, Name: ref.Name}
}

// leadsTo tells whether a VirtualService is another, or delegates to it, perhaps through others.
func (l *Lowered) leadsTo(r *derive.Reader, from, to store.Key) bool {
	seen := map[store.Key]bool{}
	for next := []store.Key{from}; len(next) > 0; {
		k := next[0]
		next = next[1:]
		if k == to {
			return true
		}
		if seen[k] {
			continue
		}
		seen[k] = true
		v := l.objects.VirtualServices.Get(r, k)
		if v == nil {
			continue
		}
		for _, h := range v.Spec.Http {
			if ref := h.GetDelegate(); ref != nil {
				next = append(next, delegateKey(ref, k.Namespace))
			}
		}
	}
	return false
}

// delegated gives the rules of a delegate in place of the rule that names it. Without the delegate there are none, as in Istio.
func (l *Lowered) delegated(r *derive.Reader, root store.Key, h *networking.HTTPRoute, rule rule, at spot) (out []model.Route) {
	at = at.in("delegate")
	k := delegateKey(h.Delegate, root.Namespace)
	if k.Name == "" {
		at.in("name").errorf(codeMissing, "is needed; the rule is left out")
		return nil
	}
	d := l.delegates.Get(r, k)
	switch {
	case d == nil && l.leadsTo(r, k, root):
		at.errorf(codeDelegateLoop, "VirtualService %v leads back here; the rule is left out", k)
		return nil
	case d == nil && l.objects.VirtualServices.Get(r, k) != nil:
		at.errorf(codeNoDelegate, "VirtualService %v has hosts of its own and can be no delegate; the rule is left out", k)
		return nil
	case d == nil:
		at.errorf(codeNoDelegate, "VirtualService %v does not exist; the rule is left out", k)
		return nil
	case !visible(d.exported, root.Namespace):
		at.errorf(codeNoDelegate, "VirtualService %v is not exported to namespace %s; the rule is left out", k, root.Namespace)
		return nil
	}
	for _, sub := range d.rules {
		route, ok := under(rule, sub)
		if !ok {
			at.errorf(codeDelegateConflict, "%v matches what this rule does not; it is left out here", sub.Origin)
			continue
		}
		out = append(out, route)
	}
	return out
}

// under gives a delegate's rule within the one that delegates: both must match, and what the delegate does not say the root says for it.
func under(root, sub rule) (out model.Route, ok bool) {
	out = sub.Route
	if out.Matches, ok = bothMatch(root.Matches, sub.Matches); !ok {
		return out, false
	}
	out.Name = joinNames(root.Name, sub.Name)
	if out.Rewrite == nil && len(out.To) > 0 {
		out.Rewrite = root.Rewrite
	}
	if !sub.timeout {
		out.Timeout = root.Timeout
	}
	if out.Retry == nil {
		out.Retry = root.Retry
	}
	if out.Fault == nil && len(out.To) > 0 {
		out.Fault = root.Fault
	}
	if out.CORS == nil {
		out.CORS = root.CORS
	}
	if len(out.Mirrors) == 0 {
		out.Mirrors = root.Mirrors
	}
	if !sub.headers {
		out.Request, out.Response = root.Request, root.Response
	}
	return out, true
}

func joinNames(root, sub string) string { return strings.Trim(root+"-"+sub, "-") }

// bothMatch gives every pair of a root's and a delegate's match that do not exclude each other. A delegate's match that goes with none of the
// root's makes the whole rule one that was not meant here.
func bothMatch(root, sub []model.Match) (out []model.Match, ok bool) {
	switch {
	case len(root) == 0:
		return sub, true
	case len(sub) == 0:
		return root, true
	}
	for i := range sub {
		found := false
		for j := range root {
			if !excludes(&root[j], &sub[i]) {
				out = append(out, intersection(&root[j], &sub[i]))
				found = true
			}
		}
		if !found {
			return nil, false
		}
	}
	return out, true
}

// excludes tells whether a delegate's match is not within the root's.
func excludes(root, sub *model.Match) bool {
	for _, pair := range [][2]model.StringMatch{{root.Path, sub.Path}, {root.Scheme, sub.Scheme}, {root.Method, sub.Method}, {root.Authority, sub.Authority}} {
		if notWithin(pair[0], pair[1]) {
			return true
		}
	}
	if root.Path.IgnoreCase != sub.Path.IgnoreCase || namedExclude(root.Headers, sub.Headers) || namedExclude(root.Query, sub.Query) {
		return true
	}
	if root.Port != 0 && sub.Port != 0 && root.Port != sub.Port || root.SourceNamespace != "" && sub.SourceNamespace != root.SourceNamespace {
		return true
	}
	rootLabels := labelSet(root.SourceLabels)
	for k, v := range labelSet(sub.SourceLabels) {
		if rv, ok := rootLabels[k]; ok && rv != v {
			return true
		}
	}
	return root.Gateways != nil && slices.ContainsFunc(sub.Gateways, func(g model.GatewayName) bool { return !slices.Contains(root.Gateways, g) })
}

// notWithin tells whether a delegate's comparison is not a narrower one than the root's. Regular expressions are never compared.
func notWithin(root, sub model.StringMatch) bool {
	if root.Kind == model.MatchAny || sub.Kind == model.MatchAny {
		return false
	}
	switch root.Kind {
	case model.MatchExact:
		return sub.Kind != model.MatchExact || sub.Value != root.Value
	case model.MatchPrefix:
		return sub.Kind != model.MatchExact && sub.Kind != model.MatchPrefix || !strings.HasPrefix(sub.Value, root.Value)
	}
	return root.Kind == model.MatchRegex || sub.Kind == model.MatchRegex
}

func namedExclude(root, sub []model.NamedMatch) bool {
	for _, n := range sub {
		if i := slices.IndexFunc(root, func(o model.NamedMatch) bool { return o.Name == n.Name && o.Invert == n.Invert }); i >= 0 && notWithin(root[i].StringMatch, n.StringMatch) {
			return true
		}
	}
	return false
}

// intersection is a match that holds where both do, given that the delegate's is the narrower one wherever both say something.
func intersection(root, sub *model.Match) model.Match {
	out := *sub
	out.Name = joinNames(root.Name, sub.Name)
	for _, f := range []struct{ to, from *model.StringMatch }{
		{&out.Path, &root.Path}, {&out.Scheme, &root.Scheme}, {&out.Method, &root.Method}, {&out.Authority, &root.Authority},
	} {
		if f.to.Kind == model.MatchAny {
			*f.to = *f.from
		}
	}
	out.Headers, out.Query = mergeNamed(root.Headers, sub.Headers), mergeNamed(root.Query, sub.Query)
	if out.Port == 0 {
		out.Port = root.Port
	}
	labels := labelSet(root.SourceLabels)
	maps.Copy(labels, labelSet(sub.SourceLabels))
	out.SourceLabels = model.MakeLabels(labels)
	if out.SourceNamespace == "" {
		out.SourceNamespace = root.SourceNamespace
	}
	if out.Gateways == nil {
		out.Gateways = root.Gateways
	}
	return out
}

func mergeNamed(root, sub []model.NamedMatch) []model.NamedMatch {
	out := slices.Clone(sub)
	for _, n := range root {
		if !slices.ContainsFunc(sub, func(o model.NamedMatch) bool { return o.Name == n.Name && o.Invert == n.Invert }) {
			out = append(out, n)
		}
	}
	slices.SortStableFunc(out, func(a, b model.NamedMatch) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func labelSet(l model.Labels) map[string]string {
	out := map[string]string{}
	for pair := range strings.SplitSeq(string(l), ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			out[k] = v
		}
	}
	return out
}
