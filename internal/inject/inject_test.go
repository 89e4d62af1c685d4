package inject

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

func testConfig() Config {
	c := Default()
	c.Image, c.Control = "example.org/weft:1", "weft-control.weft-system.svc:15012"
	return c
}

var enabled = Namespace{Name: "shop", Labels: map[string]string{NamespaceLabel: "enabled"}}

// shapes reads the Pods of testdata by name.
func shapes(t testing.TB) map[string]*corev1.Pod {
	t.Helper()
	files, err := filepath.Glob("testdata/pods/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no Pods", err)
	}
	out := map[string]*corev1.Pod{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{}
		if err := yaml.UnmarshalStrict(raw, pod); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out[strings.TrimSuffix(filepath.Base(f), ".yaml")] = pod
	}
	return out
}

func TestShapes(t *testing.T) {
	for shape, pod := range shapes(t) {
		t.Run(shape, func(t *testing.T) {
			before := pod.DeepCopy()
			r, err := Pod(pod, enabled, nil, testConfig())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(before, pod); d != "" {
				t.Errorf("the given Pod is changed: %s", d)
			}
			text, err := yaml.Marshal(r.Pod)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range r.Warnings {
				text = append([]byte("# warning: "+w+"\n"), text...)
			}
			golden := filepath.Join("testdata", "injected", shape+".yaml")
			if *update {
				if err := os.WriteFile(golden, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(text)); d != "" {
				t.Error(d)
			}
		})
	}
}

// The webhook is asked again when another has changed the Pod, and people inject what they have injected.
func TestAgainIsTheSame(t *testing.T) {
	for shape, pod := range shapes(t) {
		once, err := Pod(pod, enabled, nil, testConfig())
		if err != nil {
			t.Fatal(err)
		}
		twice, err := Pod(once.Pod, enabled, nil, testConfig())
		if err != nil || twice.Reason != Already || twice.Pod != once.Pod {
			t.Errorf("%s: %v %q %s", shape, err, twice.Reason, cmp.Diff(once.Pod, twice.Pod))
		}
	}
}

// What another webhook puts in after weft is looked after as well.
func TestContainersThatCameLater(t *testing.T) {
	for _, native := range []bool{true, false} {
		c := testConfig()
		c.NativeSidecars = native
		r, err := Pod(shapes(t)["probes"], enabled, nil, c)
		if err != nil {
			t.Fatal(err)
		}
		pod := r.Pod.DeepCopy()
		late := corev1.Container{Name: "late", Image: "x", ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/late", Port: intstr.FromInt32(7)}}}}
		pod.Spec.Containers = append(pod.Spec.Containers, late)
		early := corev1.Container{Name: "early", Image: "x"}
		if native {
			pod.Spec.InitContainers = append([]corev1.Container{early}, pod.Spec.InitContainers...)
		} else {
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, early)
		}
		again, err := Pod(pod, enabled, nil, c)
		if err != nil || again.Reason != Already {
			t.Fatalf("%v %q", err, again.Reason)
		}
		want := map[bool][]string{true: {InitContainer, ProxyContainer, "early"}, false: {"early", InitContainer}}[native]
		if got := names(again.Pod.Spec.InitContainers); !slices.Equal(got, want) {
			t.Errorf("init containers %v, want %v", got, want)
		}
		probe := again.Pod.Spec.Containers[len(again.Pod.Spec.Containers)-1].ReadinessProbe.HTTPGet
		if probe.Path != "/app-health/late/readyz" || probe.Port.IntVal != StatusPort {
			t.Errorf("probe %+v", probe)
		}
		known := map[string]prober{}
		for _, e := range proxyOf(again.Pod).Env {
			if e.Name == ProbersEnv {
				if err := json.Unmarshal([]byte(e.Value), &known); err != nil {
					t.Fatal(err)
				}
			}
		}
		if known["/app-health/late/readyz"].HTTPGet.Path != "/late" || known["/app-health/http/readyz"].HTTPGet.Path != "/ready?x=1" {
			t.Errorf("%+v", known)
		}
	}
}

func names(all []corev1.Container) (out []string) {
	for _, c := range all {
		out = append(out, c.Name)
	}
	return out
}

// What is sent to the API server makes of the Pod what is meant, and leaves alone what this program does not know.
func TestPatch(t *testing.T) {
	for shape, pod := range shapes(t) {
		r, err := Pod(pod, enabled, nil, testConfig())
		if err != nil {
			t.Fatal(err)
		}
		ops, err := Patch(pod, r.Pod)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := json.Marshal(pod)
		newer := strings.Replace(string(raw), `"image":`, `"fieldOfTomorrow":"x","image":`, 1)
		patched := applied(t, []byte(newer), ops)
		if got := strings.Count(string(patched), "fieldOfTomorrow"); got != 1 {
			t.Errorf("%s: a field that is not known is there %d times", shape, got)
		}
		var got corev1.Pod
		if err := json.Unmarshal(patched, &got); err != nil {
			t.Fatal(err)
		}
		a, _ := yaml.Marshal(r.Pod)
		b, _ := yaml.Marshal(&got)
		if d := cmp.Diff(string(a), string(b)); d != "" {
			t.Errorf("%s: %s", shape, d)
		}
	}
}

func applied(t *testing.T, raw []byte, ops []Operation) []byte {
	t.Helper()
	text, err := json.Marshal(ops)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := patch.Apply(raw)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

func TestWhoIsInjected(t *testing.T) {
	labels := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	alone := func(c *Config) { c.AnswersDefault = false }
	for _, c := range []struct {
		name       string
		ns, pod    map[string]string
		annotation string // sidecar.istio.io/inject
		edit       func(*corev1.Pod)
		config     func(*Config)
		in         string // namespace, "shop" if empty
		want       Reason
	}{
		{name: "nobody asks", want: NotAsked},
		{name: "the namespace", ns: labels(NamespaceLabel, "enabled")},
		{name: "the namespace, the Pod not", ns: labels(NamespaceLabel, "enabled"), pod: labels(InjectLabel, "false"), want: OptedOut},
		{name: "the namespace, the Pod not, by annotation", ns: labels(NamespaceLabel, "enabled"), annotation: "false", want: OptedOut},
		{name: "the label goes before the annotation", ns: labels(NamespaceLabel, "enabled"), pod: labels(InjectLabel, "true"), annotation: "false"},
		{name: "the namespace not", ns: labels(NamespaceLabel, "disabled"), want: NotAsked},
		{name: "the namespace not, the Pod does", ns: labels(NamespaceLabel, "disabled"), pod: labels(InjectLabel, "true"), want: NotAsked},
		{name: "the Pod", pod: labels(InjectLabel, "true")},
		{name: "the Pod, by annotation alone", annotation: "true", want: NotAsked},
		{name: "weft's revision of the namespace", ns: labels(RevisionLabel, "weft")},
		{name: "the default revision of the namespace", ns: labels(RevisionLabel, "default")},
		{name: "another revision of the namespace", ns: labels(RevisionLabel, "canary"), want: NotAsked},
		{name: "another revision of the namespace, the Pod weft's", ns: labels(RevisionLabel, "canary"), pod: labels(RevisionLabel, "weft"), want: NotAsked},
		{name: "weft's revision of the Pod", pod: labels(RevisionLabel, "weft")},
		{name: "weft's revision of a Pod that does not want it", pod: labels(RevisionLabel, "weft", InjectLabel, "false"), want: OptedOut},
		{name: "another revision of the Pod", pod: labels(RevisionLabel, "canary", InjectLabel, "true"), want: NotAsked},
		{name: "beside another injector, the namespace", config: alone, ns: labels(NamespaceLabel, "enabled"), want: NotAsked},
		{name: "beside another injector, the Pod", config: alone, pod: labels(InjectLabel, "true"), want: NotAsked},
		{name: "beside another injector, the default revision", config: alone, ns: labels(RevisionLabel, "default"), want: NotAsked},
		{name: "beside another injector, weft's revision", config: alone, ns: labels(RevisionLabel, "weft")},
		{name: "kube-system", in: "kube-system", ns: labels(NamespaceLabel, "enabled"), want: SystemNamespace},
		{name: "weft's own", in: "weft-system", ns: labels(RevisionLabel, "weft"), want: SystemNamespace},
		{name: "the node's network", ns: labels(NamespaceLabel, "enabled"), edit: func(p *corev1.Pod) { p.Spec.HostNetwork = true }, want: HostNetwork},
		{name: "a static Pod", ns: labels(NamespaceLabel, "enabled"), edit: func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }, want: Static},
		{name: "Windows", ns: labels(NamespaceLabel, "enabled"), edit: func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }, want: Windows},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: c.pod}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
		if c.annotation != "" {
			pod.Annotations = map[string]string{InjectLabel: c.annotation}
		}
		if c.edit != nil {
			c.edit(pod)
		}
		config := testConfig()
		if c.config != nil {
			c.config(&config)
		}
		ns := Namespace{Name: "shop", Labels: c.ns}
		if c.in != "" {
			ns.Name = c.in
		}
		r, err := Pod(pod, ns, nil, config)
		if err != nil || r.Reason != c.want || (proxyOf(r.Pod) != nil) != (c.want == "") {
			t.Errorf("%s: %q, want %q (%v)", c.name, r.Reason, c.want, err)
		}
		if warned := len(r.Warnings) > 0; warned != slices.Contains([]Reason{HostNetwork, Windows, Static}, c.want) {
			t.Errorf("%s: warnings %q", c.name, r.Warnings)
		}
	}
}

// A Pod whose image has an Envoy can have that one in place of weft's proxy.
func TestBinaryPath(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{InjectLabel: "true"}, Annotations: map[string]string{"proxy.istio.io/config": "binaryPath: /usr/bin/envoy"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
	r, err := Pod(pod, Namespace{Name: "shop"}, nil, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	if args := proxyOf(r.Pod).Args; !slices.Contains(args, "--envoy=/usr/bin/envoy") {
		t.Errorf("the agent is run with %q", args)
	}
}

// What cannot be done as it is asked for is refused, with the object and the field.
func TestRefused(t *testing.T) {
	annotated := func(k, v string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{k: v} }
	}
	user := int64(1337)
	for _, c := range []struct {
		edit func(*corev1.Pod)
		want string
	}{
		{func(p *corev1.Pod) { p.Labels = map[string]string{InjectLabel: "yes"} }, `label sidecar.istio.io/inject: "yes" is neither "true" nor "false"`},
		{annotated(InjectLabel, "on"), `annotation sidecar.istio.io/inject: "on" is neither "true" nor "false"`},
		{annotated("traffic.sidecar.istio.io/includeInboundPorts", "http"), `annotation traffic.sidecar.istio.io/includeInboundPorts: "http" is no port`},
		{annotated("traffic.sidecar.istio.io/excludeInboundPorts", "80,70000"), `annotation traffic.sidecar.istio.io/excludeInboundPorts: "70000" is no port`},
		{annotated("traffic.sidecar.istio.io/includeOutboundPorts", "*"), `annotation traffic.sidecar.istio.io/includeOutboundPorts: "*" is no port`},
		{annotated("traffic.sidecar.istio.io/excludeOutboundPorts", "0"), `annotation traffic.sidecar.istio.io/excludeOutboundPorts: "0" is no port`},
		{annotated("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/33"), `annotation traffic.sidecar.istio.io/includeOutboundIPRanges: "10.0.0.0/33" is no range of addresses`},
		{annotated("traffic.sidecar.istio.io/excludeOutboundIPRanges", "db"), `annotation traffic.sidecar.istio.io/excludeOutboundIPRanges: "db" is no range of addresses`},
		{annotated("traffic.sidecar.istio.io/excludeInterfaces", "eth0/x"), `annotation traffic.sidecar.istio.io/excludeInterfaces: "eth0/x" is no name of a network interface`},
		{annotated("traffic.sidecar.istio.io/kubevirtInterfaces", "net1"), `annotation traffic.sidecar.istio.io/kubevirtInterfaces: weft does not carry the traffic of virtual machines in a Pod`},
		{annotated("sidecar.istio.io/interceptionMode", "TPROXY"), `annotation sidecar.istio.io/interceptionMode: TPROXY is not carried; REDIRECT and NONE are`},
		{annotated("sidecar.istio.io/interceptionMode", "all"), `annotation sidecar.istio.io/interceptionMode: "all" is neither REDIRECT nor NONE`},
		{annotated("sidecar.istio.io/nativeSidecar", "maybe"), `annotation sidecar.istio.io/nativeSidecar: "maybe" is neither true nor false`},
		{annotated("sidecar.istio.io/rewriteAppHTTPProbers", "maybe"), `annotation sidecar.istio.io/rewriteAppHTTPProbers: "maybe" is neither true nor false`},
		{annotated("sidecar.istio.io/proxyCPU", "much"), `annotation sidecar.istio.io/proxyCPU: "much" is no quantity`},
		{annotated("sidecar.istio.io/proxyImage", ""), `annotation sidecar.istio.io/proxyImage: "" is no image`},
		{annotated("sidecar.istio.io/logLevel", "loud"), `annotation sidecar.istio.io/logLevel: "loud" is not one of critical, debug, error, info, off, trace, warn, warning`},
		{annotated("inject.istio.io/templates", "gateway"), `annotation inject.istio.io/templates: "gateway": there is no template but sidecar`},
		{annotated("status.sidecar.istio.io/port", "8080"), `annotation status.sidecar.istio.io/port: "8080": the port is 15020 and cannot be changed`},
		{annotated("readiness.status.sidecar.istio.io/periodSeconds", "0"), `annotation readiness.status.sidecar.istio.io/periodSeconds: "0" is no number of at least 1`},
		{annotated("proxy.istio.io/config", "["), `annotation proxy.istio.io/config: no YAML: error converting YAML to JSON: yaml: line 1: did not find expected node content`},
		{annotated("proxy.istio.io/config", "holdApplicationUntilProxyStarts: 3"), `annotation proxy.istio.io/config: holdApplicationUntilProxyStarts: json: cannot unmarshal number into Go value of type bool`},
		{annotated("proxy.istio.io/config", "binaryPath: envoy"), `annotation proxy.istio.io/config: binaryPath: "envoy" is no path from the root`},
		{annotated("proxy.istio.io/config", "proxyMetadata: {POD_NAME: x}"), `annotation proxy.istio.io/config: proxyMetadata: POD_NAME is set by weft`},
		{func(p *corev1.Pod) { p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user} }, `spec.securityContext.runAsUser: 1337 is the proxy's, whose connections are not turned`},
		{func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsGroup: &user} }, `spec.containers[0].securityContext.runAsGroup: 1337 is the proxy's, whose connections are not turned`},
		{func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 15006}} }, `spec.containers[0].ports[0].containerPort: 15006 is the proxy's, for what comes in`},
		{func(p *corev1.Pod) { p.Spec.Containers[0].Name = ProxyContainer }, `spec.containers[0].name: istio-proxy is put in by weft, which takes no container of that name from a Pod`},
		{func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: "istio-token"}} }, `spec.volumes[0].name: istio-token is a volume of the proxy`},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "web-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
		c.edit(pod)
		r, err := Pod(pod, enabled, nil, testConfig())
		if want := "Pod shop/web-*: " + c.want; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		if r.Pod != nil {
			t.Errorf("%s: there is a Pod all the same", c.want)
		}
	}
}

// What weft does not carry, or nobody knows, is said.
func TestUnknownAnnotations(t *testing.T) {
	pod := shapes(t)["web"].DeepCopy()
	pod.Annotations = map[string]string{
		"traffic.sidecar.istio.io/excludeOutboundPort": "5432", "traffic.sidecar.istio.io/excludeOutboundPorts": "5432",
		"sidecar.istio.io/agentLogLevel": "debug", "sidecar.istio.io/logLevel": "debug", "sidecar.istio.io/inject": "true", "example.org/x": "y",
	}
	r, err := Pod(pod, enabled, nil, testConfig())
	want := []string{"annotation sidecar.istio.io/agentLogLevel is not carried", "annotation traffic.sidecar.istio.io/excludeOutboundPort is not carried"}
	if err != nil || !slices.Equal(r.Warnings, want) {
		t.Errorf("%v %q", err, r.Warnings)
	}
}

func TestNativeSidecarWhereThereAreNone(t *testing.T) {
	c := testConfig()
	c.NativeSidecars = false
	pod := shapes(t)["web"].DeepCopy()
	pod.Annotations = map[string]string{"sidecar.istio.io/nativeSidecar": "true"}
	r, err := Pod(pod, enabled, nil, c)
	if err != nil || len(r.Warnings) != 1 || !slices.ContainsFunc(r.Pod.Spec.Containers, called(ProxyContainer)) {
		t.Errorf("%v %q", err, r.Warnings)
	}
}
