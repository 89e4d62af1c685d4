package kube

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/store"
)

func istioKindList() []*Kind {
	k := NewTables(store.New(nil)).Kind
	return []*Kind{k.Gateway, k.VirtualService, k.DestinationRule, k.ServiceEntry, k.WorkloadEntry,
		k.PeerAuthentication, k.AuthorizationPolicy, k.RequestAuthentication}
}

const virtualServices = "/apis/networking.istio.io/v1/virtualservices"

func readIstio(t *testing.T, file, data string) (objects []Object, findings []string) {
	t.Helper()
	ds, fs := parse(istioKindList(), file, []byte(data))
	for _, d := range ds {
		objects = append(objects, d.object)
	}
	for _, f := range fs {
		findings = append(findings, f.String())
	}
	return objects, findings
}

// A manifest means the same in every version.
func TestIstioOfAllVersions(t *testing.T) {
	const rest = `
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http:
  - match: [{uri: {prefix: /a}, headers: {x-user: {exact: me}}, ignoreUriCase: true}]
    timeout: 1.5s
    mirror: {host: copy}
    mirror_percent: 7
    route: [{destination: {host: web, subset: v1, port: {number: 80}}, weight: 9}]
status: {observedGeneration: "3"}
`
	want, findings := readIstio(t, "a.yaml", "apiVersion: networking.istio.io/v1"+rest)
	if len(want) != 1 || findings != nil {
		t.Fatalf("%d objects, %q", len(want), findings)
	}
	vs := want[0].(*networkingv1.VirtualService)
	if h := vs.Spec.Http[0]; h.Timeout.AsDuration().String() != "1.5s" || h.Match[0].Headers["x-user"].GetExact() != "me" || h.MirrorPercent.Value != 7 { //nolint:staticcheck // deprecated, and still read
		t.Errorf("%v", h)
	}
	if vs.Status.ObservedGeneration != 0 {
		t.Error("the status is kept")
	}
	for _, version := range []string{"v1beta1", "v1alpha3"} {
		got, findings := readIstio(t, "a.yaml", "apiVersion: networking.istio.io/"+version+rest)
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" || findings != nil {
			t.Errorf("%s: %q (-v1 +it)\n%s", version, findings, d)
		}
	}
}

func TestIstioManifestsAreReadStrictly(t *testing.T) {
	const head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web, namespace: shop}\n"
	for _, tc := range []struct {
		name, file, data string
		objects          int
		findings         []string
	}{
		{"fields that nobody has", "a.yaml", head + "spec:\n  host: [a]\n  http:\n  - rout: []\n    match: [{headers: {x: {exac: a}}}]\n    retries: {per_try_timeout: 1s}\n    mirrorPercentage: {valu: 1}\n", 1, []string{
			"error VirtualService shop/web spec.host: is not a field of VirtualService; ignored (a.yaml document 1) (manifest-unknown-field)",
			"error VirtualService shop/web spec.http[0].match[0].headers.x.exac: is not a field of VirtualService; ignored (a.yaml document 1) (manifest-unknown-field)",
			"error VirtualService shop/web spec.http[0].mirrorPercentage.valu: is not a field of VirtualService; ignored (a.yaml document 1) (manifest-unknown-field)",
			"error VirtualService shop/web spec.http[0].retries.per_try_timeout: is not a field of VirtualService; ignored (a.yaml document 1) (manifest-unknown-field)",
			"error VirtualService shop/web spec.http[0].rout: is not a field of VirtualService; ignored (a.yaml document 1) (manifest-unknown-field)",
		}},
		{"fields beside the spec", "a.yaml", head + "specs: {}\n", 1, []string{
			"error VirtualService shop/web specs: is not a field of VirtualService; ignored (a.yaml document 1) (manifest-unknown-field)",
		}},
		{"a field that stands twice in JSON", "a.json", `{"apiVersion":"networking.istio.io/v1","kind":"Gateway","metadata":{"name":"g"},"spec":{"servers":[{"bind":"a","bind":"b"}]}}`, 1, []string{
			"warning Gateway default/g spec.servers[0].bind: stands twice; the later one is used (a.json document 1) (manifest-doubled-field)",
		}},
		{"fields of the wrong type", "a.yaml", head + "spec: {http: [{timeout: 5}]}\n---\n" + head + "spec: {http: {}}\n---\n" + head + "spec: 7\n", 0, []string{
			"error VirtualService shop/web: VirtualService: spec: syntax error: unexpected token 5; ignored (a.yaml document 1) (manifest-unreadable)",
			"error VirtualService shop/web: VirtualService: spec: syntax error: unexpected token {; ignored (a.yaml document 2) (manifest-unreadable)",
			"error VirtualService shop/web: VirtualService: spec: syntax error: unexpected token 7; ignored (a.yaml document 3) (manifest-unreadable)",
		}},
		{"no spec at all", "a.yaml", head + "---\n" + strings.Replace(head, "web", "other", 1) + "spec: null\n", 2, nil},
		{"a value that is no choice", "a.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: a, trafficPolicy: {tls: {mode: SIMPEL}}}\n", 0, []string{
			`error DestinationRule d: DestinationRule: spec: invalid value for enum field mode: "SIMPEL"; ignored (a.yaml document 1) (manifest-unreadable)`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects, findings := readIstio(t, tc.file, tc.data)
			if len(objects) != tc.objects {
				t.Errorf("%d objects, want %d", len(objects), tc.objects)
			}
			if d := cmp.Diff(tc.findings, findings); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// Policies of the security API are read as strictly, in both of its versions.
func TestIstioSecurityManifests(t *testing.T) {
	const rest = `
kind: PeerAuthentication
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}}
---
apiVersion: VERSION
kind: AuthorizationPolicy
metadata: {name: web, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {path: [/a], paths: [/b]}}]}]}
---
apiVersion: VERSION
kind: RequestAuthentication
metadata: {name: web, namespace: shop}
spec: {jwtRules: [{issuer: me, timeout: 1.5s}]}
`
	for _, version := range []string{"security.istio.io/v1", "security.istio.io/v1beta1"} {
		got, findings := readIstio(t, "a.yaml", strings.ReplaceAll("apiVersion: VERSION"+rest, "VERSION", version))
		wantFindings := []string{"error AuthorizationPolicy shop/web spec.rules[0].to[0].operation.path: is not a field of AuthorizationPolicy; ignored (a.yaml document 2) (manifest-unknown-field)"}
		if d := cmp.Diff(wantFindings, findings); d != "" || len(got) != 3 {
			t.Fatalf("%s: %d objects (-want +got)\n%s", version, len(got), d)
		}
		peer, policy := got[0].(*securityv1.PeerAuthentication), got[1].(*securityv1.AuthorizationPolicy)
		if m := peer.Spec.PortLevelMtls[8080]; m.GetMode().String() != "DISABLE" || peer.Spec.Mtls.Mode.String() != "STRICT" {
			t.Errorf("%s: %v", version, &peer.Spec)
		}
		if p := policy.Spec.Rules[0].To[0].Operation.Paths; policy.Spec.Action.String() != "DENY" || len(p) != 1 {
			t.Errorf("%s: %v", version, &policy.Spec)
		}
	}
}

func istioVirtualService(rv string, routes int) *networkingv1.VirtualService {
	v := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", ResourceVersion: rv, Generation: int64(len(rv))}}
	v.Spec.Hosts = []string{"web"}
	for i := range routes {
		v.Spec.Http = append(v.Spec.Http, &networking.HTTPRoute{
			Match: []*networking.HTTPMatchRequest{{Uri: &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: "/path/" + strconv.Itoa(i)}}}},
			Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "web", Port: &networking.PortSelector{Number: 8080}}}},
		})
	}
	return v
}

// Writing an object anew without another meaning is no news, whatever protobuf keeps inside.
func TestIstioObjectsAreComparedByMeaning(t *testing.T) {
	s := store.New(nil)
	tables, src := NewTables(s), s.Source("test")
	put := func(v *networkingv1.VirtualService) (changed bool) {
		src.Commit(func(tx *store.Tx) { changed = tables.VirtualServices.Put(tx, v) })
		return changed
	}
	if !put(istioVirtualService("1", 10_000)) {
		t.Fatal("a new object is no news")
	}
	again := istioVirtualService("22", 10_000)
	again.Status.ObservedGeneration = 7
	_ = again.Spec.String() // fills what protobuf keeps
	if put(again) {
		t.Error("the same again is news")
	}
	other := istioVirtualService("333", 10_000)
	other.Spec.Http[9_999].Match[0].Gateways = []string{"g"}
	if !put(other) {
		t.Error("another spec is no news")
	}
	labelled := istioVirtualService("4444", 10_000)
	labelled.Spec.Http[9_999].Match[0].Gateways = []string{"g"}
	labelled.Labels = map[string]string{"a": "b"}
	if !put(labelled) {
		t.Error("another label is no news")
	}
}

// One object that cannot be read costs neither the list nor the watch that it comes in.
func TestIstioObjectsFromAnAPIServer(t *testing.T) {
	s := newFakeServer(t)
	s.install(virtualServices)
	bad := &declaration{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bad"}, Spec: []byte(`{"http":[{"timeout":5}]}`)}
	good := &declaration{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "good"}, Spec: []byte(`{"hosts":["a"],"aFieldOfTomorrow":1}`), Status: []byte(`{"a":1}`)}
	s.put(virtualServices, "VirtualService", "networking.istio.io/v1", bad)
	s.put(virtualServices, "VirtualService", "networking.istio.io/v1", good)
	r := start(t, s, func(t *Tables, _ *Kind) []*Kind { return []*Kind{t.Kind.VirtualService, t.Kind.Gateway} })
	if err := r.wait(t); err != nil { // Gateways are not installed
		t.Fatal(err)
	}
	shows := func(want ...string) {
		t.Helper()
		eventually(t, strings.Join(want, " "), func() bool {
			var got []string
			for _, v := range r.tables.VirtualServices.Snapshot() {
				got = append(got, v.Name+"="+strings.Join(v.Spec.Hosts, ","))
			}
			return cmp.Equal(want, got)
		})
	}
	shows("good=a")
	bad.Spec = []byte(`{"hosts":["b"]}`)
	s.put(virtualServices, "VirtualService", "networking.istio.io/v1", bad)
	shows("bad=b", "good=a")
	good.Spec = []byte(`{"hosts":7}`)
	s.put(virtualServices, "VirtualService", "networking.istio.io/v1", good)
	shows("bad=b")
}

// An API server of an older Istio serves an older version.
func TestIstioOfAnOlderServer(t *testing.T) {
	const beta = "/apis/networking.istio.io/v1beta1/virtualservices"
	s := newFakeServer(t)
	s.install(beta)
	s.put(beta, "VirtualService", "networking.istio.io/v1beta1", &declaration{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old"}, Spec: []byte(`{"hosts":["a"]}`)})
	r := start(t, s, func(t *Tables, _ *Kind) []*Kind { return []*Kind{t.Kind.VirtualService} })
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the object", func() bool {
		v := r.tables.VirtualServices.Peek(store.Key{Namespace: "shop", Name: "old"})
		return v != nil && v.Spec.Hosts[0] == "a"
	})
}

// FuzzDeclaration: nothing that stands in a folder makes the reader panic, and what is taken out is taken out for good.
func FuzzDeclaration(f *testing.F) {
	f.Add(`{"hosts":["a"],"http":[{"match":[{"headers":{"x":{"exact":"a"}}}],"timeout":"1s"}]}`)
	f.Add(`{"http":[{"match":{"headers":7}}],"tls":null,"x":{"y":[]}}`)
	f.Add(`[]`)
	f.Add(`{"http":[null,{"mirrorPercent":{"value":1}}],"http":[]}`)
	f.Fuzz(func(t *testing.T, spec string) {
		d := &declaration{Spec: []byte(spec)}
		of := (&networkingv1.VirtualService{}).Spec.ProtoReflect().Descriptor()
		if _, err := d.prune(of); err != nil {
			return
		}
		if again, err := d.prune(of); err != nil || len(again) > 0 {
			t.Errorf("again: %v %v in %s", again, err, d.Spec)
		}
	})
}
