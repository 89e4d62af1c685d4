package ingress

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// hostLowering is the lowering of what one Ingress says of one host.
type hostLowering struct {
	l    *Lowered
	r    *derive.Reader
	in   *networkingv1.Ingress
	host string
	a    annotations
	out  *model.RouteSet
	say  report
}

// lowerHost gives the routes of an Ingress for one of its hosts.
func (l *Lowered) lowerHost(r *derive.Reader, in *networkingv1.Ingress, host string) *model.RouteSet {
	if badHost(host) != "" {
		return nil // lowerGateway says so
	}
	h := &hostLowering{l: l, r: r, in: in, host: host, a: readAnnotations(in, mute), say: r.Report, out: &model.RouteSet{
		Hosts: []string{host}, Gateways: []model.GatewayName{nameOf(in)}, Exported: []string{"*"}, Longest: true, Seniority: seniority(in), Origin: origin(in, "spec.rules"),
	}}
	first := true
	for i := range in.Spec.Rules {
		rule := &in.Spec.Rules[i]
		if hostOf(rule.Host) != host && !slices.Contains(h.a.aliases, host) {
			continue
		}
		if first {
			h.out.Origin, first = origin(in, "spec.rules[%d]", i), false
		}
		if rule.HTTP == nil {
			continue // its host goes to the default backend
		}
		for j := range rule.HTTP.Paths {
			h.path(&rule.HTTP.Paths[j], fmt.Sprintf("spec.rules[%d].http.paths[%d]", i, j))
		}
	}
	if b := in.Spec.DefaultBackend; b != nil {
		h.route(model.PathMatch{}, "spec.defaultBackend", "spec.defaultBackend", b, pathKey{})
	}
	return h.out
}

// path adds the routes of one path. What is wrong with it costs only itself.
func (h *hostLowering) path(p *networkingv1.HTTPIngressPath, field string) {
	kind := networkingv1.PathTypeImplementationSpecific
	if p.PathType != nil {
		kind = *p.PathType
	}
	path := p.Path
	if path == "" && kind == networkingv1.PathTypeImplementationSpecific {
		path = "/"
	}
	if !strings.HasPrefix(path, "/") {
		h.say.at(h.in, finding.Error, field+".path", "invalid-path", fmt.Sprintf("%q does not begin with '/'; the path is left out", p.Path))
		return
	}
	var m model.PathMatch
	switch {
	case h.a.isRegex(path):
		m = model.PathMatch{Kind: model.MatchRegex, Value: regexOf(path)}
		if _, err := regexp.Compile(m.Value); err != nil {
			h.say.at(h.in, finding.Error, field+".path", "invalid-regex", fmt.Sprintf("%v; the path is left out", err))
			return
		}
	case kind == networkingv1.PathTypeExact:
		m = model.PathMatch{Kind: model.MatchExact, Value: path}
	case kind == networkingv1.PathTypePrefix || kind == networkingv1.PathTypeImplementationSpecific:
		if m = (model.PathMatch{Kind: model.MatchSegments, Value: strings.TrimRight(path, "/")}); m.Value == "" {
			m.Value = "/"
		}
	default:
		h.say.at(h.in, finding.Error, field+".pathType", "unknown-path-type", fmt.Sprintf("%q is none of Exact, Prefix, ImplementationSpecific; the path is left out", kind))
		return
	}
	h.route(m, field, field+".backend", &p.Backend, pathKey{h.host, path})
}

// regexOf makes of a path what ingress-nginx makes of it: a pattern for the beginning, whatever the case of letters.
func regexOf(path string) string { return "(?i)" + strings.TrimPrefix(path, "^") + ".*" }

// route adds a route and what annotations put before it.
func (h *hostLowering) route(path model.PathMatch, field, backendField string, b *networkingv1.IngressBackend, key pathKey) {
	at := origin(h.in, "%s", field)
	match := model.Match{Path: path, Origin: at}
	if suffix, wild := strings.CutPrefix(h.host, "*."); wild { // of one label, says the API; model and proxies take "*." for any number
		match.Authority = model.StringMatch{Kind: model.MatchRegex, Value: `(?i)[^.]+\.` + regexp.QuoteMeta(suffix) + `(:\d+)?`}
	}
	if h.a.redirectToHTTPS(h.host, h.in) {
		plain := match
		plain.Port = portHTTP
		h.out.HTTP = append(h.out.HTTP, model.Route{Matches: []model.Match{plain}, Redirect: &model.Redirect{Scheme: "https", Status: 308}, Origin: at})
	}
	if root := h.a.appRoot; root != "" && (path.Kind == model.MatchAny || path.Value == "/") {
		only := match
		only.Path = model.PathMatch{Kind: model.MatchExact, Value: "/"}
		h.out.HTTP = append(h.out.HTTP, model.Route{Matches: []model.Match{only}, Redirect: &model.Redirect{Path: root, Status: 302}, Origin: at})
	}
	route := model.Route{Matches: []model.Match{match}, Origin: at}
	if h.a.redirect != nil {
		route.Redirect = h.a.redirect
		h.out.HTTP = append(h.out.HTTP, route)
		return
	}
	route.Rewrite, route.CORS, route.Idle, route.Request = h.a.rewrite(path), h.a.cors, h.a.idle, h.a.request
	to := h.destination(b, h.in, backendField, h.say)
	if to == nil {
		h.out.HTTP = append(h.out.HTTP, route) // broken: it answers 500, and no shorter path takes its requests
		return
	}
	if h.a.canary.on {
		for _, m := range h.a.canary.matches(match) {
			by := route
			by.Matches, by.To = []model.Match{m}, []model.Weighted{*to}
			h.out.HTTP = append(h.out.HTTP, by)
		}
		return // what it gets by weight, the route that it takes from gives
	}
	route.To = h.shared(*to, key)
	h.out.HTTP = append(h.out.HTTP, route)
}

// shared divides a route's requests with the canaries for the same path.
func (h *hostLowering) shared(to model.Weighted, key pathKey) []model.Weighted {
	out := []model.Weighted{to}
	if key == (pathKey{}) {
		return out
	}
	for _, c := range h.l.canary.List(h.r, key) {
		a := readAnnotations(c, mute)
		if c.Namespace != h.in.Namespace || a.canary.weight == 0 || !h.l.ours(h.r, c, mute) {
			continue
		}
		if b, field := backendAt(c, key); b != nil {
			if w := h.destination(b, c, field, mute); w != nil {
				w.Weight = a.canary.weight
				out[0].Weight = a.canary.total - a.canary.weight
				out = append(out, *w)
				break // ingress-nginx takes one
			}
		}
	}
	return out
}

// destination says where a backend leads, nil if it leads nowhere.
func (h *hostLowering) destination(b *networkingv1.IngressBackend, in *networkingv1.Ingress, field string, say report) *model.Weighted {
	switch {
	case b.Resource != nil:
		say.at(in, finding.Error, field+".resource", "unsupported-backend", fmt.Sprintf("%s %s: only Services can be backends; requests are answered 500", b.Resource.Kind, b.Resource.Name))
		return nil
	case b.Service == nil || b.Service.Name == "":
		say.at(in, finding.Error, field, "no-backend", "no Service is named; requests are answered 500")
		return nil
	case b.Service.Port.Number < 0 || b.Service.Port.Number > 65535 || b.Service.Port.Number == 0 && b.Service.Port.Name == "":
		say.at(in, finding.Error, field+".service.port", "invalid-port", "neither the number nor the name of a port; requests are answered 500")
		return nil
	}
	return &model.Weighted{Origin: origin(in, "%s", field), Destination: model.Destination{
		Host: b.Service.Name + "." + in.Namespace + ".svc." + h.l.opt.Domain, Port: uint16(b.Service.Port.Number), PortName: b.Service.Port.Name,
	}}
}

// pathKey is a path of a host, as declared.
type pathKey struct{ host, path string }

// canaryPaths lists the paths that a canary takes requests of.
func canaryPaths(in *networkingv1.Ingress) (out []pathKey) {
	if in.Annotations[prefix+"canary"] != "true" {
		return nil
	}
	for i := range in.Spec.Rules {
		if http := in.Spec.Rules[i].HTTP; http != nil {
			for j := range http.Paths {
				out = append(out, pathKey{hostOf(in.Spec.Rules[i].Host), http.Paths[j].Path})
			}
		}
	}
	return out
}

// backendAt finds an Ingress's backend for a path, and its field.
func backendAt(in *networkingv1.Ingress, k pathKey) (*networkingv1.IngressBackend, string) {
	for i := range in.Spec.Rules {
		if http := in.Spec.Rules[i].HTTP; http != nil && hostOf(in.Spec.Rules[i].Host) == k.host {
			for j := range http.Paths {
				if http.Paths[j].Path == k.path {
					return &http.Paths[j].Backend, fmt.Sprintf("spec.rules[%d].http.paths[%d].backend", i, j)
				}
			}
		}
	}
	return nil, ""
}
