// Package chain puts filters in order: it compiles the list of HTTP filters of a listener and what routes say of each filter, and runs an exchange
// through them.
//
// It is the one place that knows which filters there are. It decides nothing about requests. Running a chain costs nothing for a filter
// without a policy for the route.
//
// A filter may be in a chain once, but for rbac, which may be there several times under one name; what a route says of it goes for all of those.
// Beside the filters of package filter it takes the router, which ends every chain, and leaves out envoy.filters.http.grpc_stats, which only counts.
package chain

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/filter/cors"
	"github.com/weftmesh/weft/internal/proxy/filter/fault"
	"github.com/weftmesh/weft/internal/proxy/filter/jwtauthn"
	"github.com/weftmesh/weft/internal/proxy/filter/rbac"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Chain is the filters of a listener in order. It never changes.
type Chain struct {
	links        []link
	peerMetadata bool
}

// PeerMetadata tells whether proxies are to tell each other whose they are, which is for whoever runs the exchange.
func (c *Chain) PeerMetadata() bool { return c.peerMetadata }

type link struct {
	kind   filter.Kind
	name   string
	policy filter.Policy // where the route says nothing; may be nil
}

// New compiles http_filters. The last is the router, which is not part of the chain: it is whoever runs it.
func New(ms []*hcmv3.HttpFilter, env *filter.Env) (*Chain, error) {
	c := &Chain{}
	routed := false
	for i, m := range ms {
		if routed {
			return nil, field.At("http_filters", i-1, errors.New("the router is not the last filter"))
		}
		err := field.Only(m, "name", "typed_config", "is_optional", "disabled")
		if err == nil {
			routed, err = c.add(m, env)
		}
		if err != nil {
			return nil, field.At("http_filters", i, err)
		}
	}
	if !routed {
		return nil, field.Errorf("http_filters", "the last is not the router")
	}
	return c, nil
}

// add appends a filter; router is true for the router.
func (c *Chain) add(m *hcmv3.HttpFilter, env *filter.Env) (router bool, err error) {
	config, err := m.GetTypedConfig().UnmarshalNew()
	if err != nil {
		if m.GetIsOptional() {
			return false, nil
		}
		return false, unknown(m.GetName(), m.GetTypedConfig())
	}
	l := link{name: m.GetName()}
	switch config := config.(type) {
	case *routerv3.Router:
		return true, field.In("typed_config", field.Only(config, "dynamic_stats", "start_child_span"))
	case *grpcstatsv3.FilterConfig:
		return false, nil
	case *meshpb.PeerMetadata:
		c.peerMetadata = c.peerMetadata || !m.GetDisabled()
		return false, nil
	case *corsv3.Cors:
		l.kind = filter.CORS
	case *faultv3.HTTPFault:
		l.kind = filter.Fault
		if l.policy, err = fault.New(config); err != nil {
			return false, field.In("typed_config", err)
		}
	case *jwtv3.JwtAuthentication:
		l.kind = filter.JWT
		if l.policy, err = jwtauthn.New(config, env); err != nil {
			return false, field.In("typed_config", err)
		}
	case *rbacv3.RBAC:
		l.kind = filter.RBAC
		if l.policy, err = rbac.New(config, env); err != nil {
			return false, field.In("typed_config", err)
		}
	default:
		if m.GetIsOptional() {
			return false, nil
		}
		return false, unknown(m.GetName(), m.GetTypedConfig())
	}
	if slices.ContainsFunc(c.links, func(o link) bool { return o.kind == l.kind && (l.kind != filter.RBAC || o.name != l.name) }) {
		return false, fmt.Errorf("%s is there twice, and routes could not tell them apart", l.kind)
	}
	if m.GetDisabled() {
		l.policy = nil // a route's policy brings it to life
	}
	c.links = append(c.links, l)
	return false, nil
}

func unknown(name string, config *anypb.Any) error {
	return fmt.Errorf("filter %q (%s) is not known to this proxy", name, typeName(config))
}

func typeName(config *anypb.Any) string {
	return config.GetTypeUrl()[strings.LastIndexByte(config.GetTypeUrl(), '/')+1:]
}

// NewSettings compiles typed_per_filter_config. Filters are told by the type of their configuration; the name counts where there is none.
func NewSettings(configs map[string]*anypb.Any, env *filter.Env) (filter.Settings, error) {
	var s filter.Settings
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		if err := addSetting(&s, name, configs[name], env); err != nil {
			return s, field.In(fmt.Sprintf("typed_per_filter_config[%q]", name), err)
		}
	}
	return s, nil
}

func addSetting(s *filter.Settings, name string, config *anypb.Any, env *filter.Env) error {
	optional, disabled := false, false
	if config.MessageIs((*routev3.FilterConfig)(nil)) {
		var m routev3.FilterConfig
		if err := config.UnmarshalTo(&m); err != nil {
			return err
		}
		if err := field.Only(&m, "config", "is_optional", "disabled"); err != nil {
			return err
		}
		optional, disabled, config = m.GetIsOptional(), m.GetDisabled(), m.GetConfig()
	}
	if disabled {
		for k := range filter.Kinds {
			if k.String() == name {
				s[k] = filter.Setting{Disabled: true}
			}
		}
		return nil // what is not there is disabled already
	}
	kind, policy, err := newPolicy(config, env)
	switch {
	case err != nil:
		return err
	case policy == nil && optional:
		return nil
	case policy == nil:
		return unknown(name, config)
	case s[kind] != (filter.Setting{}):
		return fmt.Errorf("%s has two configurations", kind)
	}
	s[kind].Policy = policy
	return nil
}

// newPolicy compiles what a route says of a filter; no policy and no error is a filter that is not known.
func newPolicy(config *anypb.Any, env *filter.Env) (filter.Kind, filter.Policy, error) {
	var err error
	switch {
	case config.MessageIs((*corsv3.CorsPolicy)(nil)):
		var m corsv3.CorsPolicy
		if err = config.UnmarshalTo(&m); err == nil {
			var p *cors.Policy
			if p, err = cors.New(&m); err == nil {
				return filter.CORS, p, nil
			}
		}
	case config.MessageIs((*faultv3.HTTPFault)(nil)):
		var m faultv3.HTTPFault
		if err = config.UnmarshalTo(&m); err == nil {
			var p *fault.Policy
			if p, err = fault.New(&m); err == nil {
				return filter.Fault, p, nil
			}
		}
	case config.MessageIs((*jwtv3.PerRouteConfig)(nil)):
		var m jwtv3.PerRouteConfig
		if err = config.UnmarshalTo(&m); err == nil {
			var p *jwtauthn.Route
			if p, err = jwtauthn.NewRoute(&m); err == nil {
				return filter.JWT, p, nil
			}
		}
	case config.MessageIs((*rbacv3.RBACPerRoute)(nil)):
		var m rbacv3.RBACPerRoute
		if err = config.UnmarshalTo(&m); err == nil {
			var p *rbac.Policy
			if p, err = rbac.NewRoute(&m, env); err == nil {
				return filter.RBAC, p, nil
			}
		}
	}
	return 0, nil, err
}

// of gives what counts for a filter on a route.
func (l *link) of(s *filter.Settings) filter.Policy {
	switch {
	case s == nil:
		return l.policy
	case s[l.kind].Disabled:
		return nil
	case s[l.kind].Policy != nil:
		return s[l.kind].Policy
	}
	return l.policy
}

// Request runs a request through the filters, with what its route says of them (nil: there is no route). It is true when one of them answered: the
// reply is filled in, and goes through Response like any other.
func (c *Chain) Request(x filter.Exchange, s *filter.Settings, reply *filter.Reply) bool {
	for i := range c.links {
		p := c.links[i].of(s)
		if p == nil {
			continue
		}
		if r, ok := p.(filter.Refinement); ok {
			if r.Refine(c.links[i].policy, x, reply) {
				return true
			}
		} else if p.Request(x, reply) {
			return true
		}
	}
	return false
}

// Response runs a response through the filters, the last first.
func (c *Chain) Response(x filter.Exchange, s *filter.Settings, r *message.Response) {
	for i := len(c.links) - 1; i >= 0; i-- {
		if p := c.links[i].of(s); p != nil {
			p.Response(x, r)
		}
	}
}
