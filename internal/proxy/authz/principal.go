package authz

import (
	"errors"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

func principals(name string, ms []*rbacv3.Principal) ([]condition, error) {
	if len(ms) == 0 {
		return nil, field.Errorf(name, "empty")
	}
	var all []condition
	for i, m := range ms {
		c, err := principal(m)
		if err != nil {
			return nil, field.At(name, i, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func anyPrincipal(name string, ms []*rbacv3.Principal) (condition, error) {
	all, err := principals(name, ms)
	return anyOf(all), err
}

// principal compiles who somebody is.
func principal(m *rbacv3.Principal) (condition, error) {
	switch p := m.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		all, err := principals("ids", p.AndIds.GetIds())
		return allOf(all), field.In("and_ids", err)
	case *rbacv3.Principal_OrIds:
		c, err := anyPrincipal("ids", p.OrIds.GetIds())
		return c, field.In("or_ids", err)
	case *rbacv3.Principal_NotId:
		c, err := principal(p.NotId)
		return not(c), field.In("not_id", err)
	case *rbacv3.Principal_Any:
		return constant("any", p.Any)
	case *rbacv3.Principal_Authenticated_:
		return authenticated(p.Authenticated)
	case *rbacv3.Principal_FilterState:
		return filterState(p.FilterState)
	case *rbacv3.Principal_SourceIp:
		return within("source_ip", p.SourceIp, source)
	case *rbacv3.Principal_DirectRemoteIp:
		return within("direct_remote_ip", p.DirectRemoteIp, direct)
	case *rbacv3.Principal_RemoteIp:
		return within("remote_ip", p.RemoteIp, client)
	case *rbacv3.Principal_Header:
		return header(p.Header)
	case *rbacv3.Principal_UrlPath:
		return path(p.UrlPath)
	case *rbacv3.Principal_Metadata:
		return metadata("metadata", p.Metadata)
	case *rbacv3.Principal_SourcedMetadata:
		return sourcedMetadata(p.SourcedMetadata)
	}
	return nil, errors.New("no identifier, or one that this proxy does not know")
}

// authenticated compiles whom the client's certificate names: by one of its URIs or DNS names, or else by its subject.
func authenticated(m *rbacv3.Principal_Authenticated) (condition, error) {
	if m.GetPrincipalName() == nil {
		return func(x *message.Info) bool { return x.Secure }, nil
	}
	s, err := match.NewString(m.GetPrincipalName())
	return func(x *message.Info) bool {
		if !x.Secure {
			return false
		}
		for _, name := range x.PeerNames {
			if s.Match(name) {
				return true
			}
		}
		return s.Match(x.PeerSubject)
	}, field.In("authenticated.principal_name", err)
}

// filterState compiles what Istio's own filters of Envoy would have found out. Of that the peer's identity is known here.
func filterState(m *matcherv3.FilterStateMatcher) (condition, error) {
	if m.GetStringMatch() == nil {
		return nil, field.Errorf("filter_state", "only string_match is known to this proxy")
	}
	s, err := match.NewString(m.GetStringMatch())
	if m.GetKey() != "io.istio.peer_principal" {
		return never, field.In("filter_state.string_match", err)
	}
	return func(x *message.Info) bool { return x.PeerURISAN != "" && s.Match(x.PeerURISAN) }, field.In("filter_state.string_match", err)
}

// The addresses of an exchange that rules may speak of.
func destination(x *message.Info) netip.Addr { return x.Local.Addr() }
func source(x *message.Info) netip.Addr      { return x.Source.Addr() }
func direct(x *message.Info) netip.Addr      { return x.Peer.Addr() }
func client(x *message.Info) netip.Addr      { return x.Client.Addr() }

func within(name string, m *corev3.CidrRange, of func(*message.Info) netip.Addr) (condition, error) {
	a, err := netip.ParseAddr(m.GetAddressPrefix())
	if err != nil {
		return nil, field.In(name+".address_prefix", err)
	}
	p, err := a.Unmap().WithZone("").Prefix(int(min(m.GetPrefixLen().GetValue(), 1000)))
	if err != nil {
		return nil, field.In(name+".prefix_len", err)
	}
	return func(x *message.Info) bool { return p.Contains(of(x).Unmap().WithZone("")) }, nil
}

func constant(name string, v bool) (condition, error) {
	if !v {
		return nil, field.Errorf(name, "false means nothing")
	}
	return always, nil
}

// noRequest stands for the request of a connection without any.
var noRequest = &message.Request{}

func header(m *routev3.HeaderMatcher) (condition, error) {
	h, err := match.NewHeader(m)
	return func(x *message.Info) bool {
		if x.Request == nil {
			return h.MatchEach(noRequest)
		}
		return h.MatchEach(x.Request)
	}, field.In("header", err)
}

func path(m *matcherv3.PathMatcher) (condition, error) {
	s, err := match.NewString(m.GetPath())
	return func(x *message.Info) bool {
		if x.Request == nil || x.Request.Path == "" {
			return false
		}
		p, _ := match.Split(x.Request.Path)
		return s.Match(p)
	}, field.In("url_path.path", err)
}

func metadata(name string, m *matcherv3.MetadataMatcher) (condition, error) {
	c, err := match.NewMetadata(m)
	if err != nil {
		return nil, field.In(name, err)
	}
	return c.Match, nil
}

func sourcedMetadata(m *rbacv3.SourcedMetadata) (condition, error) {
	if m.GetMetadataSource() != rbacv3.MetadataSource_DYNAMIC {
		return nil, field.Errorf("sourced_metadata.metadata_source", "only what filters say (DYNAMIC) is known to this proxy")
	}
	return metadata("sourced_metadata.metadata_matcher", m.GetMetadataMatcher())
}
