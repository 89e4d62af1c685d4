package explain

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/service"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

const declared = `
metadata: {namespace: shop, name: web}
spec:
  type: LoadBalancer
  clusterIPs: [10.96.0.7, "fd96::7"]
  selector: {app: web}
  externalTrafficPolicy: Local
  sessionAffinity: ClientIP
  loadBalancerSourceRanges: [203.0.113.0/24]
  ports: [{name: http, port: 80, targetPort: web, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 10.89.0.200}]}}
---
metadata: {namespace: shop, name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 5432}]}
---
metadata: {namespace: shop, name: alias}
spec: {type: ExternalName, externalName: registry.example.org}
---
metadata: {namespace: shop, name: empty}
spec: {clusterIP: 10.96.0.8, selector: {app: empty}, internalTrafficPolicy: Local, ports: [{port: 80}]}
`

const endpointSlices = `
metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.244.1.1], nodeName: n1, targetRef: {kind: Pod, name: web-a}}
- {addresses: [10.244.2.1], nodeName: n2, targetRef: {kind: Pod, name: web-b}}
- {addresses: [10.244.2.2], nodeName: n2, conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.244.2.3], nodeName: n2, conditions: {ready: false}}
---
metadata: {namespace: shop, name: db-1, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{port: 5432}]
endpoints: [{addresses: [10.244.1.9], nodeName: n1}]
---
metadata: {namespace: shop, name: empty-1, labels: {kubernetes.io/service-name: empty}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.2.7], nodeName: n2}]
`

func world(t *testing.T) *compose.Model {
	s := store.New(nil)
	tables := kube.NewTables(s)
	o := service.Objects{Services: tables.Services, Slices: tables.EndpointSlices, SlicesByService: tables.SlicesByService, Nodes: tables.Nodes}
	m := compose.Define(s.DB(), o, service.Define(s.DB(), o))
	s.Source("test").Commit(func(tx *store.Tx) {
		for _, doc := range strings.Split(declared, "---") {
			tables.Services.Put(tx, read[corev1.Service](t, doc))
		}
		for _, doc := range strings.Split(endpointSlices, "---") {
			tables.EndpointSlices.Put(tx, read[discoveryv1.EndpointSlice](t, doc))
		}
	})
	return m
}

func read[T any](t *testing.T, doc string) *T {
	o := new(T)
	if err := yaml.Unmarshal([]byte(doc), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestConnection(t *testing.T) {
	m := world(t)
	inside := func(host string, port uint16) Question {
		return Question{Protocol: model.TCP, Host: host, Port: port, Namespace: "shop", Node: "n1", Domain: "cluster.local"}
	}
	outside := func(host string, port uint16, node string) Question {
		return Question{Protocol: model.TCP, Host: host, Port: port, Outside: true, Node: node, Domain: "cluster.local"}
	}
	for _, c := range []struct {
		name   string
		q      Question
		answer string
		steps  []string // parts of "x what: text [origin]", in this order; x marks what did not match
	}{
		{"short name", inside("web", 80), "goes to one of 2 endpoints: 10.244.1.1:8080, 10.244.2.1:8080", []string{
			"name: web.shop.svc.cluster.local is Service shop/web", "port: port 80 leads to targetPort web [Service shop/web spec.ports[0]]", "address: ClusterIP 10.96.0.7",
			"policy: a client address keeps its endpoint for 3h0m0s", "[Service shop/web spec.sessionAffinity]",
			"endpoint: 10.244.1.1:8080 Pod web-a on n1 [EndpointSlice shop/web-1]", "x endpoint: 10.244.2.2:8080 on n2: terminating", "x endpoint: 10.244.2.3:8080 on n2: not ready",
		}},
		{"full name with its dot", inside("web.shop.svc.cluster.local.", 80), "goes to one of 2", nil},
		{"name of another namespace", Question{Protocol: model.TCP, Host: "web.shop", Port: 80, Namespace: "other", Node: "n1", Domain: "cluster.local"}, "goes to one of 2", []string{"x name: web.shop.other.svc.cluster.local: there is no Service"}},
		{"address", inside("10.96.0.7", 80), "goes to one of 2", []string{"address: 10.96.0.7 is Service shop/web [Service shop/web spec.clusterIPs]"}},
		{"other family without endpoints", inside("fd96::7", 80), "refused at once: no endpoint is ready", nil},
		{"port that is not there", inside("web", 81), "refused at once: Service shop/web has no port TCP 81", []string{"x port: the Service has TCP 80 (node port 30080)"}},
		{"no such name", inside("nobody", 80), `weft has no name "nobody"`, []string{"x name: nobody.shop.svc.cluster.local: there is no Service shop/nobody", "x name: nobody is not in the cluster's domain"}},
		{"no such address", inside("192.0.2.1", 80), "192.0.2.1 is no Service's", nil},
		{"internal policy Local", inside("empty", 80), "dropped: the traffic policy allows only endpoints of node n1", []string{"policy: Local: only endpoints on node n1 [Service shop/empty spec.internalTrafficPolicy]", "x endpoint: 10.244.2.7:8080 on n2: not on node n1"}},
		{"node port from outside", outside("", 30080, "n2"), "goes to one of 1 endpoints: 10.244.2.1:8080", []string{"node port: TCP 30080 on every node is Service shop/web", "policy: Local: only endpoints on node n2"}},
		{"node port where there is none", outside("", 30080, "n3"), "dropped: the traffic policy", nil},
		{"load-balancer address", outside("10.89.0.200", 80, "n1"), "goes to one of 1 endpoints: 10.244.1.1:8080", []string{"[Service shop/web status.loadBalancer.ingress]", "policy: only clients in [203.0.113.0/24]"}},
		{"load-balancer address from inside", inside("10.89.0.200", 80), "goes to one of 2", []string{"policy: Local, which does not bind clients inside the cluster"}},
		{"headless", inside("db", 5432), "the client connects to port 5432 of one of 10.244.1.9", []string{"service: headless"}},
		{"alias", inside("alias", 443), "the client connects to registry.example.org itself", []string{"service: an alias: DNS answers CNAME registry.example.org"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			trail := Connection(m, c.q)
			if !strings.Contains(trail.Answer, c.answer) {
				t.Errorf("answer %q, want %q", trail.Answer, c.answer)
			}
			said := show(trail)
			rest := said
			for _, want := range c.steps {
				i := strings.Index(rest, want)
				if i < 0 {
					t.Fatalf("want, in this order, %q in\n%s", want, said)
				}
				rest = rest[i+len(want):]
			}
		})
	}
}

func show(t Trail) string {
	var b strings.Builder
	for _, s := range t.Steps {
		if s.Reject {
			b.WriteString("x ")
		}
		b.WriteString(s.What + ": " + s.Text + " [" + s.Origin.String() + "]\n")
	}
	return b.String()
}
