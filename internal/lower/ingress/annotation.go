package ingress

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// prefix is that of ingress-nginx's annotations.
const prefix = "nginx.ingress.kubernetes.io/"

// annotations is what those of an Ingress come to.
type annotations struct {
	useRegex      bool
	rewriteTarget string
	sslRedirect   bool // of hosts that have a certificate
	forceRedirect bool
	appRoot       string
	redirect      *model.Redirect
	idle          time.Duration
	cors          *model.CORS
	request       model.HeaderOps
	authority     string
	canary        canary
	aliases       []string
}

// annotationReader reads annotations and remembers which it has read.
type annotationReader struct {
	in   *networkingv1.Ingress
	say  report
	read map[string]bool
}

// field names an annotation as findings do.
func field(name string) string { return "metadata.annotations[" + prefix + name + "]" }

func (a *annotationReader) text(name string) string {
	a.read[name] = true
	return strings.TrimSpace(strings.ToValidUTF8(a.in.Annotations[prefix+name], "\uFFFD")) // patterns have to be UTF-8
}

func (a *annotationReader) bad(name, format string, args ...any) {
	a.say.at(a.in, finding.Error, field(name), "invalid-annotation", fmt.Sprintf(format, args...)+"; it has no effect")
}

func (a *annotationReader) flag(name string, unsaid bool) bool {
	s := a.text(name)
	if s == "" {
		return unsaid
	}
	on, err := strconv.ParseBool(s)
	if err != nil {
		a.bad(name, "%q is neither true nor false", s)
		return unsaid
	}
	return on
}

func (a *annotationReader) number(name string, unsaid, most int) int {
	s := a.text(name)
	if s == "" {
		return unsaid
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most {
		a.bad(name, "%q is no number from 0 to %d", s, most)
		return unsaid
	}
	return n
}

func (a *annotationReader) list(name string, unsaid ...string) (out []string) {
	for s := range strings.SplitSeq(a.text(name), ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	if out == nil {
		return unsaid
	}
	return out
}

// readAnnotations reads all that are known, and reports the others.
func readAnnotations(in *networkingv1.Ingress, say report) (out annotations) {
	if !slices.ContainsFunc(slices.Collect(maps.Keys(in.Annotations)), func(k string) bool { return strings.HasPrefix(k, prefix) }) {
		return out
	}
	a := &annotationReader{in: in, say: say, read: map[string]bool{}}
	out.useRegex = a.flag("use-regex", false)
	out.rewriteTarget = a.text("rewrite-target")
	out.sslRedirect = a.flag("ssl-redirect", false)
	out.forceRedirect = a.flag("force-ssl-redirect", false)
	if out.appRoot = a.text("app-root"); out.appRoot != "" && !strings.HasPrefix(out.appRoot, "/") {
		a.bad("app-root", "%q does not begin with '/'", out.appRoot)
		out.appRoot = ""
	}
	out.redirect = a.redirect()
	out.idle = time.Duration(max(a.number("proxy-read-timeout", 0, 1<<30), a.number("proxy-send-timeout", 0, 1<<30))) * time.Second
	out.cors = a.cors()
	out.authority = a.text("upstream-vhost")
	if p := a.text("x-forwarded-prefix"); p != "" {
		out.request.Set = []model.HeaderValue{{Name: "x-forwarded-prefix", Value: strings.ReplaceAll(p, "%", "%%")}}
	}
	for _, alias := range a.list("server-alias") {
		for one := range strings.FieldsSeq(alias) {
			out.aliases = append(out.aliases, strings.ToLower(one))
		}
	}
	out.canary = a.canary()
	switch protocol := strings.ToUpper(a.text("backend-protocol")); protocol {
	case "", "HTTP", "AUTO_HTTP":
	default:
		a.say.at(in, finding.Error, field("backend-protocol"), "unsupported-annotation", fmt.Sprintf(
			"%s is not supported yet: say it on the Service, whose port has appProtocol (kubernetes.io/h2c, grpc, https) for all who use it", protocol))
	}
	a.rest()
	return out
}

// rest reports the annotations of ingress-nginx that nobody has read. Those that keep somebody out are errors: without them everybody is let in.
func (a *annotationReader) rest() {
	for _, key := range slices.Sorted(maps.Keys(a.in.Annotations)) {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok || a.read[name] {
			continue
		}
		severity := finding.Warning
		switch {
		case strings.HasPrefix(name, "auth-") || strings.HasPrefix(name, "whitelist-") || strings.HasPrefix(name, "allowlist-") || strings.HasPrefix(name, "denylist-") ||
			strings.HasPrefix(name, "limit-") || strings.HasPrefix(name, "global-rate-limit") || strings.Contains(name, "modsecurity") || name == "satisfy" || strings.HasPrefix(name, "enable-global-auth"):
			severity = finding.Error
		case strings.HasPrefix(name, "proxy-buffer") || name == "proxy-request-buffering" || name == "client-body-buffer-size" || name == "proxy-max-temp-file-size":
			severity = finding.Info // it tunes a proxy that this one is not
		}
		a.say.at(a.in, severity, field(name), "unsupported-annotation", "is not supported yet; it has no effect")
	}
}

// redirect reads the annotations that answer every request with another address.
func (a *annotationReader) redirect() *model.Redirect {
	permanent, temporal := a.text("permanent-redirect"), a.text("temporal-redirect")
	code := a.number("permanent-redirect-code", http.StatusMovedPermanently, 399)
	name, target, status := "temporal-redirect", temporal, http.StatusFound // it goes first, as in ingress-nginx
	if target == "" {
		name, target, status = "permanent-redirect", permanent, code
	}
	if target == "" {
		return nil
	}
	u, err := url.Parse(target)
	switch {
	case err != nil || u.Host == "" && !strings.HasPrefix(u.Path, "/"):
		a.bad(name, "%q is no address", target)
		return nil
	case strings.Contains(target, "$"):
		a.bad(name, "variables of nginx are not supported")
		return nil
	case !slices.Contains([]int{301, 302, 303, 307, 308}, status):
		a.bad("permanent-redirect-code", "%d is no redirect", status)
		return nil
	}
	return &model.Redirect{Status: uint16(status), Scheme: u.Scheme, Authority: u.Host, Path: u.RequestURI()}
}

// cors reads the annotations of cross-origin requests, with the defaults that ingress-nginx documents.
func (a *annotationReader) cors() *model.CORS {
	on := a.flag("enable-cors", false)
	credentials := a.flag("cors-allow-credentials", true)
	c := &model.CORS{
		Methods:     a.list("cors-allow-methods", "GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"),
		Headers:     a.list("cors-allow-headers", "DNT", "Keep-Alive", "User-Agent", "X-Requested-With", "If-Modified-Since", "Cache-Control", "Content-Type", "Range", "Authorization"),
		Expose:      a.list("cors-expose-headers"),
		MaxAge:      time.Duration(a.number("cors-max-age", 1728000, 1<<30)) * time.Second,
		Credentials: &credentials,
	}
	for _, o := range a.list("cors-allow-origin", "*") {
		m := model.StringMatch{Kind: model.MatchExact, Value: o}
		switch {
		case o == "*":
			m = model.StringMatch{Kind: model.MatchRegex, Value: ".*"}
		case strings.Contains(o, "*"):
			m = model.StringMatch{Kind: model.MatchRegex, Value: strings.ReplaceAll(regexp.QuoteMeta(o), `\*`, `[A-Za-z0-9\-]+`)}
		}
		c.Origins = append(c.Origins, m)
	}
	if !on {
		return nil
	}
	return c
}

// isRegex tells whether paths are patterns: if the Ingress says so, or if it captures parts of them to rewrite.
func (a *annotations) isRegex(path string) bool {
	return a.useRegex || a.rewriteTarget != "" && strings.ContainsAny(path, `()[]{}*+?^$|\`)
}

// group finds nginx's references to what a pattern captured.
var group = regexp.MustCompile(`\$(\d)`)

// rewrite gives what becomes of a request whose path matched, nil if nothing does.
func (a *annotations) rewrite(path model.PathMatch) *model.Rewrite {
	w := &model.Rewrite{Authority: a.authority}
	switch {
	case a.rewriteTarget == "":
	case path.Kind == model.MatchRegex && group.MatchString(a.rewriteTarget):
		w.Regex, w.Substitution = "^"+path.Value+"$", group.ReplaceAllString(strings.ReplaceAll(a.rewriteTarget, `\`, `\\`), `\$1`)
	default:
		w.Path = a.rewriteTarget
	}
	if *w == (model.Rewrite{}) {
		return nil
	}
	return w
}

// redirectToHTTPS tells whether plaintext requests for a host are sent to https.
func (a *annotations) redirectToHTTPS(host string, in *networkingv1.Ingress) bool {
	return a.forceRedirect || a.sslRedirect && covered(host, encryptedHosts(in))
}
