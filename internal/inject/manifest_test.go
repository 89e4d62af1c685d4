package inject

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const service = `# a comment that stays
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
`

const podSpec = `{containers: [{name: app, image: x, fieldOfTomorrow: 1, readinessProbe: {httpGet: {port: 80}}}]}`

func docs(texts ...string) (out [][]byte) {
	for _, t := range texts {
		out = append(out, []byte(t))
	}
	return out
}

func TestDocuments(t *testing.T) {
	for _, c := range []struct{ kind, text string }{
		{"Pod", "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: " + podSpec + "}"},
		{"Deployment", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: " + podSpec + "}}}"},
		{"StatefulSet", "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: web}, spec: {template: {metadata: {labels: {app: web}}, spec: " + podSpec + "}}}"},
		{"DaemonSet", "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: web}, spec: {template: {metadata: {labels: {app: web}}, spec: " + podSpec + "}}}"},
		{"Job", "{apiVersion: batch/v1, kind: Job, metadata: {name: web}, spec: {template: {metadata: {annotations: {a: b}}, spec: " + podSpec + "}}}"},
		{"CronJob", "{apiVersion: batch/v1, kind: CronJob, metadata: {name: web}, spec: {jobTemplate: {spec: {template: {spec: " + podSpec + "}}}}}"},
		{"List", "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: " + podSpec + "}, {apiVersion: v1, kind: ConfigMap, metadata: {name: x}}]}"},
	} {
		out, notes, err := Documents(docs(service, c.text), "shop", testConfig())
		if err != nil || len(notes) > 0 || len(out) != 2 {
			t.Fatalf("%s: %v %q", c.kind, err, notes)
		}
		if string(out[0]) != service {
			t.Errorf("%s: the Service beside it is changed", c.kind)
		}
		for _, want := range []string{"name: istio-init", "name: istio-proxy", "fieldOfTomorrow: 1", "path: /app-health/app/readyz", "sidecar.istio.io/status", "service.istio.io/canonical-name: web"} {
			if strings.Count(string(out[1]), want) != 1 {
				t.Errorf("%s: %s stands %d times in\n%s", c.kind, want, strings.Count(string(out[1]), want), out[1])
			}
		}
		again, notes, err := Documents(out, "shop", testConfig())
		if err != nil || len(notes) != 1 || !strings.HasSuffix(notes[0], "stays as it is (already)") {
			t.Errorf("%s again: %v %q", c.kind, err, notes)
		}
		if d := cmp.Diff(string(out[1]), string(again[1])); d != "" {
			t.Errorf("%s again: %s", c.kind, d)
		}
	}
}

// A template that weft inject has treated makes the Pods that the webhook would have made of it.
func TestDocumentsSayWhatTheWebhookSays(t *testing.T) {
	text := `{apiVersion: batch/v1, kind: CronJob, metadata: {name: report, namespace: shop}, spec: {jobTemplate: {spec: {template: {metadata: {labels: {version: v1}}, spec: ` + podSpec + `}}}}}`
	out, _, err := Documents(docs(text), "default", testConfig())
	if err != nil {
		t.Fatal(err)
	}
	made := func(manifest []byte) *corev1.Pod {
		var c batchv1.CronJob
		if err := yaml.Unmarshal(manifest, &c); err != nil {
			t.Fatal(err)
		}
		template := c.Spec.JobTemplate.Spec.Template
		pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		pod.GenerateName, pod.Namespace = "report-29012345-", "shop"
		controller := true
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "report-29012345", UID: "u1", Controller: &controller}}
		return pod
	}
	r, err := Pod(made([]byte(text)), enabled, nil, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(r.Pod)
	b, _ := json.Marshal(made(out[0]))
	if d := cmp.Diff(string(a), string(b)); d != "" {
		t.Error(d)
	}
}

func TestDocumentsOfNamespaces(t *testing.T) {
	deployment := "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: NS}, spec: {template: {spec: " + podSpec + "}}}"
	in := docs(
		"{apiVersion: v1, kind: Namespace, metadata: {name: plain}}",
		"{apiVersion: v1, kind: Namespace, metadata: {name: mesh, labels: {istio-injection: enabled}}}",
		strings.Replace(deployment, "NS", "plain", 1), strings.Replace(deployment, "NS", "mesh", 1), strings.Replace(deployment, "NS", "unknown", 1), strings.Replace(deployment, "NS", "kube-system", 1),
	)
	out, notes, err := Documents(in, "default", testConfig())
	if err != nil {
		t.Fatal(err)
	}
	var got []bool
	for _, d := range out[2:] {
		got = append(got, strings.Contains(string(d), "istio-proxy"))
	}
	if d := cmp.Diff([]bool{false, true, true, false}, got); d != "" {
		t.Error(d)
	}
	want := []string{"Deployment plain/web: stays as it is (not-asked)", "Deployment kube-system/web: stays as it is (system-namespace)"}
	if d := cmp.Diff(want, notes); d != "" {
		t.Error(d)
	}
}

func TestBadDocuments(t *testing.T) {
	for text, want := range map[string]string{
		"a: [": "document 1: yaml: line 1:",
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}}":                                                                                            "Deployment shop/web: it has no spec.template",
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {containers: 3}}}}":                                                 "Deployment shop/web: json: cannot unmarshal",
		"{apiVersion: v1, kind: Pod, metadata: {name: web, annotations: {sidecar.istio.io/proxyCPU: x}}, spec: " + podSpec + "}":                                    `Pod shop/web: annotation sidecar.istio.io/proxyCPU: "x" is no quantity`,
		"{apiVersion: v1, kind: PodList, items: [{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {sidecar.istio.io/inject: x}}, spec: " + podSpec + "}]}": `Pod shop/web: label sidecar.istio.io/inject`,
	} {
		_, _, err := Documents(docs(text), "shop", testConfig())
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	out, _, err := Documents(docs("just text", "[1, 2]", "null"), "shop", testConfig())
	if err != nil || len(out) != 3 {
		t.Errorf("%v %q", err, out)
	}
}
