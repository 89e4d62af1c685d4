package explain

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/model"
)

// request is a request on its way through the model.
type request struct {
	e *compose.Edge
	q RequestQuestion
	t *Trail
	d Decision

	encrypted bool
	port      uint16
	authority string // as sent, with a port if it has one
	host      string // in lower case, without a port
	path      string // in its normal form, without the query
	query     string // with its '?'
	params    url.Values
	headers   map[string]string // by name in lower case
}

// Request follows an HTTP request through the model: every rule that could take it with the first of its conditions that fails, the one that
// does, and what it does. The decision says the same to programs.
func Request(e *compose.Edge, q RequestQuestion) (Trail, Decision) {
	r := &request{e: e, q: q, t: &Trail{Question: q.String()}}
	if err := r.read(); err != nil {
		r.d.Kind = None
		return r.t.answer("this is no request to a gateway: %v", err), r.d
	}
	chain := r.chain()
	if chain == nil {
		r.d.Kind = None
		return *r.t, r.d
	}
	if chain.Table == "" {
		r.forwardBytes(chain)
		return *r.t, r.d
	}
	r.route(e.Tables.Read(compose.TableKey{Fleet: q.Fleet, Name: chain.Table}))
	return *r.t, r.d
}

func (r *request) read() error {
	u, err := url.Parse(r.q.URL)
	if err != nil {
		return err
	}
	switch u.Scheme {
	case "http", "https":
		r.encrypted = u.Scheme == "https"
	default:
		return fmt.Errorf("%q is neither http nor https", u.Scheme)
	}
	if u.Hostname() == "" {
		return fmt.Errorf("%q names no host", r.q.URL)
	}
	r.port = map[bool]uint16{false: 80, true: 443}[r.encrypted]
	if u.Port() != "" {
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil {
			return err
		}
		r.port = uint16(n)
	}
	if r.q.Port != 0 {
		r.port = r.q.Port
	}
	r.headers = map[string]string{}
	for name, values := range r.q.Headers {
		r.headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	r.authority = u.Host
	if h := r.headers["host"]; h != "" {
		r.authority = h
	}
	delete(r.headers, "host")
	r.host = strings.ToLower(withoutPort(r.authority))
	r.path = normal(u.EscapedPath())
	if u.RawQuery != "" {
		r.query, r.params = "?"+u.RawQuery, u.Query()
	}
	r.d.Method, r.d.Authority, r.d.Path = r.q.Method, r.authority, r.path+r.query
	return nil
}

// normal takes the dot segments out of a path (RFC 3986 section 5.2.4), as gateways do before they route.
func normal(path string) string {
	var out []string
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".", "..":
			if s == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

func withoutPort(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return authority
}

// chain finds the listener and the chain that take the connection; the answer says why there is none.
func (r *request) chain() *model.Chain {
	listeners := r.e.Listeners.Read(r.q.Fleet)
	i := slices.IndexFunc(listeners, func(l model.Listener) bool { return l.Port == r.port })
	if i < 0 {
		var ports []string
		for _, l := range listeners {
			ports = append(ports, strconv.Itoa(int(l.Port)))
		}
		if len(ports) == 0 {
			r.t.answer("no Gateway or Ingress is for %v: it listens nowhere", r.q.Fleet)
		} else {
			r.t.answer("nobody listens on port %d, only on %s", r.port, strings.Join(ports, ", "))
		}
		return nil
	}
	l := &listeners[i]
	r.t.step("listener", l.Origin, "port %d", l.Port)
	sni := strings.ToLower(withoutPort(hostOfURL(r.q.URL)))
	var best *model.Chain
	rank := -1
	for i := range l.Chains {
		c := &l.Chains[i]
		if c.Encrypted != r.encrypted {
			r.t.reject("chain", c.Origin, "%s is for %s", c.Name, map[bool]string{true: "TLS", false: "plaintext"}[c.Encrypted])
			continue
		}
		names := c.SNI
		if len(names) == 0 {
			names = []string{"*"}
		}
		n := specificity(names, sni)
		if n < 0 {
			r.t.reject("chain", c.Origin, "%s is for %s", c.Name, strings.Join(c.SNI, ", "))
			continue
		}
		if n > rank {
			best, rank = c, n
		}
	}
	if best == nil {
		if r.encrypted {
			r.t.answer("the connection is closed: no server has the name %s on port %d", sni, r.port)
		} else {
			r.t.answer("the connection is closed: port %d does not speak plaintext", r.port)
		}
		return nil
	}
	if best.TLS != nil {
		if why := r.refused(best.TLS); why != "" {
			r.t.reject("tls", best.Origin, "%s", why)
			r.t.answer("the TLS handshake is refused: %s", why)
			return nil
		}
		r.t.step("tls", best.Origin, "terminated with Secret %v", best.TLS.Credentials[0])
	}
	return best
}

func hostOfURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Host
}

// refused says why a handshake cannot succeed, "" if it can.
func (r *request) refused(t *model.ServerTLS) string {
	granted := r.e.SecretNames.Read(r.q.Fleet)
	why := "no Secret is named"
	for _, n := range t.Credentials {
		switch s := r.e.Secrets.Read(n); {
		case !slices.Contains(granted, n):
			why = fmt.Sprintf("Secret %v is in another namespace than the gateway's proxies", n)
		case s == nil || s.Certificate == nil:
			why = fmt.Sprintf("Secret %v does not exist or has no usable certificate", n)
		default:
			return ""
		}
	}
	return why
}

// specificity tells how closely names fit a host: -1 is not at all, the greatest is the host itself.
func specificity(names []string, host string) int {
	best := -1
	for _, n := range names {
		switch suffix, wild := strings.CutPrefix(n, "*"); {
		case n == host:
			return 1 << 20
		case wild && strings.HasSuffix(host, suffix) && len(host) > len(suffix):
			best = max(best, len(suffix))
		}
	}
	return best
}

// route finds the virtual host and the rule, and does what the rule says.
func (r *request) route(table *model.RouteTable) {
	var host *model.VirtualHost
	rank := -1
	if table != nil {
		for _, h := range table.Hosts {
			if n := specificity(h.Domains, r.host); n > rank {
				host, rank = h, n
			}
		}
	}
	if host == nil {
		r.t.reject("host", model.Origin{}, "no VirtualService or Ingress has %s on this port", r.host)
		r.respond(404, "")
		r.t.answer("404: nothing is known of %s", r.host)
		return
	}
	r.t.step("host", host.Origin, "%s is taken by %s%s", r.host, strings.Join(host.Domains, ", "), boundThrough(host.Gateways))
	if host.RedirectHTTPS && !r.encrypted {
		r.redirect(&model.Redirect{Scheme: "https", Status: 301}, nil)
		r.t.answer("%d to %s: plaintext is sent to https", r.d.Status, r.d.Location)
		return
	}
	r.rules(host, strings.Join(host.Domains, ", "))
}

// rules finds the rule that takes the request.
func (r *request) rules(host *model.VirtualHost, of string) {
	for i := range host.Routes {
		rule := &host.Routes[i]
		m, why := r.matches(rule)
		if why != "" {
			r.t.reject("rule", rule.Origin, "%s%s", titled(rule), why)
			continue
		}
		r.t.step("rule", rule.Origin, "%stakes the request", titled(rule))
		for _, later := range host.Routes[i+1:] {
			r.t.reject("rule", later.Origin, "%snot looked at: an earlier one takes the request", titled(&later))
		}
		r.act(rule, m)
		return
	}
	r.respond(404, "")
	r.t.answer("404: no rule of %s takes the request", of)
}

// boundThrough names the gateways that let a host in.
func boundThrough(gateways []model.GatewayName) string {
	var names []string
	for _, g := range gateways {
		names = append(names, g.String())
	}
	if len(names) == 0 {
		return ""
	}
	return " through " + strings.Join(names, ", ")
}

// titled is a rule's name in front of what is said of it.
func titled(rule *model.Route) string {
	if rule.Name == "" {
		return ""
	}
	return strconv.Quote(rule.Name) + " "
}
