package route

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"golang.org/x/net/http/httpguts"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// rewrite is what becomes of a request's path and authority.
type rewrite struct {
	condition  *condition
	prefix     string // replaces what the condition matched, unless empty
	regex      *match.Substitution
	host       string
	hostHeader string
	hostRegex  *match.Substitution // makes the host of the path
}

func newRewrite(m *routev3.RouteAction, c *condition) (rewrite, error) {
	rw := rewrite{condition: c, host: m.GetHostRewriteLiteral(), hostHeader: strings.ToLower(m.GetHostRewriteHeader())}
	if !httpguts.ValidHostHeader(rw.host) {
		return rw, field.Errorf("host_rewrite_literal", "%q is no host", rw.host)
	}
	if s := m.GetHostRewritePathRegex(); s != nil {
		var err error
		if rw.hostRegex, err = match.NewSubstitution(s); err != nil {
			return rw, field.In("host_rewrite_path_regex", err)
		}
	}
	return rw, rw.paths(m.GetPrefixRewrite(), m.GetRegexRewrite())
}

func (rw *rewrite) paths(prefix string, regex *matcherv3.RegexMatchAndSubstitute) error {
	rw.prefix = prefix
	if !validPath(prefix) {
		return field.Errorf("prefix_rewrite", "%q is no path", prefix)
	}
	if regex == nil {
		return nil
	}
	if prefix != "" {
		return field.Errorf("regex_rewrite", "prefix_rewrite is set as well")
	}
	var err error
	rw.regex, err = match.NewSubstitution(regex)
	return field.In("regex_rewrite", err)
}

// validPath tells whether a text can stand in a request line without ending it.
func validPath(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// path gives the path after the rewrite, with the query as it was. It is false when nothing is rewritten.
func (rw *rewrite) path(r *message.Request) (string, bool) {
	if rw.prefix == "" && rw.regex == nil {
		return r.Path, false
	}
	path, _ := match.Split(r.Path)
	rest := r.Path[len(path):] // "?" and the query
	var room [1024]byte
	var b []byte
	if rw.regex != nil {
		b = append(room[:0], rw.regex.Apply(path)...)
		if !validPath(string(b)) || len(b) == 0 {
			return r.Path, false // a pattern that makes of a path what is none is without effect
		}
	} else {
		b = append(append(room[:0], rw.prefix...), path[rw.condition.matched(path):]...)
	}
	return r.Fields.Copy(append(b, rest...)), true
}

// matched is how many bytes of a path the condition looked at.
func (c *condition) matched(path string) int {
	if c.kind == pathPrefix || c.kind == pathSeparated {
		return min(len(c.path), len(path))
	}
	return len(path)
}

// apply rewrites authority and path, and leaves what they were in x-envoy-original-host and x-envoy-original-path.
func (rw *rewrite) apply(d *Destination, r *message.Request, appendForwarded bool) {
	if host := rw.authority(d, r); host != "" {
		SetAuthority(r, host, appendForwarded)
	}
	if path, ok := rw.path(r); ok {
		r.Fields.Set("x-envoy-original-path", r.Path)
		r.Path = path
	}
}

func (rw *rewrite) authority(d *Destination, r *message.Request) string {
	switch {
	case d.host != "":
		return d.host
	case rw.host != "":
		return rw.host
	case rw.hostHeader != "":
		v, _ := r.Fields.Get(rw.hostHeader)
		return v
	case rw.hostRegex != nil:
		path, _ := match.Split(r.Path)
		if host := rw.hostRegex.Apply(path); httpguts.ValidHostHeader(host) {
			return host
		}
	}
	return ""
}

// SetAuthority gives a request another authority and leaves the one that it had in x-envoy-original-host. With appendForwarded that is added to
// x-forwarded-host as well, unless it is the last there.
func SetAuthority(r *message.Request, host string, appendForwarded bool) {
	if appendForwarded && r.Authority != "" {
		seen, _ := r.Fields.Get("x-forwarded-host")
		last := strings.TrimSpace(seen[strings.LastIndexByte(seen, ',')+1:])
		switch {
		case seen == "":
			r.Fields.Set("x-forwarded-host", r.Authority)
		case last != r.Authority:
			var room [256]byte
			b := append(append(append(room[:0], seen...), ','), r.Authority...)
			r.Fields.Set("x-forwarded-host", r.Fields.Copy(b))
		}
	}
	r.Fields.Set("x-envoy-original-host", r.Authority)
	r.Authority = host
}

// PrepareRequest changes a request as its route asks, before it is sent to the destination: header fields, authority, path. It is called once for an
// exchange, and not for each attempt.
func (f *Forward) PrepareRequest(d *Destination, x *message.Info) {
	d.request.apply(&x.Request.Fields, x)
	f.rewrite.apply(d, x.Request, f.AppendForwardedHost)
}

// FinishResponse changes the header fields of a response from upstream as the route asks.
func (d *Destination) FinishResponse(x *message.Info) { d.response.apply(&x.Response.Fields, x) }
