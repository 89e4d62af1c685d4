package istio

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/model"
)

// rule is an HTTP rule, and what a delegate must know of it to tell what was said from what was not.
type rule struct {
	model.Route
	timeout, headers bool
}

// lowerRule reads an HTTP rule; ok is false for one that can never match. One that has no action it could carry out has none in the model.
func (s *routes) lowerRule(h *networking.HTTPRoute, at spot) (out rule, ok bool) {
	out.Name, out.Origin = h.GetName(), at.where
	for j, m := range h.GetMatch() {
		if match, ok := s.lowerMatch(m, at.at("match", j)); ok {
			out.Matches = append(out.Matches, match)
		}
	}
	if len(h.GetMatch()) > 0 && len(out.Matches) == 0 {
		return out, false
	}
	if h == nil {
		at.errorf(codeMissing, "is empty; requests are answered 500")
		return out, true
	}
	var authority string
	out.Request, authority = at.in("headers.request").headerOps(h.Headers.GetRequest(), true)
	out.Response, _ = at.in("headers.response").headerOps(h.Headers.GetResponse(), false)
	out.headers = h.Headers != nil
	s.action(h, &out.Route, authority, at)
	out.Timeout, out.timeout = at.in("timeout").duration(h.Timeout), h.Timeout != nil
	out.Retry = at.in("retries").retry(h.Retries)
	out.CORS = at.in("corsPolicy").cors(h.CorsPolicy)
	out.Mirrors = s.mirrors(h, at)
	return out, true
}

// action reads what a rule does with a request. Of several things that exclude each other Istio does the first of: redirect, answer, send on.
func (s *routes) action(h *networking.HTTPRoute, out *model.Route, authority string, at spot) {
	idle := func(winner string, set map[string]bool) {
		for _, field := range []string{"route", "redirect", "directResponse", "rewrite", "fault"} {
			if set[field] {
				at.in(field).errorf(codeConflict, "has no effect beside %s", winner)
			}
		}
	}
	sends := len(h.Route) > 0
	switch {
	case h.Delegate != nil:
		idle("delegate", map[string]bool{"route": sends, "redirect": h.Redirect != nil, "directResponse": h.DirectResponse != nil})
	case h.Redirect != nil:
		idle("redirect", map[string]bool{"route": sends, "directResponse": h.DirectResponse != nil, "rewrite": h.Rewrite != nil, "fault": h.Fault != nil})
		out.Redirect = redirect(h.Redirect, h.Match, at.in("redirect"))
		return
	case h.DirectResponse != nil:
		idle("directResponse", map[string]bool{"route": sends, "rewrite": h.Rewrite != nil, "fault": h.Fault != nil})
		out.Respond = directResponse(h.DirectResponse, at.in("directResponse"))
		return
	case !sends:
		at.errorf(codeMissing, "one of route, redirect, directResponse and delegate is needed; requests are answered 500")
		return
	default:
		var single string
		out.To, single = s.destinations(h.Route, at)
		if authority == "" {
			authority = single
		}
	}
	var ok bool
	if out.Rewrite, ok = rewrite(h.Rewrite, authority, at.in("rewrite")); !ok {
		out.To = nil
	}
	out.Fault = at.in("fault").fault(h.Fault)
}

// destinations reads where requests are sent, and which authority they get if there is one destination and it says so.
func (s *routes) destinations(list []*networking.HTTPRouteDestination, at spot) (out []model.Weighted, authority string) {
	for i, d := range list {
		to := at.at("route", i)
		w := model.Weighted{Destination: s.destination(d.GetDestination(), to.in("destination"), nowhere), Weight: weight(d.GetWeight(), to), Origin: to.where}
		w.Request, authority = to.in("headers.request").headerOps(d.GetHeaders().GetRequest(), true)
		w.Response, _ = to.in("headers.response").headerOps(d.GetHeaders().GetResponse(), false)
		if authority != "" && len(list) > 1 {
			to.in("headers.request").warnf(codeUnsupported, "a Host of its own for one of several destinations is not supported, and has no effect")
			authority = ""
		}
		out = append(out, w)
	}
	if !sumFits(out, at.in("route")) {
		return nil, ""
	}
	return out, authority
}

func redirect(in *networking.HTTPRedirect, matches []*networking.HTTPMatchRequest, at spot) *model.Redirect {
	out := &model.Redirect{Status: 301, Scheme: in.Scheme, Authority: in.Authority, Path: in.Uri}
	if in.Uri == "" && in.PrefixRewrite == "" && in.Authority == "" && in.RedirectPort == nil && in.Scheme == "" {
		at.errorf(codeMissing, "one of uri, prefixRewrite, authority, scheme, port and derivePort is needed; requests are answered 500")
		return nil
	}
	switch in.RedirectCode {
	case 0:
	case 301, 302, 303, 307, 308:
		out.Status = uint16(in.RedirectCode)
	default:
		at.in("redirectCode").errorf(codeStatus, "%d is not one of 301, 302, 303, 307, 308; requests are answered 500", in.RedirectCode)
		return nil
	}
	if in.Scheme != "" && in.Scheme != "http" && in.Scheme != "https" {
		at.in("scheme").errorf(codeValue, "%q is neither http nor https; requests are answered 500", in.Scheme)
		return nil
	}
	if in.PrefixRewrite != "" {
		if in.Uri != "" {
			at.in("uri").errorf(codeConflict, "has no effect beside prefixRewrite")
		}
		if slices.ContainsFunc(matches, func(m *networking.HTTPMatchRequest) bool {
			_, prefix := m.GetUri().GetMatchType().(*networking.StringMatch_Prefix)
			return m.GetUri() != nil && !prefix
		}) {
			at.in("prefixRewrite").errorf(codeConflict, "needs every match of uri to be by prefix; requests are answered 500")
			return nil
		}
		out.Path, out.Prefix, out.HasPrefix = "", in.PrefixRewrite, true
	}
	switch p := in.RedirectPort.(type) {
	case *networking.HTTPRedirect_Port:
		if out.Port = at.in("port").port(p.Port); out.Port == 0 {
			return nil
		}
	case *networking.HTTPRedirect_DerivePort:
		out.ListenerPort = p.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT
	}
	if out.Scheme == "http" && out.Port == 80 || out.Scheme == "https" && out.Port == 443 {
		out.Port = 0 // what the scheme means anyway is not spelled out
	}
	return out
}

// maxBodyBytes is the longest answer that Istio takes.
const maxBodyBytes = 1 << 20

func directResponse(in *networking.HTTPDirectResponse, at spot) *model.DirectResponse {
	body := in.Body.GetString_()
	if b := in.Body.GetBytes(); len(b) > 0 {
		body = string(b)
	}
	if in.Status < 200 || in.Status > 599 {
		at.in("status").errorf(codeStatus, "%d is not between 200 and 599; requests are answered 500", in.Status)
		return nil
	}
	if len(body) > maxBodyBytes {
		at.in("body").errorf(codeValue, "is longer than 1 MiB; requests are answered 500")
		return nil
	}
	return &model.DirectResponse{Status: uint16(in.Status), Body: body}
}

// rewrite reads how a request is changed. authority is what header operations make of it. It is false if the request would not be what was
// meant.
func rewrite(in *networking.HTTPRewrite, authority string, at spot) (out *model.Rewrite, ok bool) {
	if in == nil {
		if authority == "" {
			return nil, true
		}
		return &model.Rewrite{Authority: authority}, true
	}
	out = &model.Rewrite{Authority: in.Authority}
	switch {
	case in.Authority == "":
		out.Authority = authority
	case authority != "":
		at.in("authority").warnf(codeConflict, "headers sets the authority too; %q is used", in.Authority)
	}
	if in.Uri == "" && in.UriRegexRewrite == nil && in.Authority == "" {
		at.errorf(codeMissing, "one of uri, uriRegexRewrite and authority is needed")
	}
	if re := in.UriRegexRewrite; re != nil {
		if in.Uri != "" {
			at.in("uri").errorf(codeConflict, "has no effect beside uriRegexRewrite")
		}
		if re.Rewrite == "" {
			at.in("uriRegexRewrite.rewrite").errorf(codeMissing, "is needed; requests are answered 500")
			return nil, false
		}
		if !goodRegex(re.Match, at.in("uriRegexRewrite.match"), "requests are answered 500") {
			return nil, false
		}
		out.Regex, out.Substitution = re.Match, re.Rewrite
	} else if in.Uri != "" {
		out.Prefix, out.HasPrefix = in.Uri, true
	}
	if *out == (model.Rewrite{}) {
		return nil, true
	}
	return out, true
}

// isAuthority tells whether a header stands for the authority.
func isAuthority(name string) bool { return strings.EqualFold(name, "host") || name == ":authority" }
