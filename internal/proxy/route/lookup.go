package route

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// Match finds the route for a request; nil is no route. It looks at Request, whose path is in normal form already, and at Random. It sets nothing.
func (t *Table) Match(x *message.Info) *Route {
	v := t.hosts.find(x.Request.Authority, t.ignorePort)
	if v == nil {
		return nil
	}
	if v.needsTLS(x.Request) {
		return v.redirect
	}
	in := newInput(x)
	return v.paths.find(&in)
}

// Candidate is a route that was considered for a request.
type Candidate struct {
	Route  *Route
	Failed string // the first condition that the request does not meet; "" when it meets all
}

// Explain tells how Match decides: the virtual host, or nil, and its routes up to the one that matches. It is for people and costs what it costs.
func (t *Table) Explain(x *message.Info) (*VirtualHost, []Candidate) {
	v := t.hosts.find(x.Request.Authority, t.ignorePort)
	if v == nil {
		return nil, nil
	}
	if v.needsTLS(x.Request) {
		return v, []Candidate{{Route: v.redirect}}
	}
	in := newInput(x)
	var tried []Candidate
	for _, r := range v.Routes {
		c := Candidate{Route: r, Failed: r.match.fails(&in)}
		tried = append(tried, c)
		if c.Failed == "" {
			break
		}
	}
	return v, tried
}

// tlsRequirement is VirtualHost.TlsRequirementType.
type tlsRequirement routev3.VirtualHost_TlsRequirementType

func (v *VirtualHost) needsTLS(r *message.Request) bool {
	switch routev3.VirtualHost_TlsRequirementType(v.tls) {
	case routev3.VirtualHost_ALL:
		return clientScheme(r) != "https"
	case routev3.VirtualHost_EXTERNAL_ONLY:
		internal, _ := r.Fields.Get("x-envoy-internal")
		return clientScheme(r) != "https" && internal != "true"
	}
	return false
}

// clientScheme is how the client came, to us or to a trusted proxy in front: the edge sets x-forwarded-proto, or lets it pass only from such.
func clientScheme(r *message.Request) string {
	if v, ok := r.Fields.Get("x-forwarded-proto"); ok {
		return v
	}
	return r.Scheme
}
