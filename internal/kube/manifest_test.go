package kube

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/store"
)

func coreKinds() []*Kind {
	k := NewTables(store.New(nil)).Kind
	return []*Kind{k.Service, k.EndpointSlice, k.Node, k.Namespace}
}

// read gives what a file says in short: objects as "Kind ns/name@place", findings in full.
func read(name, data string) (objects, findings []string) {
	ds, fs := parse(coreKinds(), name, []byte(data))
	for _, d := range ds {
		objects = append(objects, fmt.Sprintf("%s %s@%s", d.kind.name, keyOf(d.object), d.place))
	}
	for _, f := range fs {
		findings = append(findings, f.String())
	}
	return objects, findings
}

func TestParse(t *testing.T) {
	const good = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {ports: [{port: 80}]}\n"
	for _, tc := range []struct {
		name, file, data  string
		objects, findings []string
	}{
		{"one", "a.yaml", good, []string{"Service shop/web@a.yaml document 1"}, nil},
		{"blank documents, comments, directives, carriage returns, a byte order mark", "a.yaml",
			"\xef\xbb\xbf%YAML 1.1\r\n# first\r\n---\r\n" + strings.ReplaceAll(good, "\n", "\r\n") + "---\r\n# nothing\r\n---\r\napiVersion: v1\r\nkind: Node\r\nmetadata: {name: n1}\r\n...\r\n",
			[]string{"Service shop/web@a.yaml document 1", "Node n1@a.yaml document 3"}, nil},
		{"content behind the marker", "a.yaml", "--- {apiVersion: v1, kind: Node, metadata: {name: n1}}\n", []string{"Node n1@a.yaml document 1"}, nil},
		{"a broken document among good ones", "a.yaml",
			good + "---\napiVersion: v1\nkind: Service\nmetadata: {name: broken\nspec: [\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n",
			[]string{"Service shop/web@a.yaml document 1", "Node n1@a.yaml document 3"},
			[]string{"error Manifest a.yaml document 2: line 8: did not find expected ',' or '}'; nothing of it is used (manifest-unreadable)"}},
		{"a block that is not closed cannot swallow the next document", "a.yaml",
			"apiVersion: v1\nkind: Node\nmetadata:\n  name: n1\n  annotations:\n    a: |\n      text\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n2}\n",
			[]string{"Node n1@a.yaml document 1", "Node n2@a.yaml document 2"}, nil},
		{"unknown fields", "a.yaml",
			"apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec:\n  selektor: {a: b}\n  ports:\n  - port: 80\n    nodeport: 30080\n",
			[]string{"Service shop/web@a.yaml document 1"},
			[]string{
				"error Service shop/web spec.ports[0].nodeport: is not a field of Service; ignored (a.yaml document 1) (manifest-unknown-field)",
				"error Service shop/web spec.selektor: is not a field of Service; ignored (a.yaml document 1) (manifest-unknown-field)",
			}},
		{"a field that stands twice", "a.yaml",
			"apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  clusterIP: 10.0.0.1\n  clusterIP: 10.0.0.2\n",
			[]string{"Service default/web@a.yaml document 1"},
			[]string{`warning Manifest a.yaml document 1: line 6: key "clusterIP" already set in map (manifest-doubled-field)`}},
		{"a field that stands twice in JSON", "a.json",
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"clusterIP":"10.0.0.1","clusterIP":"10.0.0.2"}}`,
			[]string{"Service default/web@a.json document 1"},
			[]string{"warning Service default/web spec.clusterIP: stands twice; the later one is used (a.json document 1) (manifest-doubled-field)"}},
		{"a field of the wrong type", "a.yaml",
			"apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {ports: [{port: eighty}]}\n---\n" + good,
			[]string{"Service shop/web@a.yaml document 2"},
			[]string{"error Service shop/web: cannot unmarshal string into field ServicePort.spec.ports.port of type int32; ignored (a.yaml document 1) (manifest-unreadable)"}},
		{"lists", "a.yaml",
			"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: n1}}\n- null\n- 7\n- {apiVersion: v1, kind: NodeList, items: [{metadata: {name: n2}}]}\n",
			[]string{"Node n1@a.yaml document 1 items[0]", "Node n2@a.yaml document 1 items[3] items[0]"},
			[]string{"error Manifest a.yaml document 1 items[2]: cannot unmarshal number into value of type kube.head; nothing of it is used (manifest-unreadable)"}},
		{"values of a JSON file", "a.json",
			`{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}` + "\n" + `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n2"}}` + "\n" + `{"apiVersion": oops}`,
			[]string{"Node n1@a.json document 1", "Node n2@a.json document 2"},
			[]string{"error Manifest a.json document 3: line 3: invalid character 'o' looking for beginning of value; nothing of it is used (manifest-unreadable)"}},
		{"kinds of others are no news, unknown ones are", "a.yaml",
			"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\napiVersion: v1\nkind: Servicce\nmetadata: {name: web, namespace: shop}\n",
			nil,
			[]string{"warning Servicce shop/web kind: Servicce in v1 is not a kind that is read here; ignored (a.yaml document 2) (manifest-unknown-kind)"}},
		{"a version that is not read", "a.yaml", "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: web, namespace: shop}\n", nil,
			[]string{"error EndpointSlice shop/web apiVersion: EndpointSlice is read in discovery.k8s.io/v1, not in discovery.k8s.io/v1beta1; ignored (a.yaml document 1) (manifest-wrong-version)"}},
		{"bad metadata", "a.yaml",
			"apiVersion: v1\nkind: Service\nmetadata: {namespace: shop}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1, namespace: shop}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: ../x}\n---\nkind: Service\n",
			nil,
			[]string{
				"error Service shop/ metadata.name: an object needs a name; the object is ignored (a.yaml document 1) (manifest-bad-metadata)",
				"error Node shop/n1 metadata.namespace: a Node is in no namespace; the object is ignored (a.yaml document 2) (manifest-bad-metadata)",
				"error Service ../x metadata.name: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'); the object is ignored (a.yaml document 3) (manifest-bad-metadata)",
				"error Manifest a.yaml document 4: an object needs apiVersion and kind; nothing of it is used (manifest-unreadable)",
			}},
		{"empty", "a.yaml", "", nil, nil},
		{"text", "a.yaml", "just text\n", nil,
			[]string{"error Manifest a.yaml document 1: cannot unmarshal string into value of type kube.head; nothing of it is used (manifest-unreadable)"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects, findings := read(tc.file, tc.data)
			if d := cmp.Diff(tc.objects, objects); d != "" {
				t.Errorf("objects:\n%s", d)
			}
			if d := cmp.Diff(tc.findings, findings); d != "" {
				t.Errorf("findings:\n%s", d)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// The defaults are those of an API server: what comes out is what "kubectl get -o yaml" shows, less what a server allocates.
func TestDefaults(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "default", Name: "x"}
	both := []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	for _, tc := range []struct {
		name, data string
		want       any
	}{
		{"ClusterIP", "kind: Service\nspec: {clusterIP: 10.0.0.1, ports: [{port: 80}, {port: 53, protocol: UDP, targetPort: dns}]}",
			&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
				Type: "ClusterIP", ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}, SessionAffinity: "None",
				IPFamilies: both[:1], IPFamilyPolicy: ptr(corev1.IPFamilyPolicySingleStack), InternalTrafficPolicy: ptr(corev1.ServiceInternalTrafficPolicyCluster),
				Ports: []corev1.ServicePort{
					{Port: 80, Protocol: "TCP", TargetPort: intstr.FromInt32(80)}, {Port: 53, Protocol: "UDP", TargetPort: intstr.FromString("dns")},
				},
			}}},
		{"LoadBalancer", "kind: Service\nspec: {type: LoadBalancer, clusterIPs: ['10.0.0.1', 'fd00::1'], sessionAffinity: ClientIP}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: h}]}}",
			&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
				Type: "LoadBalancer", ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1", "fd00::1"}, SessionAffinity: "ClientIP",
				SessionAffinityConfig: &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr(int32(10800))}},
				IPFamilies:            both, IPFamilyPolicy: ptr(corev1.IPFamilyPolicyPreferDualStack),
				InternalTrafficPolicy: ptr(corev1.ServiceInternalTrafficPolicyCluster), ExternalTrafficPolicy: "Cluster", AllocateLoadBalancerNodePorts: ptr(true),
			}, Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{
				{IP: "192.0.2.1", IPMode: ptr(corev1.LoadBalancerIPModeVIP)}, {Hostname: "h"},
			}}}}},
		{"headless", "kind: Service\nspec: {clusterIP: None}",
			&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
				Type: "ClusterIP", ClusterIP: "None", ClusterIPs: []string{"None"}, SessionAffinity: "None", IPFamilies: both,
				IPFamilyPolicy: ptr(corev1.IPFamilyPolicyPreferDualStack), InternalTrafficPolicy: ptr(corev1.ServiceInternalTrafficPolicyCluster),
			}}},
		{"external IPs", "kind: Service\nspec: {clusterIP: 'fd00::1', externalIPs: [192.0.2.1]}",
			&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
				Type: "ClusterIP", ClusterIP: "fd00::1", ClusterIPs: []string{"fd00::1"}, SessionAffinity: "None", IPFamilies: both[1:], ExternalIPs: []string{"192.0.2.1"},
				IPFamilyPolicy: ptr(corev1.IPFamilyPolicySingleStack), InternalTrafficPolicy: ptr(corev1.ServiceInternalTrafficPolicyCluster), ExternalTrafficPolicy: "Cluster",
			}}},
		{"ExternalName", "kind: Service\nspec: {type: ExternalName, externalName: example.org}",
			&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Type: "ExternalName", ExternalName: "example.org", SessionAffinity: "None"}}},
		{"EndpointSlice", "kind: EndpointSlice\naddressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [10.0.0.1]}]",
			&discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: "IPv4",
				Ports:     []discoveryv1.EndpointPort{{Name: ptr(""), Protocol: ptr(corev1.ProtocolTCP), Port: ptr(int32(80))}},
				Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}}}},
		{"Namespace", "kind: Namespace",
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: map[string]string{"kubernetes.io/metadata.name": "x"}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := "apiVersion: v1\n"
			if tc.name == "EndpointSlice" {
				api = "apiVersion: discovery.k8s.io/v1\n"
			}
			ds, fs := parse(coreKinds(), "a.yaml", []byte(api+tc.data+"\nmetadata: {name: x}\n"))
			if len(ds) != 1 || len(fs) > 0 {
				t.Fatalf("%d objects, findings %v", len(ds), fs)
			}
			if d := cmp.Diff(tc.want, any(ds[0].object)); d != "" {
				t.Error(d)
			}
		})
	}
}

// FuzzManifest throws any bytes at the parser: it must not panic, every object must have a name the tables can be keyed by, and every
// finding must say something.
func FuzzManifest(f *testing.F) {
	seeds, err := filepath.Glob("testdata/manifests/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range seeds {
		data, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, filepath.Ext(s) == ".json")
	}
	f.Add([]byte("---\n---\n--- {}\n"), false)
	f.Add([]byte("a: &a [*a]\n"), false)
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{},null,[]]}`), true)
	kinds := coreKinds()
	f.Fuzz(func(t *testing.T, data []byte, isJSON bool) {
		name := "a.yaml"
		if isJSON {
			name = "a.json"
		}
		objects, findings := parse(kinds, name, data)
		for _, o := range objects {
			if o.object.GetName() == "" || (o.object.GetNamespace() == "") == o.kind.namespaced {
				t.Errorf("%s has the key %q", o.place, keyOf(o.object))
			}
		}
		for _, f := range findings {
			if f.Message == "" || f.Code == "" || f.Object.Kind == "" {
				t.Errorf("finding without words: %+v", f)
			}
		}
	})
}
