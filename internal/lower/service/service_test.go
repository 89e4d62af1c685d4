package service

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// world is a store with the lowered queries over it.
type world struct {
	t       *testing.T
	src     *store.Source
	objects Objects
	lowered *Lowered
	db      *derive.DB
}

func newWorld(t *testing.T) *world {
	s := store.New(nil)
	tables := kube.NewTables(s)
	o := Objects{Services: tables.Services, Slices: tables.EndpointSlices, SlicesByService: tables.SlicesByService, Nodes: tables.Nodes}
	return &world{t: t, src: s.Source("test"), objects: o, lowered: Define(s.DB(), o), db: s.DB()}
}

// apply puts the objects of a YAML text; kind and metadata.namespace "shop" may be left to it.
func (w *world) apply(text string) {
	w.t.Helper()
	for _, doc := range strings.Split(text, "\n---\n") {
		var head metav1.TypeMeta
		w.read(doc, &head)
		switch head.Kind {
		case "Service":
			put(w, w.objects.Services, doc)
		case "EndpointSlice":
			put(w, w.objects.Slices, doc)
		case "Node":
			put(w, w.objects.Nodes, doc)
		default:
			w.t.Fatalf("kind %q?", head.Kind)
		}
	}
}

func put[T any](w *world, table *store.Table[T], doc string) {
	w.t.Helper()
	o := new(T)
	w.read(doc, o)
	w.src.Commit(func(tx *store.Tx) { table.Put(tx, o) })
}

func (w *world) read(doc string, into any) {
	w.t.Helper()
	if err := yaml.Unmarshal([]byte(doc), into); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) findings() (out []string) {
	for _, f := range w.db.AllFindings() {
		out = append(out, f.String())
	}
	return out
}

var (
	web  = store.Key{Namespace: "shop", Name: "web"}
	addr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	ap   = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	pfx  = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
)

func ips(s ...string) (out []netip.Addr) {
	for _, x := range s {
		out = append(out, netip.MustParseAddr(x))
	}
	return out
}

func TestServiceLowersWhole(t *testing.T) {
	w := newWorld(t)
	w.apply(`
kind: Service
metadata: {namespace: shop, name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  clusterIP: 10.96.0.7
  clusterIPs: [10.96.0.7, "fd96::7"]
  ipFamilies: [IPv4, IPv6]
  externalIPs: [198.51.100.10]
  externalTrafficPolicy: Local
  internalTrafficPolicy: Local
  healthCheckNodePort: 31000
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
  loadBalancerSourceRanges: [203.0.113.7/24, "2001:db8::/32"]
  ports:
  - {name: http, port: 80, targetPort: web, nodePort: 30080, appProtocol: http}
  - {name: dns, port: 53, protocol: UDP}
status: {loadBalancer: {ingress: [{ip: 10.89.0.200}, {ip: 10.89.0.201, ipMode: Proxy}, {hostname: lb.example.org}]}}`)
	origin := model.Origin{Object: finding.Object{Kind: "Service", Namespace: "shop", Name: "web"}}
	want := &model.Service{
		Name: model.ServiceName(web), Kind: model.VIP,
		ClusterIPs: ips("10.96.0.7", "fd96::7"), ExternalIPs: ips("198.51.100.10"), LoadBalancerIPs: ips("10.89.0.200"),
		Ports: []model.Port{
			{Name: "http", Protocol: model.TCP, Port: 80, NodePort: 30080, AppProtocol: "http", Target: "web", Origin: origin.At("spec.ports[0]")},
			{Name: "dns", Protocol: model.UDP, Port: 53, Target: "53", Origin: origin.At("spec.ports[1]")},
		},
		AffinityTimeout: time.Minute, InternalLocal: true, ExternalLocal: true, HealthCheckNodePort: 31000,
		Restricted: true, SourceRanges: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		LoadBalancer: true, IPv4: true, IPv6: true, Origin: origin,
	}
	if d := cmp.Diff(want, w.lowered.Services.Read(web), addr, pfx); d != "" {
		t.Error("(-want +got)\n" + d)
	}
	if f := w.findings(); f != nil {
		t.Error(f)
	}
}

func TestKindsOfService(t *testing.T) {
	for _, c := range []struct {
		spec string
		kind model.ServiceKind
		name string
	}{
		{"{clusterIP: 10.96.0.7, ports: [{port: 80}]}", model.VIP, ""},
		{"{clusterIP: None, ports: [{port: 80}]}", model.Headless, ""},
		{"{type: ExternalName, externalName: Registry.Example.ORG.}", model.External, "registry.example.org"},
		{"{type: ExternalName, externalName: 192.0.2.1}", model.External, ""},
	} {
		w := newWorld(t)
		w.apply("kind: Service\nmetadata: {namespace: shop, name: web}\nspec: " + c.spec)
		s := w.lowered.Services.Read(web)
		if s.Kind != c.kind || s.ExternalName != c.name {
			t.Errorf("%s: %v %q, want %v %q", c.spec, s.Kind, s.ExternalName, c.kind, c.name)
		}
	}
}

func TestServiceOfAnotherProxyIsNotCarried(t *testing.T) {
	for _, label := range []string{labelProxyName, labelHeadless} {
		w := newWorld(t)
		w.apply("kind: Service\nmetadata: {namespace: shop, name: web, labels: {" + label + ": x}}\nspec: {clusterIP: 10.96.0.7, ports: [{port: 80}]}")
		if !w.lowered.Services.Read(web).Unproxied {
			t.Error(label)
		}
	}
}

// A bad element costs only itself, and the finding names object and field.
func TestFindings(t *testing.T) {
	const head = "kind: Service\nmetadata: {namespace: shop, name: web}\nspec: "
	const slice = "kind: EndpointSlice\nmetadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}\n"
	for _, c := range []struct{ name, object, want string }{
		{"alias to an address", head + "{type: ExternalName, externalName: 192.0.2.1}",
			"error Service shop/web spec.externalName: "},
		{"alias to nonsense", head + "{type: ExternalName, externalName: a..b}", "error Service shop/web spec.externalName: "},
		{"protocol of a Service", head + "{selector: {a: b}, clusterIP: 10.96.0.7, ports: [{port: 80, protocol: QUIC}]}", "error Service shop/web spec.ports[0].protocol: "},
		{"external address", head + "{selector: {a: b}, clusterIP: 10.96.0.7, externalIPs: [198.51.100.1, nonsense]}", "error Service shop/web spec.externalIPs[1]: "},
		{"source range", head + "{type: LoadBalancer, selector: {a: b}, clusterIP: 10.96.0.7, loadBalancerSourceRanges: [10.0.0.0/33]}", "error Service shop/web spec.loadBalancerSourceRanges[0]: "},
		{"no selector and no slices", head + "{clusterIP: 10.96.0.7, ports: [{port: 80}]}", "warning Service shop/web spec.selector: "},
		{"port 0", slice + "addressType: IPv4\nports: [{port: 0}]\nendpoints: [{addresses: [10.244.1.1]}]", "error EndpointSlice shop/web-1 ports[0].port: "},
		{"protocol of a slice", slice + "addressType: IPv4\nports: [{port: 80, protocol: QUIC}]", "error EndpointSlice shop/web-1 ports[0].protocol: "},
		{"wrong family", slice + "addressType: IPv6\nports: [{port: 80}]\nendpoints: [{addresses: [10.244.1.1]}]", "error EndpointSlice shop/web-1 endpoints[0].addresses[0]: "},
		{"name for an address", slice + "addressType: FQDN\nports: [{port: 80}]\nendpoints: [{addresses: [a.example]}]", "warning EndpointSlice shop/web-1 addressType: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(c.object)
			w.lowered.Services.Read(web)
			w.lowered.Endpoints.Read(web)
			got := w.findings()
			if len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
				t.Errorf("got %q, want one that begins %q", got, c.want)
			}
		})
	}
}

func TestRangesThatCannotBeReadLetNobodyIn(t *testing.T) {
	w := newWorld(t)
	w.apply("kind: Service\nmetadata: {namespace: shop, name: web}\nspec: {type: LoadBalancer, clusterIP: 10.96.0.7, loadBalancerSourceRanges: [nonsense]}")
	if s := w.lowered.Services.Read(web); !s.Restricted || len(s.SourceRanges) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRequestedLoadBalancerAddresses(t *testing.T) {
	const annotated = "metadata.annotations[weftmesh.github.io/load-balancer-ips]"
	for _, c := range []struct {
		name, annotations, spec string
		want                    []netip.Addr
		in                      string
		findings                []string
	}{
		{"none", "{}", "", nil, "", nil},
		{"the field", "{}", ", loadBalancerIP: 10.89.0.7", ips("10.89.0.7"), "spec.loadBalancerIP", nil},
		{"the annotation goes before it", `{weftmesh.github.io/load-balancer-ips: "fd89::7, 10.89.0.8"}`, ", loadBalancerIP: 10.89.0.7", ips("10.89.0.8", "fd89::7"), annotated, nil},
		{"one that is none", `{weftmesh.github.io/load-balancer-ips: "x,10.89.0.8"}`, "", ips("10.89.0.8"), annotated,
			[]string{"error Service shop/web " + annotated + `[0]: "x" is no address to carry traffic to; it is left out (invalid-address)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply("kind: Service\nmetadata: {namespace: shop, name: web, annotations: " + c.annotations + "}\nspec: {type: LoadBalancer, selector: {a: b}, clusterIP: 10.96.0.7" + c.spec + "}")
			s := w.lowered.Services.Read(web)
			if diff := cmp.Diff(c.want, s.RequestedIPs, addr); diff != "" {
				t.Error(diff)
			}
			if s.RequestedIn != c.in {
				t.Errorf("requested in %q, want %q", s.RequestedIn, c.in)
			}
			if diff := cmp.Diff(c.findings, w.findings()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEndpointsAreTheUnionOfSlices(t *testing.T) {
	w := newWorld(t)
	const slice = "kind: EndpointSlice\naddressType: IPv4\nports: [{name: http, port: 8080}, {name: adm, port: 9}]\nmetadata: {namespace: shop, labels: {kubernetes.io/service-name: web}, name: "
	w.apply(slice + `a}
endpoints:
- {addresses: [10.244.1.2], nodeName: n1, zone: z1, conditions: {ready: true}, targetRef: {kind: Pod, name: p2}, hints: {forZones: [{name: z2}, {name: z1}], forNodes: [{name: n1}]}}
- {addresses: [10.244.1.1], nodeName: n1, conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.244.1.3], hostname: db-0, conditions: {ready: false}}`)
	w.apply(slice + "b}\nendpoints: [{addresses: [10.244.1.3], hostname: db-0, conditions: {ready: true}}]")
	origin := func(n string) model.Origin {
		return model.Origin{Object: finding.Object{Kind: "EndpointSlice", Namespace: "shop", Name: n}}
	}
	want := []model.Endpoint{
		{AddrPort: netip.MustParseAddrPort("10.244.1.1:8080"), Node: "n1", Serving: true, Terminating: true, Origin: origin("a")},
		{AddrPort: netip.MustParseAddrPort("10.244.1.2:8080"), Node: "n1", Zone: "z1", Workload: "p2", HintNodes: "n1", HintZones: "z1,z2", Ready: true, Serving: true, Origin: origin("a")},
		{AddrPort: netip.MustParseAddrPort("10.244.1.3:8080"), Hostname: "db-0", Ready: true, Serving: true, Origin: origin("b")},
	}
	eps := w.lowered.Endpoints.Read(web)
	if d := cmp.Diff(want, eps.Of("http", model.TCP), ap); d != "" {
		t.Error("(-want +got)\n" + d)
	}
	if len(eps.Ports) != 2 || eps.Ports[0].Port != "adm" {
		t.Errorf("ports %+v", eps.Ports)
	}
}

func TestSlicesWithoutPortsLeadToAddresses(t *testing.T) {
	w := newWorld(t)
	w.apply("kind: EndpointSlice\nmetadata: {namespace: shop, name: a, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nendpoints: [{addresses: [10.244.1.1]}]")
	got := w.lowered.Endpoints.Read(web).Of("", model.TCP)
	if len(got) != 1 || got[0].AddrPort != netip.MustParseAddrPort("10.244.1.1:0") {
		t.Errorf("%+v", got)
	}
}

func TestNode(t *testing.T) {
	w := newWorld(t)
	w.apply(`
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1, node.kubernetes.io/exclude-from-external-load-balancers: ""}}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, "fd44:0:0:1::/64"]}
status:
  addresses: [{type: Hostname, address: n1}, {type: InternalIP, address: 10.89.0.11}, {type: InternalIP, address: "fd89::11"}]
  conditions: [{type: MemoryPressure, status: "False"}, {type: Ready, status: "True"}]`)
	want := &model.Node{Name: "n1", Zone: "z1", Ready: true, Excluded: true, Addresses: ips("10.89.0.11", "fd89::11"),
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd44:0:0:1::/64")}}
	if d := cmp.Diff(want, w.lowered.Nodes.Read(store.Key{Name: "n1"}), addr, pfx, cmpopts.EquateEmpty()); d != "" {
		t.Error("(-want +got)\n" + d)
	}
}

func TestNodeThatIsAboutToGo(t *testing.T) {
	for spec, want := range map[string]bool{
		"{taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}": true,
		"{taints: [{key: other, effect: NoSchedule}]}":                          false,
	} {
		w := newWorld(t)
		w.apply("kind: Node\nmetadata: {name: n1}\nspec: " + spec)
		if got := w.lowered.Nodes.Read(store.Key{Name: "n1"}).Leaving; got != want {
			t.Errorf("%s: %v", spec, got)
		}
	}
}
