package install

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	kubeDNS = "/api/v1/namespaces/kube-system/services/kube-dns"
	other   = "/api/v1/namespaces/shop/services/web"
)

func TestApplyInOrder(t *testing.T) {
	f, i, said := newFakeAPI(t)
	if err := i.Apply(t.Context(), options()); err != nil {
		t.Fatal(err)
	}
	objects, _ := Manifests(options())
	var want []string
	for _, o := range objects {
		want = append(want, "apply "+o.GetObjectKind().GroupVersionKind().Kind+" "+o.GetName())
	}
	if d := cmp.Diff(want, f.did); d != "" {
		t.Errorf("applied:\n%s", d)
	}
	if d := cmp.Diff([]string{
		"node: applying", "node: 0 of 2 ready", "node: 2 of 2 ready", "dns: applying", "dns: 0 of 2 ready", "dns: 2 of 2 ready",
		"control: applying", "control: 0 of 2 ready", "control: 2 of 2 ready", "gateway: applying", "gateway: 0 of 2 ready", "gateway: 2 of 2 ready",
	}, *said); d != "" {
		t.Errorf("told:\n%s", d)
	}
	for _, q := range f.queries {
		if !strings.Contains(q, "fieldManager=weft") || !strings.Contains(q, "force=true") {
			t.Errorf("applied with %s", q)
		}
	}
	// Again: what is there is ours.
	if err := i.Apply(t.Context(), options()); err != nil {
		t.Error(err)
	}
}

// A class that somebody else made stays theirs; the rest is installed.
func TestApplyLeavesIngressClasses(t *testing.T) {
	f, i, said := newFakeAPI(t)
	f.add("/apis/networking.k8s.io/v1/ingressclasses/nginx", `{"kind":"IngressClass","apiVersion":"networking.k8s.io/v1","metadata":{"name":"nginx"},"spec":{"controller":"k8s.io/ingress-nginx"}}`)
	if err := i.Apply(t.Context(), options()); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(f.did, "apply IngressClass nginx") || !slices.Contains(f.did, "apply IngressClass weft") {
		t.Errorf("applied %v", f.did)
	}
	if !slices.Contains(*said, "IngressClass nginx is there already and stays as it is") {
		t.Errorf("told %v", *said)
	}
}

// What comes later is not begun before what comes earlier works, and the error says what does not.
func TestApplyStopsAtWhatDoesNotWork(t *testing.T) {
	f, i, _ := newFakeAPI(t)
	f.stuck = "weft-node"
	f.add("/api/v1/namespaces/weft-system/pods/weft-node-x", `{"metadata":{"name":"weft-node-x","namespace":"weft-system"},"spec":{"nodeName":"n3"},
		"status":{"containerStatuses":[{"name":"node","state":{"waiting":{"reason":"ErrImageNeverPull","message":"no such image"}}}]}}`)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for f.lookedAt("/apis/apps/v1/namespaces/weft-system/daemonsets/weft-node") < 5 {
			time.Sleep(time.Millisecond)
		}
		cancel(errors.New("enough"))
	}()
	err := i.Apply(ctx, options())
	if err == nil || err.Error() != "node: 0 of 2 ready; Pod weft-system/weft-node-x on Node n3: ErrImageNeverPull no such image: enough" {
		t.Errorf("error %v", err)
	}
	if slices.ContainsFunc(f.did, func(s string) bool { return strings.Contains(s, "weft-dns") }) {
		t.Error("DNS was begun though the node does not work")
	}
}

func (f *fakeAPI) lookedAt(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looks[path]
}

func TestApplyRefuses(t *testing.T) {
	coreDNS := `{"kind":"Service","apiVersion":"v1","metadata":{"name":"kube-dns","namespace":"kube-system","labels":{"k8s-app":"kube-dns"}},"spec":{"clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10"]}}`
	for _, tc := range []struct {
		name      string
		path, doc string
		change    func(*Options)
		want      string // "" is no error
	}{
		{"cluster DNS of somebody else", kubeDNS, coreDNS, nil,
			"Service kube-system/kube-dns: in use by somebody else: it has no label app.kubernetes.io/part-of=weft; give --replace-dns to take it over"},
		{"cluster DNS of somebody else, to be replaced", kubeDNS, coreDNS, func(o *Options) { o.ReplaceDNS = true }, ""},
		{"cluster DNS of somebody else, which is not installed", kubeDNS, coreDNS, func(o *Options) { o.Components = []string{Node} }, ""},
		{"cluster DNS with another address", kubeDNS, strings.ReplaceAll(coreDNS, "10.96.0.10", "10.96.0.77"), func(o *Options) { o.ReplaceDNS = true },
			"--cluster-dns: Service kube-system/kube-dns has the address 10.96.0.77, which cannot be changed to 10.96.0.10; give that one, or remove the Service"},
		{"the address is taken", other, `{"kind":"Service","apiVersion":"v1","metadata":{"name":"web","namespace":"shop"},"spec":{"clusterIP":"fd96::a","clusterIPs":["fd96::a"]}}`, nil,
			"--cluster-dns: fd96::a: in use by somebody else: Service shop/web has it"},
		{"a name is taken", "/apis/rbac.authorization.k8s.io/v1/clusterroles/weft-node", `{"kind":"ClusterRole","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"weft-node"}}`, nil,
			"ClusterRole weft-node: in use by somebody else: it has no label app.kubernetes.io/part-of=weft; rename or remove it"},
		{"kube-proxy runs", "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy", `{"kind":"DaemonSet","apiVersion":"apps/v1","metadata":{"name":"kube-proxy","namespace":"kube-system"},"status":{"desiredNumberScheduled":3}}`, nil,
			"ports 10256 and 10249 of nodes: in use by somebody else: kube-proxy runs on 3 nodes; take it away first (kubectl -n kube-system delete daemonset kube-proxy)"},
		{"kube-proxy is there and runs nowhere", "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy", `{"kind":"DaemonSet","apiVersion":"apps/v1","metadata":{"name":"kube-proxy","namespace":"kube-system"},"status":{"desiredNumberScheduled":0}}`, nil, ""},
		{"options are wrong", "", "", func(o *Options) { o.Image = "" }, "--image: must name the image to run"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, i, _ := newFakeAPI(t)
			if tc.path != "" {
				f.add(tc.path, tc.doc)
			}
			o := options()
			if tc.change != nil {
				tc.change(&o)
			}
			err := i.Apply(t.Context(), o)
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || err.Error() != tc.want {
				t.Errorf("error %v", err)
			}
			if len(f.did) > 0 {
				t.Errorf("changed something before refusing: %v", f.did)
			}
		})
	}
}

func TestUninstall(t *testing.T) {
	f, i, said := newFakeAPI(t)
	if err := i.Apply(t.Context(), options()); err != nil {
		t.Fatal(err)
	}
	f.add("/apis/rbac.authorization.k8s.io/v1/clusterroles/weft-dns", `{"kind":"ClusterRole","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"weft-dns"}}`)
	f.did = nil
	if err := i.Uninstall(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(f.objects, func(path string, _ map[string]any) bool { return strings.Contains(path, "customresourcedefinitions") })
	if !slices.Contains(*said, "ClusterRole weft-dns is not of weft and stays") || len(f.objects) != 1 {
		t.Errorf("%d objects left; told %q", len(f.objects), *said)
	}
	at := func(s string) int { return slices.Index(f.did, s) }
	if !(at("delete Deployment weft-control") < at("delete Deployment weft-dns") && at("delete Deployment weft-dns") < at("delete DaemonSet weft-node") &&
		at("delete DaemonSet weft-node") < at("delete Namespace weft-system")) {
		t.Errorf("order: %v", f.did)
	}
	if err := i.Uninstall(t.Context(), ""); err != nil { // again: nothing is there
		t.Error(err)
	}
}

// A namespace that was there before is used, and is not removed.
func TestNamespaceOfSomebodyElseStays(t *testing.T) {
	f, i, _ := newFakeAPI(t)
	f.add("/api/v1/namespaces/weft-system", `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"weft-system"}}`)
	if err := i.Apply(t.Context(), options()); err != nil {
		t.Fatal(err)
	}
	if err := i.Uninstall(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if f.objects["/api/v1/namespaces/weft-system"] == nil {
		t.Error("the namespace is gone")
	}
}

func TestDiscover(t *testing.T) {
	f, i, _ := newFakeAPI(t)
	f.add("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes", `{"metadata":{"name":"kubernetes","namespace":"default"},"addressType":"IPv4",
		"ports":[{"name":"https","port":6443}],"endpoints":[{"addresses":["192.0.2.11"]},{"addresses":["192.0.2.10"]}]}`)
	f.add("/apis/networking.k8s.io/v1/servicecidrs/kubernetes", `{"metadata":{"name":"kubernetes"},"spec":{"cidrs":["10.96.0.0/16","fd96::/112"]}}`)
	o, err := i.Discover(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := Options{
		APIServers: []string{"https://192.0.2.10:6443", "https://192.0.2.11:6443"}, ServiceCIDRs: []string{"10.96.0.0/16", "fd96::/112"}, ClusterDNS: []string{"10.96.0.10", "fd96::a"},
	}
	if d := cmp.Diff(want, o); d != "" {
		t.Error(d)
	}
	// What is there, and what is said, goes before what is guessed.
	f.add(kubeDNS, `{"metadata":{"name":"kube-dns","namespace":"kube-system"},"spec":{"clusterIPs":["10.96.0.53"]}}`)
	o, err = i.Discover(t.Context(), Options{APIServers: []string{"https://192.0.2.1:6443"}})
	if err != nil {
		t.Fatal(err)
	}
	want.APIServers, want.ClusterDNS = []string{"https://192.0.2.1:6443"}, []string{"10.96.0.53"}
	if d := cmp.Diff(want, o); d != "" {
		t.Error(d)
	}
}
