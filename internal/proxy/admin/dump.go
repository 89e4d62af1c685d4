package admin

import (
	"encoding/json"
	"net/http"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/upstream"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// resource is a resource in force, wherever it came from.
type resource struct {
	Name, Version string
	Since         time.Time
	Static        bool
	Resource      *anypb.Any
}

func (a *Admin) resources(typeURL string) (out []resource) {
	for _, r := range a.options.Server.Statics() {
		if r.TypeURL == typeURL {
			out = append(out, resource{r.Name, "", r.Since, true, r.Resource})
		}
	}
	if a.options.XDS != nil {
		for _, r := range a.options.XDS.Resources(typeURL) {
			out = append(out, resource{r.Name, r.Version, r.Since, false, r.Resource})
		}
	}
	return out
}

// sections are the parts of /config_dump, as Envoy names them: the message, and in it the lists of static and dynamic resources with the name of the field
// that holds each.
var sections = []struct{ typeURL, dump, static, dynamic, field string }{
	{xdsclient.ClusterType, "ClustersConfigDump", "static_clusters", "dynamic_active_clusters", "cluster"},
	{xdsclient.ListenerType, "ListenersConfigDump", "static_listeners", "dynamic_listeners", "listener"},
	{xdsclient.RouteType, "RoutesConfigDump", "static_route_configs", "dynamic_route_configs", "route_config"},
	{xdsclient.SecretType, "SecretsConfigDump", "static_secrets", "dynamic_active_secrets", "secret"},
	{xdsclient.EndpointType, "EndpointsConfigDump", "static_endpoint_configs", "dynamic_endpoint_configs", "endpoint_config"},
}

func (a *Admin) configDump(w http.ResponseWriter, r *http.Request) {
	only := r.URL.Query().Get("resource")
	configs := []any{}
	if only == "" && a.options.Bootstrap.Message != nil {
		m := proto.CloneOf(a.options.Bootstrap.Message)
		redact(m.ProtoReflect())
		if b, err := protojson.Marshal(m); err == nil {
			configs = append(configs, map[string]any{
				"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": json.RawMessage(b), "last_updated": stamp(a.started),
			})
		}
	}
	for _, s := range sections {
		section := map[string]any{"@type": "type.googleapis.com/envoy.admin.v3." + s.dump}
		var static, dynamic []any
		for _, res := range a.resources(s.typeURL) {
			b, err := show(res.Resource)
			if err != nil {
				continue
			}
			one := map[string]any{s.field: b, "last_updated": stamp(res.Since)}
			if res.Version != "" {
				one["version_info"] = res.Version
			}
			switch {
			case s.field == "secret":
				one["name"] = res.Name
			case s.field == "listener" && !res.Static: // Envoy wraps these once more
				one = map[string]any{"name": res.Name, "active_state": one}
			}
			if res.Static {
				static = append(static, one)
			} else {
				dynamic = append(dynamic, one)
			}
		}
		switch only {
		case "":
		case s.static, s.dynamic:
			configs = append(configs, map[string][]any{s.static: static, s.dynamic: dynamic}[only]...)
			continue
		default:
			continue
		}
		if static != nil {
			section[s.static] = static
		}
		if dynamic != nil {
			section[s.dynamic] = dynamic
		}
		configs = append(configs, section)
	}
	asJSON(w, map[string]any{"configs": configs})
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// show renders a resource, with its type and without private keys.
func show(res *anypb.Any) (json.RawMessage, error) {
	m, err := res.UnmarshalNew()
	if err != nil {
		return nil, err
	}
	redact(m.ProtoReflect())
	again, err := anypb.New(m)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(again)
}

// redact replaces what must not be seen: private keys, passwords, session ticket keys, generic secrets.
func redact(m protoreflect.Message) {
	const hidden = "[redacted]"
	cover := func(d *corev3.DataSource) {
		if d != nil {
			d.Specifier = &corev3.DataSource_InlineString{InlineString: hidden}
		}
	}
	switch v := m.Interface().(type) {
	case *tlsv3.TlsCertificate:
		cover(v.GetPrivateKey())
		cover(v.GetPassword())
		cover(v.GetPkcs12())
		return
	case *tlsv3.TlsSessionTicketKeys:
		for _, k := range v.GetKeys() {
			cover(k)
		}
		return
	case *tlsv3.GenericSecret:
		cover(v.GetSecret())
		return
	case *anypb.Any:
		inner, err := v.UnmarshalNew()
		if err != nil {
			v.Value = nil
			return
		}
		redact(inner.ProtoReflect())
		_ = v.MarshalFrom(inner)
		return
	case *corev3.GrpcService_GoogleGrpc_SslCredentials:
		cover(v.GetPrivateKey())
		return
	case *bootstrapv3.Bootstrap: // and what is below it
	}
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case d.IsMap():
			if d.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
					redact(e.Message())
					return true
				})
			}
		case d.Message() == nil:
		case d.IsList():
			for i := range v.List().Len() {
				redact(v.List().Get(i).Message())
			}
		default:
			redact(v.Message())
		}
		return true
	})
}

// clustersJSON is the clusters in the form of envoy.admin.v3.Clusters.
func clustersJSON(all []upstream.ClusterSnapshot) any {
	out := []any{}
	for _, c := range all {
		hosts := []any{}
		for _, e := range c.Endpoints {
			numbers := []any{}
			for _, s := range e.Stats {
				kind := "COUNTER"
				if s.Gauge {
					kind = "GAUGE"
				}
				numbers = append(numbers, map[string]any{"name": s.Name, "value": s.Value, "type": kind})
			}
			hosts = append(hosts, map[string]any{
				"address": e.Address, "hostname": e.Hostname, "weight": e.Weight, "priority": e.Priority, "stats": numbers, "health_flags": e.Health,
				"locality": map[string]string{"region": e.Locality.Region, "zone": e.Locality.Zone, "sub_zone": e.Locality.SubZone},
			})
		}
		out = append(out, map[string]any{"name": c.Name, "type": c.Type, "lb_policy": c.Policy, "host_statuses": hosts})
	}
	return map[string]any{"cluster_statuses": out}
}
