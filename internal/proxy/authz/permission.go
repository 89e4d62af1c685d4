package authz

import (
	"errors"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

func permissions(name string, ms []*rbacv3.Permission) ([]condition, error) {
	if len(ms) == 0 {
		return nil, field.Errorf(name, "empty")
	}
	var all []condition
	for i, m := range ms {
		c, err := permission(m)
		if err != nil {
			return nil, field.At(name, i, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func anyPermission(name string, ms []*rbacv3.Permission) (condition, error) {
	all, err := permissions(name, ms)
	return anyOf(all), err
}

// permission compiles what may be done.
func permission(m *rbacv3.Permission) (condition, error) {
	switch r := m.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		all, err := permissions("rules", r.AndRules.GetRules())
		return allOf(all), field.In("and_rules", err)
	case *rbacv3.Permission_OrRules:
		c, err := anyPermission("rules", r.OrRules.GetRules())
		return c, field.In("or_rules", err)
	case *rbacv3.Permission_NotRule:
		c, err := permission(r.NotRule)
		return not(c), field.In("not_rule", err)
	case *rbacv3.Permission_Any:
		return constant("any", r.Any)
	case *rbacv3.Permission_Header:
		return header(r.Header)
	case *rbacv3.Permission_UrlPath:
		return path(r.UrlPath)
	case *rbacv3.Permission_UriTemplate:
		return template(r)
	case *rbacv3.Permission_DestinationIp:
		return within("destination_ip", r.DestinationIp, destination)
	case *rbacv3.Permission_DestinationPort:
		if r.DestinationPort > 65535 {
			return nil, field.Errorf("destination_port", "%d is no port", r.DestinationPort)
		}
		port := uint16(r.DestinationPort)
		return func(x *message.Info) bool { return x.Local.Port() == port }, nil
	case *rbacv3.Permission_DestinationPortRange:
		start, end := r.DestinationPortRange.GetStart(), r.DestinationPortRange.GetEnd()
		if start < 0 || end > 65536 || start >= end {
			return nil, field.Errorf("destination_port_range", "from %d to below %d is no range of ports", start, end)
		}
		return func(x *message.Info) bool { p := int32(x.Local.Port()); return start <= p && p < end }, nil
	case *rbacv3.Permission_Metadata:
		return metadata("metadata", r.Metadata)
	case *rbacv3.Permission_SourcedMetadata:
		return sourcedMetadata(r.SourcedMetadata)
	case *rbacv3.Permission_RequestedServerName:
		s, err := match.NewString(r.RequestedServerName)
		return func(x *message.Info) bool { return s.Match(x.ServerName) }, field.In("requested_server_name", err)
	}
	return nil, errors.New("no rule, or one that this proxy does not know")
}

// template compiles a permission for paths of a form.
func template(r *rbacv3.Permission_UriTemplate) (condition, error) {
	var m uritemplatev3.UriTemplateMatchConfig
	if err := r.UriTemplate.GetTypedConfig().UnmarshalTo(&m); err != nil {
		return nil, field.Errorf("uri_template.typed_config", "%s is not known to this proxy", r.UriTemplate.GetTypedConfig().GetTypeUrl())
	}
	t, err := match.NewTemplate(m.GetPathTemplate())
	if err != nil {
		return nil, field.In("uri_template.typed_config.path_template", err)
	}
	return func(x *message.Info) bool {
		if x.Request == nil || x.Request.Path == "" {
			return false
		}
		p, _ := match.Split(x.Request.Path)
		return t.MatchString(p)
	}, nil
}
