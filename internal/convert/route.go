package convert

import (
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// routes gives one route in Istio's words: two, if a prefix of whole segments has to be said with two.
func (c *converter) routes(r *model.Route) (out []any) {
	var matches []any
	for i := range r.Matches {
		matches = append(matches, conditions(&r.Matches[i])...)
	}
	route := map[string]any{}
	if len(matches) > 1 || len(matches) == 1 && len(matches[0].(map[string]any)) > 0 {
		route["match"] = matches
	}
	if r.CORS != nil {
		route["corsPolicy"] = cors(r.CORS)
	}
	if r.Idle > 0 {
		c.warn(r.Origin, "there is no counterpart of the limit of %v between two bytes: it is left out", r.Idle)
	}
	headers := map[string]any{}
	for what, ops := range map[string]model.HeaderOps{"request": r.Request, "response": r.Response} {
		if !ops.None() {
			headers[what] = operations(ops)
		}
	}
	if len(headers) > 0 {
		route["headers"] = headers
	}
	switch {
	case r.Redirect != nil:
		route["redirect"] = redirect(r.Redirect)
	case len(r.To) == 0:
		route["directResponse"] = map[string]any{"status": 500}
	default:
		var to []any
		for _, w := range r.To {
			to = append(to, c.destination(w, len(r.To) > 1))
		}
		route["route"] = to
		if r.Rewrite != nil {
			route["rewrite"] = rewrite(r.Rewrite)
		}
	}
	return append(out, route)
}

func (c *converter) destination(w model.Weighted, weighted bool) map[string]any {
	to := map[string]any{"host": w.Host}
	if w.Port != 0 {
		to["port"] = map[string]any{"number": int(w.Port)}
	} else {
		c.warn(w.Origin, "the port has a name, and the Service with its number was not given: fill in port.number")
	}
	out := map[string]any{"destination": to}
	if weighted {
		out["weight"] = int(w.Weight)
	}
	return out
}

// conditions gives a condition in Istio's words: a prefix of whole segments is the path itself, or it with a '/' behind.
func conditions(m *model.Match) []any {
	base := func() map[string]any {
		out := map[string]any{}
		if m.Authority.Kind != model.MatchAny {
			out["authority"] = text(m.Authority)
		}
		if m.Port != 0 {
			out["port"] = int(m.Port)
		}
		if len(m.Headers) > 0 {
			headers := map[string]any{}
			for _, h := range m.Headers {
				headers[h.Name] = text(h.StringMatch)
			}
			out["headers"] = headers
		}
		return out
	}
	one := base()
	switch {
	case m.Path.Kind == model.MatchAny:
	case m.Path.Kind == model.MatchSegments && m.Path.Value != "/":
		one["uri"] = map[string]any{"exact": m.Path.Value}
		two := base()
		two["uri"] = map[string]any{"prefix": m.Path.Value + "/"}
		return []any{one, two}
	default:
		one["uri"] = text(m.Path)
	}
	return []any{one}
}

func text(m model.StringMatch) map[string]any {
	switch m.Kind {
	case model.MatchExact:
		return map[string]any{"exact": m.Value}
	case model.MatchPrefix, model.MatchSegments:
		return map[string]any{"prefix": m.Value}
	case model.MatchRegex:
		return map[string]any{"regex": m.Value}
	}
	return map[string]any{}
}

func redirect(r *model.Redirect) map[string]any {
	out := map[string]any{"redirectCode": int(r.Status)}
	for name, v := range map[string]string{"scheme": r.Scheme, "authority": r.Authority, "uri": r.Path} {
		if v != "" {
			out[name] = v
		}
	}
	return out
}

func rewrite(w *model.Rewrite) map[string]any {
	out := map[string]any{}
	if w.Authority != "" {
		out["authority"] = w.Authority
	}
	switch {
	case w.Path != "":
		out["uriRegexRewrite"] = map[string]any{"match": "^/.*$", "rewrite": strings.ReplaceAll(w.Path, `\`, `\\`)}
	case w.Regex != "":
		out["uriRegexRewrite"] = map[string]any{"match": w.Regex, "rewrite": w.Substitution}
	}
	return out
}

func operations(o model.HeaderOps) map[string]any {
	out := map[string]any{}
	for name, list := range map[string][]model.HeaderValue{"set": o.Set, "add": o.Add} {
		if len(list) > 0 {
			values := map[string]any{}
			for _, h := range list {
				values[h.Name] = strings.ReplaceAll(h.Value, "%%", "%")
			}
			out[name] = values
		}
	}
	if len(o.Remove) > 0 {
		out["remove"] = o.Remove
	}
	return out
}

func cors(p *model.CORS) map[string]any {
	out := map[string]any{"allowMethods": p.Methods, "allowHeaders": p.Headers, "maxAge": p.MaxAge.String()}
	var origins []any
	for _, o := range p.Origins {
		origins = append(origins, text(o))
	}
	out["allowOrigins"] = origins
	if len(p.Expose) > 0 {
		out["exposeHeaders"] = p.Expose
	}
	if p.Credentials != nil {
		out["allowCredentials"] = *p.Credentials
	}
	return out
}
