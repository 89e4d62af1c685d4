package install

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

func options() Options {
	return Options{
		Image: "weft:test", APIServers: []string{"https://192.0.2.10:6443"}, ClusterDNS: []string{"10.96.0.10", "fd96::a"},
		ClusterCIDRs: []string{"10.244.0.0/16", "fd44::/48"}, ServiceCIDRs: []string{"10.96.0.0/16", "fd96::/112"},
		LBPools: []string{"192.0.2.200-192.0.2.220", "2001:db8::200/120"},
	}
}

func TestGolden(t *testing.T) {
	lean := Options{
		Namespace: "mesh", Image: "weft:test", PullPolicy: corev1.PullNever, Components: []string{DNS, Node},
		APIServers: []string{"https://192.0.2.10:6443", "https://192.0.2.11:6443"}, ClusterDNS: []string{"10.96.0.10"}, DNSForward: []string{"192.0.2.53"},
	}
	for name, o := range map[string]Options{"all": options(), "lean": lean} {
		t.Run(name, func(t *testing.T) {
			objects, err := Manifests(o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Render(objects)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := Manifests(o)
			if b, _ := Render(again); string(b) != string(got) {
				t.Error("two renderings differ")
			}
			for _, obj := range objects {
				if isCRD(obj) { // which another test compares
					delete(obj.(*unstructured.Unstructured).Object, "spec")
				}
			}
			if got, err = Render(objects); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("run the test with -update if this is meant:\n%s", d)
			}
		})
	}
}

// What proxies do beyond the usual is told to control, and nothing else is.
func TestProxyArguments(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   []string
	}{
		{"as usual", func(o *Options) { o.OutboundPolicy = OutboundAllowAny }, nil},
		{"everything", func(o *Options) {
			o.OutboundPolicy, o.AccessLog, o.TracingOTLP, o.TracingSampling = OutboundRegistryOnly, true, "jaeger.telemetry:4317", ptr(0.5)
		}, []string{"--outbound-policy=REGISTRY_ONLY", "--access-log=true", "--tracing-otlp=jaeger.telemetry:4317", "--tracing-sampling=0.5"}},
		{"nothing is sampled", func(o *Options) { o.TracingOTLP, o.TracingSampling = "jaeger:4317", ptr(0.) }, []string{"--tracing-otlp=jaeger:4317", "--tracing-sampling=0"}},
	} {
		o := options()
		c.change(&o)
		objects, err := Manifests(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, obj := range objects {
			d, ok := obj.(*appsv1.Deployment)
			if !ok || d.Name != objectName(Control) {
				continue
			}
			var got []string
			for _, a := range d.Spec.Template.Spec.Containers[0].Args {
				if strings.HasPrefix(a, "--outbound") || strings.HasPrefix(a, "--access") || strings.HasPrefix(a, "--tracing") {
					got = append(got, a)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s: %s", c.name, d)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Options)
		want   string // "" is no error
	}{
		{"good", func(*Options) {}, ""},
		{"no image", func(o *Options) { o.Image = "" }, "--image: must name the image to run"},
		{"odd image", func(o *Options) { o.Image = "a b" }, `--image: "a b" is no image`},
		{"pull policy", func(o *Options) { o.PullPolicy = "Sometimes" }, `--image-pull-policy: "Sometimes" is not one of Always, IfNotPresent, Never`},
		{"component", func(o *Options) { o.Components = []string{"node", "nod", "node"} }, "--components: \"nod\" is not one of node, dns, control, gateway\n--components: node stands twice"},
		{"no API server", func(o *Options) { o.APIServers = nil }, "--api-server: must say where the API server is, without its Service address"},
		{"API server", func(o *Options) { o.APIServers = []string{"http://h"} }, `--api-server: "http://h" is not an address like https://10.0.0.1:6443`},
		{"no DNS address", func(o *Options) { o.ClusterDNS = nil }, "--cluster-dns: must be the address that kubelets give to Pods as their resolver"},
		{"no DNS address is needed without DNS", func(o *Options) { o.ClusterDNS, o.Components = nil, []string{Node} }, ""},
		{"two DNS addresses of a family", func(o *Options) { o.ClusterDNS = []string{"10.96.0.10", "10.96.0.11"} }, "--cluster-dns: 10.96.0.11 is a second address of its family"},
		{"DNS address", func(o *Options) { o.ClusterDNS = []string{"dns"} }, `--cluster-dns: "dns" is no address`},
		{"forward", func(o *Options) { o.DNSForward = []string{"192.0.2.53", "[2001:db8::1]:53", "x"} }, `--dns-forward: "x" is neither an address nor ADDRESS:PORT`},
		{"ranges", func(o *Options) { o.ClusterCIDRs, o.ServiceCIDRs = []string{"10.244.0.1/16"}, []string{"x"} },
			"--cluster-cidr: \"10.244.0.1/16\" has bits beyond its length; 10.244.0.0/16 is meant?\n--service-cidr: \"x\" is no address range"},
		{"ranges of one family", func(o *Options) { o.ClusterCIDRs = o.ClusterCIDRs[:1] },
			"--cluster-cidr: has no range of the family of --service-cidr fd96::/112: Pods would count as clients from outside, and their addresses be hidden"},
		{"pools", func(o *Options) {
			o.LBPools = []string{"192.0.2.2-192.0.2.1", "192.0.2.1-fd00::1", "fd00::/112", "192.0.2.9"}
		},
			"--lb-pool: \"192.0.2.2-192.0.2.1\" is neither a range a-b, nor a prefix, nor an address\n--lb-pool: \"192.0.2.1-fd00::1\" is neither a range a-b, nor a prefix, nor an address"},
		{"replicas", func(o *Options) { o.DNSReplicas, o.ControlReplicas = -1, -1 }, "--dns-replicas: must be at least 1\n--control-replicas: must be at least 1"},
		{"log level", func(o *Options) { o.LogLevel = "LOUD" }, `--log-level: "LOUD" is not one of DEBUG, INFO, WARN, ERROR`},
		{"outbound policy", func(o *Options) { o.OutboundPolicy = "DENY" }, `--outbound-policy: "DENY" is not one of ALLOW_ANY, REGISTRY_ONLY`},
		{"collector", func(o *Options) { o.TracingOTLP = "jaeger" }, `--tracing-otlp: "jaeger" is not HOST:PORT`},
		{"port of the collector", func(o *Options) { o.TracingOTLP = "jaeger:otlp" }, `--tracing-otlp: "jaeger:otlp" is not HOST:PORT`},
		{"IPv6 collector", func(o *Options) { o.TracingOTLP, o.TracingSampling = "[2001:db8::1]:4317", ptr(100.) }, ""},
		{"sampling", func(o *Options) { o.TracingOTLP, o.TracingSampling = "jaeger:4317", ptr(101.) }, "--tracing-sampling: 101 is not a percentage from 0 to 100"},
		{"sampling that is no number", func(o *Options) { o.TracingOTLP, o.TracingSampling = "jaeger:4317", ptr(math.NaN()) }, "--tracing-sampling: NaN is not a percentage from 0 to 100"},
		{"sampling for nobody", func(o *Options) { o.TracingSampling = ptr(5.) }, "--tracing-sampling: has no effect without --tracing-otlp"},
		{"namespace and domain", func(o *Options) { o.Namespace, o.ClusterDomain = "A", "_" }, "--weft-namespace: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := options()
			tc.change(&o)
			got := ""
			if err := o.Validate(); err != nil {
				got = err.Error()
			}
			if tc.name == "namespace and domain" {
				if !strings.HasPrefix(got, tc.want) || !strings.Contains(got, "\n--cluster-domain: ") {
					t.Errorf("%q", got)
				}
				return
			}
			if got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
			if _, err := Manifests(o); (err == nil) != (tc.want == "") {
				t.Errorf("Manifests: %v", err)
			}
		})
	}
}

// What components ask of the API, as "verb group/resource". A component may do this and nothing else.
func TestPermissionsAreThoseUsed(t *testing.T) {
	read := func(resources ...string) (out []string) {
		for _, r := range resources {
			out = append(out, "get "+r, "list "+r, "watch "+r)
		}
		return out
	}
	for component, want := range map[string][]string{
		Node: append(read("/services", "/nodes", "discovery.k8s.io/endpointslices"), "create /events", "get /events", "patch /events"),
		DNS:  read("/services", "/namespaces", "discovery.k8s.io/endpointslices"),
		Control: append(read("/services", "/nodes", "/pods", "/secrets", "/namespaces", "/configmaps", "networking.k8s.io/ingresses", "networking.k8s.io/ingressclasses", "discovery.k8s.io/endpointslices", "networking.istio.io/gateways", "networking.istio.io/virtualservices",
			"networking.istio.io/destinationrules", "networking.istio.io/serviceentries", "networking.istio.io/workloadentries",
			"security.istio.io/peerauthentications", "security.istio.io/authorizationpolicies", "security.istio.io/requestauthentications"),
			"create /configmaps", "update /configmaps", "create authentication.k8s.io/tokenreviews",
			"list admissionregistration.k8s.io/mutatingwebhookconfigurations", "watch admissionregistration.k8s.io/mutatingwebhookconfigurations", "patch admissionregistration.k8s.io/mutatingwebhookconfigurations",
			"patch networking.k8s.io/ingresses/status", "patch /services/status", "create /events", "get /events", "patch /events"),
	} {
		slices.Sort(want)
		if d := cmp.Diff(want, verbs(clusterRules(component))); d != "" {
			t.Errorf("%s, whole cluster:\n%s", component, d)
		}
	}
	own := []string{"create coordination.k8s.io/leases", "get coordination.k8s.io/leases", "patch coordination.k8s.io/leases", "update coordination.k8s.io/leases",
		"create /secrets"}
	slices.Sort(own)
	if d := cmp.Diff(own, verbs(ownRules(Control))); d != "" {
		t.Errorf("control, own namespace:\n%s", d)
	}
}

func verbs(rules []rbacv1.PolicyRule) (out []string) {
	for _, r := range rules {
		for _, v := range r.Verbs {
			for _, g := range r.APIGroups {
				for _, res := range r.Resources {
					out = append(out, v+" "+g+"/"+res)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// Each rule that makes a cluster come up, and stay up, in words.
func TestWhatMustHold(t *testing.T) {
	objects, err := Manifests(options())
	if err != nil {
		t.Fatal(err)
	}
	pods, podLabels := map[string]*corev1.PodSpec{}, map[string]map[string]string{}
	var services []*corev1.Service
	seen := map[string]bool{}
	for _, o := range objects {
		name := describe(o)
		if seen[name] {
			t.Errorf("%s stands twice", name)
		}
		seen[name] = true
		if !ours(o) {
			t.Errorf("%s is not labelled as ours", name)
		}
		if o.GetObjectKind().GroupVersionKind().Empty() {
			t.Errorf("%s does not say its kind", name)
		}
		if plurals[o.GetObjectKind().GroupVersionKind().Kind] == "" {
			t.Errorf("%s: its resource is not known to the installer", name)
		}
		switch o := o.(type) {
		case *appsv1.DaemonSet:
			pods[Node] = &o.Spec.Template.Spec
			contains(t, name, o.Spec.Template.Labels, o.Spec.Selector.MatchLabels)
		case *appsv1.Deployment:
			pods[o.Labels[ComponentLabel]], podLabels[o.Labels[ComponentLabel]] = &o.Spec.Template.Spec, o.Spec.Template.Labels
			contains(t, name, o.Spec.Template.Labels, o.Spec.Selector.MatchLabels)
		case *corev1.Service:
			services = append(services, o)
		}
	}
	for _, s := range services {
		contains(t, describe(s), podLabels[s.Labels[ComponentLabel]], s.Spec.Selector)
	}
	for component, p := range pods {
		c := p.Containers[0]
		if component == Gateway {
			// It asks the control plane and never the API server, and would rather serve on than be restarted.
			if p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken {
				t.Error("the gateway has a token for the API server")
			}
			if l := podLabels[Gateway]; l["istio"] != "ingressgateway" || l["app"] != "istio-ingressgateway" {
				t.Errorf("Gateways of Istio's users do not find the gateway by %v", l)
			}
		} else {
			if !slices.Contains(c.Args, "--api-server=https://192.0.2.10:6443") || c.Args[0] != component {
				t.Errorf("%s is not told the API server: %v", component, c.Args)
			}
			if p.DNSPolicy != corev1.DNSDefault {
				t.Errorf("%s needs cluster DNS", component)
			}
			if c.LivenessProbe == nil {
				t.Errorf("%s is not probed", component)
			}
			if AdminPorts[component] == 0 || !slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return int(p.ContainerPort) == AdminPorts[component] }) {
				t.Errorf("%s does not declare its admin port", component)
			}
		}
		s := c.SecurityContext
		if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || s.Privileged != nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("%s has too many privileges: %+v", component, s)
		}
		if component != Node && (p.HostNetwork || slices.ContainsFunc(p.Volumes, ofHost) || len(s.Capabilities.Add) > 0 || !*p.SecurityContext.RunAsNonRoot) {
			t.Errorf("%s has privileges of a node", component)
		}
		if c.ReadinessProbe == nil {
			t.Errorf("%s is not asked whether it is ready", component)
		}
	}
	if tol := pods[Node].Tolerations; len(tol) != 1 || tol[0].Operator != corev1.TolerationOpExists || tol[0].Key != "" || tol[0].Effect != "" {
		t.Errorf("node does not tolerate everything: %v", tol)
	}
}

func ofHost(v corev1.Volume) bool { return v.HostPath != nil }

func contains(t *testing.T, name string, all, part map[string]string) {
	t.Helper()
	for k, v := range part {
		if all[k] != v {
			t.Errorf("%s: Pods do not have the label %s=%s of the selector", name, k, v)
		}
	}
}

// What is rendered reads back as the same object: nothing is lost on the way into a file.
func TestRenderReadsBack(t *testing.T) {
	objects, err := Manifests(options())
	if err != nil {
		t.Fatal(err)
	}
	all, err := Render(objects)
	if err != nil {
		t.Fatal(err)
	}
	docs := strings.Split(string(all), "---\n")
	if len(docs) != len(objects) {
		t.Fatalf("%d documents for %d objects", len(docs), len(objects))
	}
	for i, o := range objects {
		back := o.DeepCopyObject()
		switch b := back.(type) {
		case *appsv1.DaemonSet:
			*b = appsv1.DaemonSet{}
		case *appsv1.Deployment:
			*b = appsv1.Deployment{}
		default:
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(docs[i]), back); err != nil {
			t.Errorf("%s: %v", describe(o), err)
		}
		if d := cmp.Diff(o, back.(Object)); d != "" {
			t.Errorf("%s:\n%s", describe(o), d)
		}
	}
}
