package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/test/lab"
)

// mesh makes a namespace in which Pods get sidecars, and gives its name.
func mesh(t *testing.T, name string) string {
	t.Helper()
	apply(t, "default", "{apiVersion: v1, kind: Namespace, metadata: {name: "+name+", labels: {istio-injection: enabled}}}")
	return name
}

// injectedPod reads a Pod, by name or by a selector.
func injectedPod(t *testing.T, namespace string, which ...string) *corev1.Pod {
	t.Helper()
	out := kubectl(t, append([]string{"get", "pods", "-n", namespace, "-o", "json"}, which...)...)
	pod := corev1.Pod{}
	list := corev1.PodList{}
	if err := json.Unmarshal([]byte(out), &list); err == nil && len(list.Items) > 0 {
		return &list.Items[0]
	}
	if err := json.Unmarshal([]byte(out), &pod); err != nil {
		t.Fatal(err)
	}
	return &pod
}

func containers(all []corev1.Container) string {
	var names []string
	for _, c := range all {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

const probed = `apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata:
      labels: {app: NAME, version: v1}
      annotations: {ANNOTATIONS}
    spec:
      terminationGracePeriodSeconds: 5
      initContainers:
      - {name: reach, image: "weft-examples/echo:dev", imagePullPolicy: Never, args: [get, -timeout=20s, "http://my-svc.default/"]}
      containers:
      - name: web
        image: weft-examples/echo:dev
        imagePullPolicy: Never
        args: [serve, -http=:8080, -linger=0s]
        ports: [{name: http, containerPort: 8080}]
        startupProbe: {httpGet: {path: /start, port: 8080}, periodSeconds: 1, failureThreshold: 60}
        readinessProbe: {httpGet: {path: "/?status=200", port: http, httpHeaders: [{name: X-Probe, value: a}]}, periodSeconds: 1}
        livenessProbe: {httpGet: {path: "/", port: http}, periodSeconds: 5}
      - name: tcp
        image: weft-examples/echo:dev
        imagePullPolicy: Never
        args: [serve, -tcp=:8081, -linger=0s]
        readinessProbe: {tcpSocket: {port: 8081}, periodSeconds: 1}
      - name: rpc
        image: weft-examples/echo:dev
        imagePullPolicy: Never
        args: [serve, -grpc-health=:8082, -linger=0s]
        readinessProbe: {grpc: {port: 8082}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

func deployment(name, annotations string) string {
	return strings.NewReplacer("NAME", name, "ANNOTATIONS", annotations).Replace(probed)
}

// A Deployment gets sidecars; its probes of every sort hold, and its init container reaches a Service.
func TestInjectedDeploymentIsReady(t *testing.T) {
	ns := mesh(t, "inject-ready")
	apply(t, ns, deployment("native", "")+"---\n"+deployment("plain", `sidecar.istio.io/nativeSidecar: "false"`))
	for name, want := range map[string][2]string{
		"native": {"istio-init istio-proxy reach", "web tcp rpc"},
		"plain":  {"reach istio-init", "istio-proxy web tcp rpc"},
	} {
		kubectl(t, "rollout", "status", "-n", ns, "--timeout=3m", "deployment/"+name)
		pod := injectedPod(t, ns, "-l", "app="+name)
		if got := containers(pod.Spec.InitContainers); got != want[0] {
			t.Errorf("%s: init containers %s, want %s", name, got, want[0])
		}
		if got := containers(pod.Spec.Containers); got != want[1] {
			t.Errorf("%s: containers %s, want %s", name, got, want[1])
		}
		for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
			if s.RestartCount > 0 {
				t.Errorf("%s: container %s was started again: %+v", name, s.Name, s.LastTerminationState.Terminated)
			}
		}
		if pod.Labels["security.istio.io/tlsMode"] != "istio" || pod.Labels["service.istio.io/canonical-name"] != name || pod.Annotations["sidecar.istio.io/status"] == "" {
			t.Errorf("%s: labels %v, annotations %v", name, pod.Labels, pod.Annotations)
		}
	}
	// A Pod calls its own Service through its own sidecar.
	out, err := cluster.Echo(t.Context(), lab.Workload(ns, "deployment/native"), "get", "-timeout=10s", "http://native/")
	if err != nil || !strings.Contains(out, "200") {
		t.Errorf("a Pod and its own Service: %v %s", err, out)
	}
}

// A probe that fails still fails: it is the application that is asked, not the sidecar.
func TestInjectedProbesFail(t *testing.T) {
	ns := mesh(t, "inject-probes")
	apply(t, ns, strings.NewReplacer("/?status=200", "/?status=500").Replace(deployment("bad", "")))
	eventually(t, 2*time.Minute, func() error {
		pod := injectedPod(t, ns, "-l", "app=bad")
		ready := map[string]bool{}
		for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
			ready[s.Name] = s.Ready
		}
		if !ready["tcp"] || !ready["rpc"] || !ready["istio-proxy"] {
			return fmt.Errorf("ready: %v", ready)
		}
		if ready["web"] {
			t.Fatal("a container whose probe is answered by 500 is ready")
		}
		return nil
	})
	eventually(t, time.Minute, func() error {
		if out := kubectl(t, "get", "events", "-n", ns, "-o", "jsonpath={.items[*].message}"); !strings.Contains(out, "statuscode: 500") {
			return errors.New("no event says that the application answered 500")
		}
		return nil
	})
}

func TestInjectedJobCompletes(t *testing.T) {
	ns := mesh(t, "inject-job")
	apply(t, ns, `apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: ask, image: "weft-examples/echo:dev", imagePullPolicy: Never, args: [get, -timeout=20s, "http://my-svc.default/"]}
`)
	kubectl(t, "wait", "-n", ns, "--for=condition=Complete", "--timeout=3m", "job/once")
	pod := injectedPod(t, ns, "-l", "batch.kubernetes.io/job-name=once")
	if got := containers(pod.Spec.InitContainers); got != "istio-init istio-proxy" || pod.Status.Phase != corev1.PodSucceeded {
		t.Errorf("init containers %s, phase %s", got, pod.Status.Phase)
	}
}

const lone = `apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {LABELS}, annotations: {ANNOTATIONS}}
spec:
  terminationGracePeriodSeconds: 0
  SPEC
  containers: [{name: app, image: "weft-examples/echo:dev", imagePullPolicy: Never, args: [sleep]}]
`

func pod(name, labels, annotations, spec string) string {
	return strings.NewReplacer("NAME", name, "LABELS", labels, "ANNOTATIONS", annotations, "SPEC", spec).Replace(lone)
}

func TestWhoIsNotInjected(t *testing.T) {
	ns := mesh(t, "inject-not")
	plain := "inject-plain"
	apply(t, "default", "{apiVersion: v1, kind: Namespace, metadata: {name: "+plain+"}}")
	made := func(namespace, manifest string) string {
		t.Helper()
		out, err := cluster.RunWith(t.Context(), manifest, "kubectl", "--", "apply", "-n", namespace, "-f", "-")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, c := range []struct{ namespace, name, labels, spec string }{
		{ns, "opted-out", `sidecar.istio.io/inject: "false"`, ""},
		{ns, "host", "", "hostNetwork: true"},
		{plain, "not-asked", "", ""},
		{"kube-system", "weft-e2e-system", `sidecar.istio.io/inject: "true", istio.io/rev: weft`, ""},
	} {
		made(c.namespace, pod(c.name, c.labels, "", c.spec))
		t.Cleanup(func() { kubectlLater(t, "delete", "pod", "-n", c.namespace, c.name, "--wait=false") })
		p := injectedPod(t, c.namespace, c.name)
		if len(p.Spec.InitContainers) > 0 || containers(p.Spec.Containers) != "app" || p.Annotations["sidecar.istio.io/status"] != "" {
			t.Errorf("%s: %s and %s", c.name, containers(p.Spec.InitContainers), containers(p.Spec.Containers))
		}
	}
	for _, c := range []struct{ name, labels string }{{"asked", `sidecar.istio.io/inject: "true"`}, {"revision", "istio.io/rev: weft"}} {
		made(plain, pod(c.name, c.labels, "", ""))
		if p := injectedPod(t, plain, c.name); containers(p.Spec.InitContainers) != "istio-init istio-proxy" {
			t.Errorf("%s: %s", c.name, containers(p.Spec.InitContainers))
		}
	}
	// Whoever makes it is told.
	out, err := cluster.RunWith(t.Context(), pod("warned", "", "", "hostNetwork: true"), "kubectl", "--", "apply", "-n", ns, "--dry-run=server", "-f", "-", "--warnings-as-errors")
	var failed *lab.Failed
	if !errors.As(err, &failed) || !strings.Contains(failed.Output, "spec.hostNetwork: no sidecar is injected") {
		t.Errorf("%v %s", err, out)
	}
	// What cannot be done as it is asked for is not done by halves.
	_, err = cluster.RunWith(t.Context(), pod("refused", "", "traffic.sidecar.istio.io/excludeInboundPorts: http", ""), "kubectl", "--", "apply", "-n", ns, "-f", "-")
	if !errors.As(err, &failed) || !strings.Contains(failed.Output, `Pod `+ns+`/refused: annotation traffic.sidecar.istio.io/excludeInboundPorts: "http" is no port`) {
		t.Errorf("%v", err)
	}
}

func kubectlLater(t *testing.T, args ...string) {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if _, err := cluster.Kubectl(ctx, args...); err != nil {
		t.Error(err)
	}
}

// weft inject says what the webhook makes of a Pod.
func TestInjectCommandSaysTheSame(t *testing.T) {
	ns := mesh(t, "inject-same")
	manifest := pod("same", "app: same", "", "")
	if _, err := cluster.RunWith(t.Context(), manifest, "kubectl", "--", "create", "-n", ns, "-f", "-"); err != nil {
		t.Fatal(err)
	}
	byWebhook := injectedPod(t, ns, "same")
	text := kubectl(t, "get", "pod", "-n", ns, "same", "-o", "yaml")
	// What is injected already stays as it is; of the manifest comes the same.
	again, err := cluster.WeftWith(t.Context(), text, "inject", "-f", "-", "-n", ns, "--image", "weft:dev", "--image-pull-policy", "Never")
	if err != nil || strings.TrimSpace(again) != text {
		t.Errorf("%v\n%s", err, again)
	}
	injected, err := cluster.WeftWith(t.Context(), strings.Replace(manifest, "name: same", "name: same-2", 1), "inject", "-f", "-", "-n", ns, "--image", "weft:dev", "--image-pull-policy", "Never")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.RunWith(t.Context(), injected, "kubectl", "--", "create", "-n", ns, "-f", "-"); err != nil {
		t.Fatal(err)
	}
	byCommand := injectedPod(t, ns, "same-2")
	a, _ := json.Marshal(ownContainers(byWebhook))
	b, _ := json.Marshal(ownContainers(byCommand))
	if want := strings.ReplaceAll(string(b), "same-2", "same"); string(a) != want {
		t.Errorf("by the webhook:\n%s\nby the command:\n%s", a, want)
	}
}

// ownContainers is the Pod's containers without what every Pod is given by others.
func ownContainers(p *corev1.Pod) []corev1.Container {
	var out []corev1.Container
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		c.VolumeMounts = slices.DeleteFunc(slices.Clone(c.VolumeMounts), func(m corev1.VolumeMount) bool { return strings.HasPrefix(m.Name, "kube-api-access-") })
		out = append(out, c)
	}
	return out
}

// The configuration of the webhook survives who edits it, and gives way to another injector.
func TestWebhookConfigurationIsKept(t *testing.T) {
	const name = "weft-sidecar-injector"
	hooks := func() string {
		return kubectl(t, "get", "mutatingwebhookconfiguration", name, "-o", `jsonpath={range .webhooks[*]}{.name} {.failurePolicy} {.clientConfig.caBundle}{"\n"}{end}`)
	}
	before := hooks()
	kubectl(t, "patch", "mutatingwebhookconfiguration", name, "--type=json", "-p",
		`[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}, {"op": "replace", "path": "/webhooks/1/failurePolicy", "value": "Ignore"}, {"op": "remove", "path": "/webhooks/2"}]`)
	eventually(t, 30*time.Second, func() error {
		if now := hooks(); now != before {
			return fmt.Errorf("%s\nis not\n%s", now, before)
		}
		return nil
	})

	apply(t, "default", `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: istio-sidecar-injector}
webhooks:
- name: namespace.sidecar-injector.istio.io
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  timeoutSeconds: 1
  clientConfig: {service: {namespace: istio-system, name: istiod}}
  namespaceSelector: {matchExpressions: [{key: istio-injection, operator: In, values: [enabled]}]}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
`)
	eventually(t, 30*time.Second, func() error {
		if n := strings.Count(hooks(), "weftmesh"); n != 2 {
			return fmt.Errorf("%d webhooks beside another injector, want 2", n)
		}
		for _, f := range status(t).Findings {
			if f.Code == "another-injector" && f.Object.Name == "istio-sidecar-injector" {
				return nil
			}
		}
		return errors.New("weft status does not say that another injects")
	})
	kubectl(t, "delete", "mutatingwebhookconfiguration", "istio-sidecar-injector")
	eventually(t, 30*time.Second, func() error {
		if now := hooks(); now != before {
			return fmt.Errorf("%s\nis not\n%s", now, before)
		}
		return nil
	})
}

// With control away no Pod comes into the mesh without a sidecar, and nobody else's Pods wait.
func TestInjectionWithControlAway(t *testing.T) {
	ns := mesh(t, "inject-away")
	kubectl(t, "scale", "-n", "weft-system", "--replicas=0", "deployment/weft-control")
	back := func() {
		kubectlLater(t, "scale", "-n", "weft-system", "--replicas=2", "deployment/weft-control")
		kubectlLater(t, "rollout", "status", "-n", "weft-system", "--timeout=50s", "deployment/weft-control")
	}
	restored := false
	t.Cleanup(func() {
		if !restored {
			back()
		}
	})
	kubectl(t, "wait", "-n", "weft-system", "--for=delete", "--timeout=1m", "pod", "-l", "app.kubernetes.io/component=control")
	create := func(namespace, name, labels string) error {
		_, err := cluster.RunWith(t.Context(), pod(name, labels, "", ""), "kubectl", "--", "create", "-n", namespace, "--dry-run=server", "-f", "-")
		return err
	}
	eventually(t, time.Minute, func() error { // until no endpoint is left
		if err := create(ns, "wanted", ""); err == nil {
			return errors.New("a Pod is taken though nobody could put its sidecar in")
		}
		return nil
	})
	for _, c := range [][3]string{{ns, "opted-out", `sidecar.istio.io/inject: "false"`}, {"default", "elsewhere", ""}, {"kube-system", "system", "istio.io/rev: weft"}, {"weft-system", "own", "istio.io/rev: weft"}} {
		if err := create(c[0], c[1], c[2]); err != nil {
			t.Errorf("%s/%s: %v", c[0], c[1], err)
		}
	}
	back()
	restored = true
	eventually(t, time.Minute, func() error { return create(ns, "wanted", "") })
}
