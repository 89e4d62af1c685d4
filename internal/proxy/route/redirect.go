package route

import (
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"golang.org/x/net/http/httpguts"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/message"
)

func newRedirect(m *routev3.RedirectAction, c *condition) (*Redirect, error) {
	if err := field.Only(m, "https_redirect", "scheme_redirect", "host_redirect", "port_redirect", "path_redirect", "prefix_rewrite", "regex_rewrite",
		"response_code", "strip_query"); err != nil {
		return nil, err
	}
	rd := &Redirect{
		scheme: lower(m.GetSchemeRedirect()), host: m.GetHostRedirect(), path: m.GetPathRedirect(), stripQuery: m.GetStripQuery(),
		rewrite: rewrite{condition: c},
	}
	switch m.GetResponseCode() {
	case routev3.RedirectAction_MOVED_PERMANENTLY:
		rd.Status = 301
	case routev3.RedirectAction_FOUND:
		rd.Status = 302
	case routev3.RedirectAction_SEE_OTHER:
		rd.Status = 303
	case routev3.RedirectAction_TEMPORARY_REDIRECT:
		rd.Status = 307
	case routev3.RedirectAction_PERMANENT_REDIRECT:
		rd.Status = 308
	default:
		return nil, field.Errorf("response_code", "unknown code %d", m.GetResponseCode())
	}
	if m.GetHttpsRedirect() {
		rd.scheme = "https"
	}
	if p := m.GetPortRedirect(); p > 65535 {
		return nil, field.Errorf("port_redirect", "%d is no port", p)
	} else if p != 0 {
		rd.port = ":" + strconv.Itoa(int(p))
	}
	switch {
	case !httpguts.ValidHostHeader(rd.host):
		return nil, field.Errorf("host_redirect", "%q is no host", rd.host)
	case !validPath(rd.path):
		return nil, field.Errorf("path_redirect", "%q is no path", rd.path)
	case !validPath(rd.scheme):
		return nil, field.Errorf("scheme_redirect", "%q is no scheme", rd.scheme)
	}
	rd.pathHasQuery = strings.Contains(rd.path, "?")
	return rd, rd.rewrite.paths(m.GetPrefixRewrite(), m.GetRegexRewrite())
}

// AppendLocation writes where a redirect leads to.
func (rd *Redirect) AppendLocation(dst []byte, r *message.Request) []byte {
	scheme := rd.scheme
	if scheme == "" {
		scheme = r.Scheme
	}
	host := rd.host
	if host == "" {
		host = rd.hostOf(r, scheme)
	}
	dst = append(append(append(append(dst, scheme...), "://"...), host...), rd.port...)
	if rd.pathHasQuery { // its own query counts, and is not stripped
		return append(dst, rd.path...)
	}
	path, _ := rd.rewrite.path(r)
	at := strings.IndexByte(path, '?')
	if at < 0 {
		at = len(path)
	}
	if rd.path != "" {
		dst = append(dst, rd.path...)
	} else {
		dst = append(dst, path[:at]...)
	}
	if rd.stripQuery {
		return dst
	}
	return append(dst, path[at:]...)
}

// hostOf is the request's host. Its port goes when the redirect names another, or when it is the default of a scheme that is left.
func (rd *Redirect) hostOf(r *message.Request, scheme string) string {
	host, port := splitPort(r.Authority)
	from := clientScheme(r)
	left := from != scheme && (from == "https" && port == ":443" || from == "http" && port == ":80")
	if rd.port != "" || left {
		return host
	}
	return r.Authority
}

// Answer makes the response of a route that redirects or answers directly. It is false for routes that forward.
func (rt *Route) Answer(x *message.Info, reply *filter.Reply) bool {
	switch {
	case rt.Redirect != nil:
		var room [1024]byte
		reply.Response.Status, reply.Details = rt.Redirect.Status, "direct_response"
		reply.Response.Fields.Set("location", reply.Response.Fields.Copy(rt.Redirect.AppendLocation(room[:0], x.Request)))
	case rt.Direct != nil:
		reply.Response.Status, reply.Details, reply.Body = rt.Direct.Status, "direct_response", rt.Direct.Body
		if len(reply.Body) > 0 {
			reply.Response.Fields.Set("content-type", "text/plain")
		}
	default:
		return false
	}
	rt.response.apply(&reply.Response.Fields, x)
	return true
}
