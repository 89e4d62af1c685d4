package resource

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

func inbound(peers *model.PeerAuthentication) *model.Inbound {
	return &model.Inbound{Sidecar: model.Sidecar{Namespace: "shop", Labels: "app=web"}, Peers: peers, Ports: []model.InboundPort{
		{Port: 8080, Protocol: model.ProtocolHTTP, Host: "web.shop.svc.cluster.local", Service: model.ServiceName{Namespace: "shop", Name: "web"}},
		{Port: 8081, Protocol: model.ProtocolHTTP2}, {Port: 3306, Protocol: model.ProtocolTCP}, {Port: 9999},
	}}
}

func meshHosts() []*model.MeshHost {
	addr := func(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }
	ports := []model.MeshPort{{Port: 80, Protocol: model.ProtocolHTTP}, {Port: 3306, Protocol: model.ProtocolTCP}, {Port: 9999}}
	return []*model.MeshHost{
		{Host: "db.shop.svc.cluster.local", Namespace: "shop", Addresses: addr("10.96.0.2"), Ports: ports, Exported: []string{"*"}},
		{Host: "web.shop.svc.cluster.local", Namespace: "shop", Addresses: append(addr("10.96.0.1"), addr("fd00::1")...), Ports: ports, Exported: []string{"*"}},
		{Host: "again.example.com", Namespace: "shop", Addresses: addr("10.96.0.1"), Ports: ports, Exported: []string{"*"}},
		{Host: "range.example.com", Namespace: "shop", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Ports: ports, Exported: []string{"*"}},
	}
}

// chainsOf lists the names of a listener's filter chains.
func chainsOf(l *listenerv3.Listener) (names []string) {
	for _, c := range l.GetFilterChains() {
		names = append(names, c.GetName())
	}
	return names
}

// What a Pod takes is what PeerAuthentication says, at each of its ports.
func TestInboundTakesWhatPeersMay(t *testing.T) {
	for _, c := range []struct {
		name       string
		peers      *model.PeerAuthentication
		has, hasNo []string
	}{
		{"nobody says", nil, []string{"0.0.0.0_8080_mtls", "0.0.0.0_8080", "0.0.0.0_8080_tls", "0.0.0.0_3306_mtls_tcp", "0.0.0.0_3306_tcp", "0.0.0.0_0_mtls_tcp", "0.0.0.0_0_http"}, nil},
		{"strict", &model.PeerAuthentication{Mode: model.MTLSStrict, Ports: []model.PortMTLS{{Port: 9999, Mode: model.MTLSDisable}, {Port: 7, Mode: model.MTLSPermissive}}},
			[]string{"0.0.0.0_8080_mtls", "0.0.0.0_9999_tcp", "0.0.0.0_7_tcp"}, []string{"0.0.0.0_8080", "0.0.0.0_8080_tls", "0.0.0.0_0_tcp", "0.0.0.0_0_http", "0.0.0.0_9999_mtls_tcp"}},
		{"disabled", &model.PeerAuthentication{Mode: model.MTLSDisable}, []string{"0.0.0.0_8080", "0.0.0.0_8080_tls"}, []string{"0.0.0.0_8080_mtls", "0.0.0.0_0_mtls_tcp"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Inbound(inbound(c.peers), Options{})
			if err := valid(l); err != nil {
				t.Fatal(err)
			}
			names := chainsOf(l)
			for _, n := range c.has {
				if !slices.Contains(names, n) {
					t.Errorf("no chain %s in %v", n, names)
				}
			}
			for _, n := range c.hasNo {
				if slices.Contains(names, n) {
					t.Errorf("chain %s in %v", n, names)
				}
			}
		})
	}
}

// Where plaintext is refused, whatever TLS a client speaks has to be the mesh's, also that of one which knows nothing of Istio's ALPN: it is its certificate
// that lets it in.
func TestStrictAsksForNoALPN(t *testing.T) {
	for mode, want := range map[model.MTLSMode]bool{model.MTLSStrict: false, model.MTLSPermissive: true} {
		for _, c := range Inbound(inbound(&model.PeerAuthentication{Mode: mode}), Options{}).GetFilterChains() {
			name := c.GetName()
			if !strings.HasSuffix(name, "_mtls") && !strings.HasSuffix(name, "_mtls_tcp") {
				continue
			}
			if got := len(c.GetFilterChainMatch().GetApplicationProtocols()) > 0; got != want {
				t.Errorf("mode %v: chain %s asks for ALPN: %v", mode, name, got)
			}
		}
	}
}

// Of what is not HTTP nobody says istio-peer-exchange: whoever does has to begin with what Istio's proxies tell each other, and nobody here would take it off.
func TestBytesAreNotExchanged(t *testing.T) {
	for _, c := range Inbound(inbound(nil), Options{}).GetFilterChains() {
		if c.GetName() != "0.0.0.0_3306_mtls_tcp" {
			continue
		}
		var server tlsv3.DownstreamTlsContext
		if err := c.GetTransportSocket().GetTypedConfig().UnmarshalTo(&server); err != nil {
			t.Fatal(err)
		}
		if got := server.GetCommonTlsContext().GetAlpnProtocols(); !slices.Equal(got, []string{"istio"}) {
			t.Errorf("the server speaks %v", got)
		}
		if got := c.GetFilterChainMatch().GetApplicationProtocols(); !slices.Contains(got, "istio-peer-exchange") {
			t.Errorf("clients of Istio's are not known: %v", got)
		}
		if got := meshALPN(model.ProtocolTCP, false); !slices.Equal(got, []string{"istio"}) {
			t.Errorf("a client speaks %v", got)
		}
		return
	}
	t.Error("no such chain")
}

// Stock Envoy takes what sidecars are told.
func TestEnvoyTakesSidecars(t *testing.T) {
	envoy := os.Getenv("WEFT_ENVOY")
	if envoy == "" {
		t.Skip("needs stock Envoy: set WEFT_ENVOY to what scripts/envoy.sh prints")
	}
	in := inbound(&model.PeerAuthentication{Ports: []model.PortMTLS{{Port: 9999, Mode: model.MTLSStrict}, {Port: 7, Mode: model.MTLSDisable}}})
	traced := Options{Tracing: Tracing{Host: "jaeger.tracing", Port: 4317, Percent: 1}}
	b := &bootstrapv3.Bootstrap{StaticResources: &bootstrapv3.Bootstrap_StaticResources{
		Clusters: []*clusterv3.Cluster{
			SidecarCluster(PassthroughCluster), SidecarCluster(InboundPassthroughCluster), InboundCluster(InboundClusterName(8080), &in.Ports[0]),
			{Name: agentCluster}, Tracers(traced),
		},
	}}
	for _, p := range []model.AppProtocol{model.ProtocolAuto, model.ProtocolHTTP, model.ProtocolHTTP2, model.ProtocolTCP} {
		c, problems := Cluster("shop", &model.Cluster{
			Destination: model.Destination{Host: p.String() + ".shop.svc.cluster.local", Port: 80}, Protocol: p, HTTP2: p == model.ProtocolHTTP2, ByDNS: true, Names: []model.NamedEndpoint{{Host: "localhost", Port: 80}},
			Mesh: &model.MeshTLS{SNI: "outbound_.80_._." + p.String() + ".shop.svc.cluster.local", Identities: []string{"spiffe://cluster.local/ns/shop/sa/web"}},
		}, Options{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, c)
	}
	for _, l := range []*listenerv3.Listener{Inbound(in, traced), OutboundListener(meshHosts(), nil, "web.shop", traced), OutboundListener(ruledHosts(), rulesOf, "", Options{}), OutboundListener(nil, nil, "", Options{RegistryOnly: true})} {
		b.StaticResources.Listeners = []*listenerv3.Listener{l}
		text, err := protojson.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "bootstrap.json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(envoy, "--mode", "validate", "--service-node", "test", "--service-cluster", "test", "-c", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", l.GetName(), err, out[max(0, len(out)-1500):])
		}
	}
}

// Sidecars tell of each request and connection if they are to, and of none otherwise.
func TestSidecarLog(t *testing.T) {
	for _, log := range []bool{false, true} {
		o := Options{SidecarLog: log}
		for _, l := range []*listenerv3.Listener{Inbound(inbound(nil), o), OutboundListener(ruledHosts(), rulesOf, "", o), IndexedOutboundListener("shop", "", o)} {
			chains := l.GetFilterChains()
			if c := l.GetDefaultFilterChain(); c != nil {
				chains = append(chains, c)
			}
			for _, c := range chains {
				var logs [][]*accesslogv3.AccessLog
				for _, f := range c.GetFilters() {
					m, err := f.GetTypedConfig().UnmarshalNew()
					if err != nil {
						t.Fatal(err)
					}
					if x, ok := m.(*meshpb.Outbound); ok {
						http, tcp := &hcmv3.HttpConnectionManager{}, &tcpproxyv3.TcpProxy{}
						if err := errors.Join(x.GetHttp().UnmarshalTo(http), x.GetTcp().UnmarshalTo(tcp)); err != nil {
							t.Fatal(err)
						}
						logs = append(logs, http.GetAccessLog(), tcp.GetAccessLog())
					} else if x, ok := m.(interface {
						GetAccessLog() []*accesslogv3.AccessLog
					}); ok {
						logs = append(logs, x.GetAccessLog())
					}
				}
				for _, got := range logs {
					if (len(got) == 1) != log {
						t.Errorf("%s %s: %d logs, wanted: %v", l.GetName(), c.GetName(), len(got), log)
					}
				}
				if len(logs) == 0 {
					t.Errorf("%s %s serves nobody", l.GetName(), c.GetName())
				}
			}
		}
	}
}
