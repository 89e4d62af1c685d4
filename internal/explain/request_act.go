package explain

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/model"
)

func (r *request) respond(status int, body string) {
	r.d.Kind, r.d.Status, r.d.Body = Respond, status, body
}

// act does what a rule says.
func (r *request) act(rule *model.Route, m *model.Match) {
	r.d.Rule, r.d.Name = rule.Origin.String(), rule.Name
	r.d.Request, r.d.Response, r.d.CORS = rule.Request, rule.Response, rule.CORS != nil
	if rule.Fault != nil {
		r.d.Fault = rule.Fault
		r.t.step("fault", rule.Origin, "%s", fault(rule.Fault))
	}
	switch {
	case rule.Redirect != nil:
		r.redirect(rule.Redirect, m)
		r.t.answer("%d to %s", r.d.Status, r.d.Location)
	case rule.Respond != nil:
		r.respond(int(rule.Respond.Status), rule.Respond.Body)
		r.t.answer("%d, answered by the gateway", r.d.Status)
	case len(rule.To) == 0:
		r.respond(500, "")
		r.t.answer("500: the rule cannot be carried out; see the findings of %v", rule.Origin.Object)
	default:
		r.forward(rule, m)
	}
}

func fault(f *model.Fault) string {
	var out []string
	if f.DelayShare > 0 {
		out = append(out, fmt.Sprintf("%g%% of requests are delayed by %v", f.DelayShare, f.Delay))
	}
	if f.AbortShare > 0 {
		status := fmt.Sprint(f.AbortStatus)
		if f.AbortGRPC != nil {
			status = fmt.Sprintf("gRPC status %d", *f.AbortGRPC)
		}
		out = append(out, fmt.Sprintf("%g%% of requests are answered %s", f.AbortShare, status))
	}
	if out == nil {
		return "nothing happens on purpose: the shares are 0"
	}
	return strings.Join(out, ", ")
}

// redirect makes the location, as Envoy does: what is not said is the request's.
func (r *request) redirect(to *model.Redirect, m *model.Match) {
	scheme := "http"
	if r.encrypted {
		scheme = "https"
	}
	host, port := r.authority, ""
	if h, p, err := net.SplitHostPort(r.authority); err == nil {
		host, port = h, p
	}
	if to.Scheme != "" && to.Scheme != scheme {
		scheme, port = to.Scheme, ""
	}
	if to.Authority != "" {
		host, port = to.Authority, ""
	}
	switch {
	case to.ListenerPort:
		port = strconv.Itoa(int(r.port))
	case to.Port != 0:
		port = strconv.Itoa(int(to.Port))
	}
	if port != "" && port != map[string]string{"http": "80", "https": "443"}[scheme] {
		host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	path := r.path
	switch {
	case to.Path != "":
		path = to.Path
	case to.HasPrefix:
		path = to.Prefix + strings.TrimPrefix(r.path, r.matched(m))
	}
	if !strings.Contains(path, "?") {
		path += r.query
	}
	r.d.Kind, r.d.Status, r.d.Location = Redirect, int(to.Status), scheme+"://"+host+path
}

// forward says where the request goes and what it looks like there.
func (r *request) forward(rule *model.Route, m *model.Match) {
	r.d.Kind = Forward
	if w := rule.Rewrite; w != nil {
		if path, err := r.rewrite(w, m); err != nil {
			r.t.reject("rewrite", rule.Origin, "%v", err)
		} else {
			r.d.Path = path
		}
		if w.Authority != "" {
			r.d.Authority = w.Authority
		}
		r.t.step("rewrite", rule.Origin, "the endpoint sees %s at %s", r.d.Path, r.d.Authority)
	}
	for _, h := range rule.Request.Set {
		if h.Name == "host" || h.Name == ":authority" {
			r.d.Authority = h.Value
		}
	}
	if !rule.Request.None() || !rule.Response.None() {
		r.t.step("headers", rule.Origin, "%s", changes(rule.Request, rule.Response))
	}
	if rule.Timeout > 0 {
		r.d.Timeout = rule.Timeout.String()
		r.t.step("timeout", rule.Origin, "%v for the whole exchange", rule.Timeout)
	}
	switch r.d.Retry = rule.Retry; {
	case rule.Retry == nil:
	case rule.Retry.Attempts == 0:
		r.t.step("retry", rule.Origin, "nothing is sent again")
	default:
		r.t.step("retry", rule.Origin, "up to %d times on %s", rule.Retry.Attempts, cmp.Or(rule.Retry.On, model.RetryOnDefault))
	}
	if rule.CORS != nil {
		r.t.step("cors", rule.Origin, "a preflight of an origin that is let in is answered by the gateway")
	}
	r.destinations(rule.To)
	for _, mirror := range rule.Mirrors {
		d := r.destination(mirror.Destination, mirror.Origin, mirror.Share, "mirror")
		r.d.Mirrors = append(r.d.Mirrors, d)
	}
	r.conclude()
}

func changes(request, response model.HeaderOps) string {
	var out []string
	for _, x := range []struct {
		of  string
		ops model.HeaderOps
	}{{"request", request}, {"response", response}} {
		for _, name := range x.ops.Remove {
			out = append(out, x.of+" without "+name)
		}
		for _, h := range x.ops.Set {
			out = append(out, x.of+" with "+h.Name+": "+h.Value)
		}
		for _, h := range x.ops.Add {
			out = append(out, x.of+" with another "+h.Name+": "+h.Value)
		}
	}
	return strings.Join(out, "; ")
}

var backreference = regexp.MustCompile(`\\(\d)`)

// rewrite gives the path that the endpoint sees.
func (r *request) rewrite(w *model.Rewrite, m *model.Match) (string, error) {
	path := r.path
	switch {
	case w.Path != "":
		path = w.Path
	case w.Regex != "":
		re, err := regexp.Compile(w.Regex)
		if err != nil {
			return "", fmt.Errorf("the pattern of the rewrite: %w", err)
		}
		to := backreference.ReplaceAllString(strings.ReplaceAll(w.Substitution, "$", "$$"), "$${${1}}")
		path = re.ReplaceAllString(r.path, to)
	case w.HasPrefix:
		path = w.Prefix + strings.TrimPrefix(r.path, r.matched(m))
	}
	return path + r.query, nil
}

// destinations adds where the request may go, with the share of each.
func (r *request) destinations(to []model.Weighted) {
	var sum uint64
	for _, w := range to {
		sum += uint64(w.Weight)
	}
	for _, w := range to {
		share := 100.0
		if len(to) > 1 {
			share = 0
			if sum > 0 {
				share = 100 * float64(w.Weight) / float64(sum)
			}
		}
		d := r.destination(w.Destination, w.Origin, share, "to")
		d.Request, d.Response = w.Request, w.Response
		r.d.Destinations = append(r.d.Destinations, d)
		if !w.Request.None() || !w.Response.None() {
			r.t.step("headers", w.Origin, "%s", changes(w.Request, w.Response))
		}
	}
}

// destination looks up what is behind a destination.
func (r *request) destination(to model.Destination, at model.Origin, share float64, what string) DecidedDestination {
	d := DecidedDestination{Host: to.Host, Port: to.Port, Subset: to.Subset, Weight: share}
	text := fmt.Sprintf("%s port %d", to.Host, to.Port)
	if to.Subset != "" {
		text += " subset " + to.Subset
	}
	if share != 100 {
		text = fmt.Sprintf("%.4g%% to %s", share, text)
	}
	k := compose.ClusterKey{From: r.q.Fleet.Namespace, Destination: to, Labels: r.q.Fleet.Labels}
	c := r.e.Clusters.Read(k)
	if c == nil {
		r.t.reject(what, at, "%s: there is no such thing", text)
		return d
	}
	d.Exists = true
	r.t.step(what, at, "%s", text)
	if c.Rule.Name != "" {
		r.t.step("policy", c.Rule, "says how its endpoints are treated")
	}
	if c.ByDNS {
		r.names(c, &d)
		return d
	}
	eps := r.e.Endpoints.Read(k)
	if eps == nil || len(eps.Endpoints) == 0 {
		r.t.reject("endpoint", c.Service, "none is ready")
		return d
	}
	for _, e := range eps.Endpoints {
		d.Endpoints = append(d.Endpoints, e.AddrPort.String())
		text := e.AddrPort.String()
		if e.Workload != "" {
			text += " " + e.Workload
		}
		if e.Node != "" {
			text += " on " + e.Node
		}
		if c.Mesh != nil && e.MeshTLS {
			text += ", with the mesh's TLS"
		}
		r.t.step("endpoint", e.Origin, "%s", text)
	}
	return d
}

// names says what is looked up to find the endpoints of a cluster.
func (r *request) names(c *model.Cluster, d *DecidedDestination) {
	if len(c.Names) == 0 {
		r.t.reject("endpoint", c.Service, "none is declared")
	}
	for _, n := range c.Names {
		at := net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port)))
		if _, err := netip.ParseAddr(n.Host); err == nil {
			d.Endpoints = append(d.Endpoints, at)
			r.t.step("endpoint", c.Service, "%s", at)
			continue
		}
		d.DNS = append(d.DNS, at)
		r.t.step("endpoint", c.Service, "whatever DNS says of %s", at)
	}
}

// conclude sums up where the request goes.
func (r *request) conclude() {
	var places []string
	for _, d := range r.d.Destinations {
		if d.Weight > 0 {
			places = append(append(places, d.DNS...), d.Endpoints...)
		}
	}
	if len(places) == 0 {
		r.d.Status = 503
		r.t.answer("503: there is nothing to send the request to")
		return
	}
	slices.Sort(places)
	places = slices.Compact(places)
	r.t.answer("goes to one of %d endpoints: %s", len(places), strings.Join(places, ", "))
}

// forwardBytes says where a connection goes that is not looked into.
func (r *request) forwardBytes(c *model.Chain) {
	r.t.step("rule", c.Origin, "the connection is carried as it is")
	r.d.Rule = c.Origin.String()
	r.d.Kind = Forward
	r.destinations(c.To)
	if r.conclude(); r.d.Status == 503 {
		r.d.Kind, r.d.Status = None, 0
		r.t.answer("the connection is closed: there is nothing to send it to")
	}
}
