package route

import (
	"errors"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/filter/chain"
	"github.com/weftmesh/weft/internal/proxy/format"
)

// Options are what a table is compiled with beside the resource.
type Options struct {
	Format  format.Options // what formatters in header operations know of the process
	Filters *filter.Env    // what filters share; may be nil
}

// Compile makes a table of a RouteConfiguration. The error, if any, is a [field.Error] that names the place; then there is no table.
func Compile(rc *routev3.RouteConfiguration, o Options) (*Table, error) {
	c, s, t, err := begin(rc, o)
	if err != nil {
		return nil, err
	}
	for i, vh := range rc.GetVirtualHosts() {
		v, err := c.virtualHost(vh, s)
		if err != nil {
			return nil, field.At("virtual_hosts", i, err)
		}
		t.VirtualHosts = append(t.VirtualHosts, v)
	}
	if err := t.finish(); err != nil {
		return nil, err
	}
	return t, nil
}

// begin compiles what stands around the virtual hosts.
func begin(rc *routev3.RouteConfiguration, o Options) (*compiler, scope, *Table, error) {
	if err := field.Only(rc, "name", "virtual_hosts", "request_headers_to_add", "request_headers_to_remove", "response_headers_to_add", "response_headers_to_remove",
		"most_specific_header_mutations_wins", "validate_clusters", "max_direct_response_body_size_bytes", "request_mirror_policies",
		"ignore_port_in_host_matching", "typed_per_filter_config", "metadata"); err != nil {
		return nil, scope{}, nil, err
	}
	c := &compiler{options: o, specificWins: rc.GetMostSpecificHeaderMutationsWins(), maxBody: 4096}
	if n := rc.GetMaxDirectResponseBodySizeBytes(); n != nil {
		c.maxBody = int(n.GetValue())
	}
	s, err := c.scope(scope{}, rc)
	if err != nil {
		return nil, s, nil, err
	}
	if s.mirrors, err = mirrors(rc.GetRequestMirrorPolicies()); err != nil {
		return nil, s, nil, err
	}
	return c, s, &Table{Name: rc.GetName(), ignorePort: rc.GetIgnorePortInHostMatching()}, nil
}

// finish makes the virtual hosts ready to be looked up.
func (t *Table) finish() error {
	names := make(map[string]int, len(t.VirtualHosts))
	for i, v := range t.VirtualHosts {
		if first, twice := names[v.Name]; twice {
			return field.At("virtual_hosts", i, field.Errorf("name", "%q is the name of virtual_hosts[%d] already", v.Name, first))
		}
		names[v.Name] = i
	}
	return t.hosts.build(t.VirtualHosts)
}

type compiler struct {
	options      Options
	specificWins bool
	maxBody      int
}

// scope is what a table, a virtual host, a route or a destination hands down to what is inside it.
type scope struct {
	filters           filter.Settings
	request, response headerOps
	retry             *Retry
	mirrors           []Mirror
}

// scoped is what all four levels have.
type scoped interface {
	proto.Message
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
	GetTypedPerFilterConfig() map[string]*anypb.Any
}

// scope gives what holds inside a level, from what holds around it.
func (c *compiler) scope(outer scope, m scoped) (scope, error) {
	request, err := c.headerLevel("request", m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove())
	if err != nil {
		return outer, err
	}
	response, err := c.headerLevel("response", m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove())
	if err != nil {
		return outer, err
	}
	settings, err := chain.NewSettings(m.GetTypedPerFilterConfig(), c.options.Filters)
	if err != nil {
		return outer, err
	}
	outer.request, outer.response = c.within(outer.request, request), c.within(outer.response, response)
	outer.filters = settings.Over(outer.filters)
	return outer, nil
}

// within puts a level into order with those around it. The most specific comes first, so that less specific levels have the last word, unless
// most_specific_header_mutations_wins turns that round.
func (c *compiler) within(outer headerOps, l headerLevel) headerOps {
	switch {
	case len(l.remove) == 0 && len(l.set) == 0:
		return outer
	case c.specificWins:
		return append(outer[:len(outer):len(outer)], l)
	}
	return append(headerOps{l}, outer...)
}

func (c *compiler) virtualHost(vh *routev3.VirtualHost, s scope) (*VirtualHost, error) {
	if err := field.Only(vh, "name", "domains", "routes", "require_tls", "request_headers_to_add", "request_headers_to_remove", "response_headers_to_add",
		"response_headers_to_remove", "typed_per_filter_config", "retry_policy", "include_request_attempt_count", "include_attempt_count_in_response",
		"request_mirror_policies", "metadata", "virtual_clusters", "hedge_policy", "include_is_timeout_retry_header", "per_request_buffer_limit_bytes",
		"request_body_buffer_limit"); err != nil {
		return nil, err
	}
	v := &VirtualHost{
		Name: vh.GetName(), Domains: vh.GetDomains(), Origin: origin(vh.GetMetadata()), tls: tlsRequirement(vh.GetRequireTls()),
		AttemptCount: vh.GetIncludeRequestAttemptCount(), ResponseAttemptCount: vh.GetIncludeAttemptCountInResponse(),
	}
	s, err := c.scope(s, vh)
	if err != nil {
		return nil, err
	}
	if vh.GetRetryPolicy() != nil {
		if s.retry, err = newRetry(vh.GetRetryPolicy()); err != nil {
			return nil, field.In("retry_policy", err)
		}
	}
	if len(vh.GetRequestMirrorPolicies()) > 0 {
		if s.mirrors, err = mirrors(vh.GetRequestMirrorPolicies()); err != nil {
			return nil, err
		}
	}
	for i, m := range vh.GetRoutes() {
		r, err := c.route(m, s)
		if err != nil {
			return nil, field.At("routes", i, err)
		}
		r.VirtualHost, r.Index = v, i
		v.Routes = append(v.Routes, r)
	}
	v.paths.build(v.Routes)
	v.redirect = &Route{VirtualHost: v, Index: -1, Name: "require_tls", Redirect: &Redirect{Status: 301, scheme: "https"}, Filters: s.filters, response: s.response}
	return v, nil
}

func (c *compiler) route(m *routev3.Route, s scope) (*Route, error) {
	if err := field.Only(m, "name", "match", "route", "redirect", "direct_response", "metadata", "decorator", "typed_per_filter_config", "request_headers_to_add",
		"request_headers_to_remove", "response_headers_to_add", "response_headers_to_remove", "tracing", "per_request_buffer_limit_bytes", "stat_prefix",
		"request_body_buffer_limit"); err != nil {
		return nil, err
	}
	s, err := c.scope(s, m)
	if err != nil {
		return nil, err
	}
	r := &Route{Name: m.GetName(), Origin: origin(m.GetMetadata()), Operation: m.GetDecorator().GetOperation(), Filters: s.filters, response: s.response}
	if r.match, err = newCondition(m.GetMatch()); err != nil {
		return nil, field.In("match", err)
	}
	if m.GetRoute() == nil {
		r.Filters[filter.CORS] = filter.Setting{} // it opens what an endpoint serves, and no endpoint is asked
	}
	switch a := m.GetAction().(type) {
	case *routev3.Route_Route:
		r.Forward, err = c.forward(a.Route, s, &r.match)
		err = field.In("route", err)
	case *routev3.Route_Redirect:
		r.Redirect, err = newRedirect(a.Redirect, &r.match)
		err = field.In("redirect", err)
	case *routev3.Route_DirectResponse:
		r.Direct, err = c.direct(a.DirectResponse)
		err = field.In("direct_response", err)
	default:
		err = errors.New("it has no action: route, redirect or direct_response")
	}
	return r, err
}

func (c *compiler) direct(m *routev3.DirectResponseAction) (*Direct, error) {
	if err := field.Only(m, "status", "body"); err != nil {
		return nil, err
	}
	if s := m.GetStatus(); s < 200 || s > 599 {
		return nil, field.Errorf("status", "%d is no final status", s)
	}
	d := &Direct{Status: int(m.GetStatus())}
	switch s := m.GetBody().GetSpecifier().(type) {
	case nil:
	case *corev3.DataSource_InlineBytes:
		d.Body = s.InlineBytes
	case *corev3.DataSource_InlineString:
		d.Body = []byte(s.InlineString)
	default:
		return nil, field.Errorf("body", "only inline_string and inline_bytes are read")
	}
	if len(d.Body) > c.maxBody {
		return nil, field.Errorf("body", "it has %d bytes, and max_direct_response_body_size_bytes is %d", len(d.Body), c.maxBody)
	}
	return d, nil
}

// origin is the rule that an element was made from, as its author noted it.
func origin(m *corev3.Metadata) string {
	return m.GetFilterMetadata()["weft"].GetFields()["origin"].GetStringValue()
}

// limit reads a duration that is not negative.
func limit(name protoreflect.Name, d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, field.In(string(name), err)
	}
	if d.AsDuration() < 0 {
		return 0, field.Errorf(string(name), "%v is negative", d.AsDuration())
	}
	return d.AsDuration(), nil
}

// limits reads several durations and stops at the first that is wrong.
type limits struct{ err error }

func (l *limits) read(name protoreflect.Name, d *durationpb.Duration) time.Duration {
	if l.err != nil {
		return 0
	}
	v, err := limit(name, d)
	l.err = err
	return v
}
