package envoy

import (
	"encoding/json"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// The static clusters that resources of a mesh name.
const (
	secretsCluster = "sds-grpc"
	controlCluster = "xds-grpc"
	adminCluster   = "prometheus_stats"
)

// object is a message in JSON.
type object = map[string]any

// bootstrap is what Envoy starts with: everything comes over two sockets of the agent. There is nothing secret in it.
func (o *Options) bootstrap() ([]byte, error) {
	// What it is called and what it knows, Envoy says itself: weft's own extensions are none of that.
	own := proto.Clone(o.Node).(*corev3.Node)
	own.UserAgentName, own.UserAgentVersionType, own.ClientFeatures = "", nil, nil
	node, err := protojson.Marshal(own)
	if err != nil {
		return nil, err
	}
	overADS := object{"ads": object{}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"} // without any configuration it is not ready, however long it takes
	static := object{"clusters": []object{
		overSocket(secretsCluster, o.SDSSocket), overSocket(controlCluster, o.XDSSocket),
		{"name": adminCluster, "type": "STATIC", "connect_timeout": "1s", "load_assignment": endpoint(adminCluster, object{"socket_address": socket(o.Admin)})},
	}}
	if o.Metrics.IsValid() {
		static["listeners"] = []object{o.metricsListener()}
	}
	return json.Marshal(object{
		"node":  json.RawMessage(node),
		"admin": object{"address": object{"socket_address": socket(o.Admin)}},
		// Regular expressions as large as Istio's own bootstrap allows.
		"layered_runtime": object{"layers": []object{{"name": "static", "static_layer": object{"re2.max_program_size.error_level": 32768}}, {"name": "admin", "admin_layer": object{}}}},
		"dynamic_resources": object{
			"lds_config": overADS, "cds_config": overADS,
			"ads_config": object{
				"api_type": "DELTA_GRPC", "set_node_on_first_message_only": true, "transport_api_version": "V3",
				"grpc_services": []object{{"envoy_grpc": object{"cluster_name": controlCluster}}},
			},
		},
		"static_resources": static,
	})
}

func socket(a netip.AddrPort) object {
	return object{"address": a.Addr().String(), "port_value": a.Port(), "ipv4_compat": a.Addr().Is6() && a.Addr().IsUnspecified()}
}

func endpoint(cluster string, address object) object {
	return object{"cluster_name": cluster, "endpoints": []object{{"lb_endpoints": []object{{"endpoint": object{"address": address}}}}}}
}

// overSocket is a cluster that speaks gRPC over a Unix socket.
func overSocket(name, path string) object {
	const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	return object{
		"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": endpoint(name, object{"pipe": object{"path": path}}),
		"typed_extension_protocol_options": object{options: object{
			"@type": "type.googleapis.com/" + options, "explicit_http_config": object{"http2_protocol_options": object{}},
		}},
	}
}

// metricsListener shows Envoy's own metrics to Prometheus, where Istio's users have it.
func (o *Options) metricsListener() object {
	const filters = "type.googleapis.com/envoy.extensions.filters."
	return object{
		"name": "prometheus", "address": object{"socket_address": socket(o.Metrics)}, "ignore_global_conn_limit": true,
		"filter_chains": []object{{"filters": []object{{
			"name": "envoy.filters.network.http_connection_manager",
			"typed_config": object{
				"@type": filters + "network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "stats",
				"route_config": object{"virtual_hosts": []object{{
					"name": "backend", "domains": []string{"*"},
					"routes": []object{{"match": object{"prefix": "/stats/prometheus"}, "route": object{"cluster": adminCluster}}},
				}}},
				"http_filters": []object{{"name": "envoy.filters.http.router", "typed_config": object{"@type": filters + "http.router.v3.Router"}}},
			},
		}}}},
	}
}
