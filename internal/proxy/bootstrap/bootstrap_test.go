package bootstrap

import (
	"strings"
	"testing"
)

const head = `
node: {id: a, cluster: b}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
layered_runtime: {layers: [{name: x, static_layer: {}}]}
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 0.0.0.0, port_value: 80}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          request_timeout: 1.5s
  clusters:
  - name: xds
    type: STRICT_DNS
    connect_timeout: 1s
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: weft-control, port_value: 15012}}}}]}]}
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: weft-control.weft-system.svc
        common_tls_context: {validation_context: {trusted_ca: {filename: /etc/ca.pem}}}
`

const ads = `
dynamic_resources:
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
  ads_config:
    api_type: DELTA_GRPC
    grpc_services: [{envoy_grpc: {cluster_name: xds}, initial_metadata: [{key: a, value: b}]}]
`

func TestParse(t *testing.T) {
	c, err := Parse([]byte(head + ads))
	if err != nil {
		t.Fatal(err)
	}
	x := c.XDS
	if x == nil || x.Address != "weft-control:15012" || x.ServerName != "weft-control.weft-system.svc" || x.CAFile != "/etc/ca.pem" || x.Plaintext ||
		!x.Listeners || !x.Clusters || x.Metadata["a"] != "b" {
		t.Errorf("xds: %+v", x)
	}
	if c.Admin.String() != "127.0.0.1:9901" || c.Node.GetId() != "a" || len(c.Listeners) != 1 || len(c.Clusters) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestStaticAlone(t *testing.T) {
	c, err := Parse([]byte(head))
	if err != nil || c.XDS != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestErrorsNameTheField(t *testing.T) {
	for text, want := range map[string]string{
		"a: [":                  "yaml",
		"nonsense: 1":           "nonsense",
		"dynamic_resources: {}": "dynamic_resources.ads_config: is missing",
		head + strings.ReplaceAll(ads, "xds}", "no}"):                                                                         `there is no static cluster "no"`,
		"admin: {address: {socket_address: {address: localhost, port_value: 1}}}":                                             "admin.address",
		"static_resources: {listeners: [{filter_chains: [{filters: [{typed_config: {'@type': type.googleapis.com/a.B}}]}]}]}": "a.B",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	n := Identity{Name: "p", Namespace: "ns", Address: "10.0.0.1", Labels: map[string]string{"istio": "ingressgateway"}}.Node()
	if n.GetId() != "router~10.0.0.1~p.ns~ns.svc.cluster.local" {
		t.Error(n.GetId())
	}
	if got := n.GetMetadata().GetFields()["LABELS"].GetStructValue().GetFields()["istio"].GetStringValue(); got != "ingressgateway" {
		t.Errorf("label %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(head + ads))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = Parse(text) })
}
