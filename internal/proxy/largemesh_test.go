package proxy_test

import (
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/proxy/server"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// largeMesh is an xDS server that says what weft's says, of a mesh of so many Services and a headless one. All their endpoints are in the Pod's namespace:
// 10.0.0.1 at port 8080, of the headless one at 9042.
type largeMesh struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	services int
	t        *testing.T

	mu    sync.Mutex
	asked map[string][]string // names, by type
}

const headless = "db.shop.svc.cluster.local"

func (m *largeMesh) host(i int) string {
	return fmt.Sprintf("service-%d.namespace-%d.svc.cluster.local", i, i%50)
}

// names are what sidecars have asked for of a type.
func (m *largeMesh) names(typeURL string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(slices.Values(m.asked[typeURL]))
}

// named makes a resource by name; nil if there is none such.
func (m *largeMesh) named(typeURL, name string) proto.Message {
	host := name[strings.LastIndexByte(name, '|')+1:]
	switch {
	case typeURL == xdsclient.ListenerType && name == "weftOutbound":
		return parseYAML(m.t, typeURL, outboundListener)
	case typeURL == xdsclient.ClusterType && host == name:
		return parseYAML(m.t, typeURL, `{name: `+name+`, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}`)
	case typeURL == xdsclient.ClusterType:
		return parseYAML(m.t, typeURL, `{name: "`+name+`", type: EDS, eds_cluster_config: {eds_config: {ads: {}}}, connect_timeout: 10s}`)
	case typeURL == xdsclient.RouteType:
		return parseYAML(m.t, typeURL, `{name: "`+name+`", virtual_hosts: [{name: "`+host+`:80", domains: ["*"], routes: [{name: default, match: {prefix: /}, route: {cluster: "outbound|80||`+host+`",
			timeout: 0s, retry_policy: {retry_on: "connect-failure,refused-stream,unavailable,cancelled", num_retries: 2}}}],
			response_headers_to_add: [{header: {key: x-service, value: "`+host+`"}}]}]}`)
	case typeURL == xdsclient.EndpointType:
		port := "8080"
		if host == headless {
			port = "9042"
		}
		return parseYAML(m.t, typeURL, `{cluster_name: "`+name+`", endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: `+port+`}}}}]}]}`)
	case typeURL == xdsclient.WorkloadType && name == "10.0.0.1":
		return &meshpb.Workload{Addresses: [][]byte{{10, 0, 0, 1}}, Namespace: "shop", Name: "web-1", Workload: "web"}
	}
	return nil
}

func (m *largeMesh) index() (out []*discoveryv3.Resource) {
	add := func(s *meshpb.Service) {
		a, _ := anypb.New(s)
		out = append(out, &discoveryv3.Resource{Name: s.GetNamespace() + "/" + s.GetHost(), Version: "1", Resource: a})
	}
	for i := range m.services {
		add(&meshpb.Service{
			Host: m.host(i), Namespace: fmt.Sprintf("namespace-%d", i%50), Addresses: [][]byte{{10, 96, byte(i >> 8), byte(i)}},
			SubjectAltNames: []string{"spiffe://cluster.local/ns/shop/sa/" + m.host(i)}, Ports: []*meshpb.Port{{Number: 80, Protocol: meshpb.Protocol_HTTP}},
		})
	}
	add(&meshpb.Service{Host: headless, Namespace: "shop", Headless: true, Ports: []*meshpb.Port{{Number: 9042, Protocol: meshpb.Protocol_TCP}}})
	return out
}

// DeltaAggregatedResources implements the service.
func (m *largeMesh) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if req.GetErrorDetail() != nil {
			m.t.Errorf("rejected: %s", req.GetErrorDetail().GetMessage())
		}
		if req.GetResponseNonce() != "" {
			continue
		}
		m.mu.Lock()
		m.asked[req.GetTypeUrl()] = append(m.asked[req.GetTypeUrl()], req.GetResourceNamesSubscribe()...)
		m.mu.Unlock()
		resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: req.GetTypeUrl(), Nonce: "n"}
		if req.GetTypeUrl() == xdsclient.ServiceType {
			resp.Resources = m.index()
		}
		for _, name := range req.GetResourceNamesSubscribe() {
			if r := m.named(req.GetTypeUrl(), name); r != nil {
				a, _ := anypb.New(r)
				resp.Resources = append(resp.Resources, &discoveryv3.Resource{Name: name, Version: "1", Resource: a})
			} else {
				resp.RemovedResources = append(resp.RemovedResources, name)
			}
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

// serve runs the server, and gives the configuration of a sidecar that asks it.
func (m *largeMesh) serve() (*grpc.Server, proxy.Options) {
	m.t.Helper()
	m.asked = map[string][]string{}
	redirect(m.t, "15001")
	must(m.t, nil, "ip", "route", "add", "10.96.0.0/16", "dev", "lo")
	web(m.t, "10.0.0.1:8080", "web")
	app(m.t, "10.0.0.1:9042", greets)
	app(m.t, "10.0.0.3:7000", greets)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	s := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, m)
	go func() { _ = s.Serve(ln) }()
	m.t.Cleanup(s.Stop)
	return s, proxy.Options{
		Bootstrap: bootstrap.ToldSidecar(&corev3.Node{Id: "sidecar~10.0.0.1~a.b~b.svc.cluster.local"}, bootstrap.XDS{Address: ln.Addr().String(), Plaintext: true}),
		DrainTime: -1, WarmTimeout: time.Second,
	}
}

// start runs a sidecar until its listener is open.
func (m *largeMesh) start(o proxy.Options) *running {
	m.t.Helper()
	r := run(m.t, "", o)
	eventually(m.t, "the index has come, and the listener is open", func() bool {
		services, _ := r.Server().Index().Counts()
		all := r.Server().Listeners()
		return services == m.services+1 && len(all) == 1 && len(all[0].Addresses) == 1
	})
	return r
}

// use has the Pod ask a Service.
func (m *largeMesh) use(i int) {
	m.t.Helper()
	service, body, status := request(m.t, fmt.Sprintf("10.96.%d.%d:80", i>>8, i&255), m.host(i))
	if service != m.host(i) || body != "web "+m.host(i) || status != 200 {
		m.t.Errorf("%s: %d, %q of %q", m.host(i), status, body, service)
	}
}

// A sidecar has routes, clusters and endpoints of what its Pod uses, and knows of addresses that its Pod has to do with; all from the first request on.
// After a restart while the control plane is away it has them still.
func TestOnDemand(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	m := &largeMesh{services: 300, t: t}
	s, o := m.serve()
	o.Directory = filepath.Join(t.TempDir(), "state")
	first := m.start(o)
	var wait sync.WaitGroup
	for range 4 { // the first requests come together
		wait.Go(func() { m.use(3) })
	}
	wait.Wait()
	m.use(299)
	if got := greeting(t, "10.0.0.1:9042"); !strings.HasPrefix(got, "hello") {
		t.Errorf("an endpoint of a headless Service: %q", got)
	}
	if got := greeting(t, "10.0.0.3:7000"); !strings.HasPrefix(got, "hello") {
		t.Errorf("somebody whom nobody knows: %q", got)
	}
	for typeURL, want := range map[string][]string{
		xdsclient.RouteType:    {"80|" + m.host(299), "80|" + m.host(3)},
		xdsclient.ClusterType:  {"PassthroughCluster", "outbound|80||" + m.host(299), "outbound|80||" + m.host(3), "outbound|9042||" + headless, "weft-workloads"},
		xdsclient.EndpointType: {"outbound|80||" + m.host(299), "outbound|80||" + m.host(3), "outbound|9042||" + headless},
		xdsclient.WorkloadType: {"10.0.0.1", "10.0.0.3"}, // endpoints of which nothing says whose they are are asked for too: metrics name them
	} {
		if got := m.names(typeURL); !slices.Equal(got, want) {
			t.Errorf("of %s was asked for %q, want %q", typeURL, got, want)
		}
	}
	if c := first.Server().Clusters(); len(c) != 5 {
		t.Errorf("%d clusters", len(c))
	}

	first.end()
	s.Stop()
	again := m.start(o)
	m.use(3)
	m.use(299)
	if got := greeting(t, "10.0.0.1:9042"); !strings.HasPrefix(got, "hello") {
		t.Errorf("an endpoint of a headless Service, after a restart: %q", got)
	}
	if n := len(again.Server().Clusters()); n != 5 {
		t.Errorf("%d clusters after a restart", n)
	}
}

// What is asked for because it is used goes with its Service; what runs at an address is followed for the latest addresses only.
func TestWhatIsUsedIsForgotten(t *testing.T) {
	s := newDynamic(t, server.Options{})
	if err := s.Static(&bootstrap.Config{XDS: &bootstrap.XDS{Index: true}}); err != nil {
		t.Fatal(err)
	}
	s.must(xdsclient.ServiceType, `{host: web.shop.svc.cluster.local, namespace: shop, ports: [{number: 80, protocol: HTTP}]}`)
	s.Restoring(xdsclient.RouteType, []string{"80|web.shop.svc.cluster.local"})
	s.Restoring(xdsclient.ClusterType, []string{"outbound|80||web.shop.svc.cluster.local"})
	for i := range 5000 {
		s.Restoring(xdsclient.WorkloadType, []string{fmt.Sprintf("10.1.%d.%d", i>>8, i&255)})
	}
	s.Applied(xdsclient.ServiceType)
	if !s.has("RouteConfiguration 80|web.shop.svc.cluster.local") || !s.has("Cluster outbound|80||web.shop.svc.cluster.local") {
		t.Errorf("asked for %v", s.names)
	}
	s.Remove(xdsclient.ServiceType, "shop/web.shop.svc.cluster.local")
	s.Applied(xdsclient.ServiceType)
	if s.has("RouteConfiguration 80|web.shop.svc.cluster.local") || s.has("Cluster outbound|80||web.shop.svc.cluster.local") {
		t.Errorf("still asked for %v", s.names)
	}
	if s.has("Workload 10.1.0.0") || !s.has("Workload 10.1.19.135") || len(s.names) > 4096 {
		t.Errorf("%d addresses", len(s.names))
	}
}

// Of a Service that goes and comes back what is used is asked for again.
func TestServiceComesBack(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	s := newPod(t)
	web(t, "10.0.0.1:8080", "web")
	const routes = "RouteConfiguration 80|web.shop.svc.cluster.local"
	for range 2 {
		s.service("web", `addresses: [`+bytesOf("10.96.0.1")+`], ports: [{number: 80, protocol: HTTP}]`, 80, "10.0.0.1:8080")
		if service, _, status := request(t, "10.96.0.1:80", "web"); service != "web" || status != 200 || !s.has(routes) {
			t.Errorf("%d of %q, asked for %v", status, service, s.names)
		}
		s.Remove(xdsclient.ServiceType, "shop/web.shop.svc.cluster.local")
		s.Applied(xdsclient.ServiceType)
		if s.has(routes) {
			t.Errorf("still asked for %v", s.names)
		}
	}
}

// Routes that lead to a cluster of which nothing has come wait for it: until then requests take those before.
func TestRoutesWaitForTheirClusters(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	s := newPod(t)
	web(t, "10.0.0.1:8080", "web")
	web(t, "10.0.0.3:8080", "next")
	s.service("web", `addresses: [`+bytesOf("10.96.0.1")+`], ports: [{number: 80, protocol: HTTP}]`, 80, "10.0.0.1:8080")
	says := func() string {
		_, body, status := request(t, "10.96.0.1:80", "web")
		return fmt.Sprint(status, " ", body)
	}
	if got := says(); got != "200 web web" {
		t.Fatal(got)
	}
	lead := func(cluster string) {
		s.must(xdsclient.RouteType, `{name: "80|web.shop.svc.cluster.local", virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: "`+cluster+`"}}]}]}`)
	}
	lead("outbound|80|next|web.shop.svc.cluster.local")
	if got := says(); got != "200 web web" || !s.has("Cluster outbound|80|next|web.shop.svc.cluster.local") {
		t.Errorf("while the cluster is awaited: %q, asked for %v", got, s.names)
	}
	s.must(xdsclient.ClusterType, cluster(`"outbound|80|next|web.shop.svc.cluster.local"`, "", "10.0.0.3:8080"))
	eventually(t, "the new routes are in force", func() bool { return says() == "200 next web" })
	lead("outbound|80|none|web.shop.svc.cluster.local")
	s.Remove(xdsclient.ClusterType, "outbound|80|none|web.shop.svc.cluster.local") // there is none such
	s.Applied(xdsclient.ClusterType)
	eventually(t, "requests are refused", func() bool { return strings.HasPrefix(says(), "503") })
}

// What a large mesh costs a sidecar that uses little of it.
func TestMemoryOfALargeMesh(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	m := &largeMesh{services: 1000, t: t}
	_, o := m.serve()
	heap := func() uint64 {
		debug.FreeOSMemory()
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		return ms.HeapAlloc
	}
	before := heap()
	r := m.start(o)
	status := r.XDS().Status()
	if i := slices.IndexFunc(status.Types, func(s xdsclient.TypeStatus) bool { return s.Rejections > 0 }); i >= 0 {
		t.Errorf("%+v", status.Types[i])
	}
	idle := heap()
	for i := range 1000 {
		m.use(i)
	}
	t.Logf("the heap grew by %.1f MB with 1,000 Services known, and by %.1f MB with all of them in use", float64(idle-before)/1e6, float64(heap()-before)/1e6)
	if idle-before > 6<<20 {
		t.Errorf("%d bytes for 1,000 Services that are not used", idle-before)
	}
}
