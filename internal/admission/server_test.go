package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/identity"
	"github.com/weftmesh/weft/internal/inject"
)

func testConfig() inject.Config {
	c := inject.Default()
	c.Image, c.Control = "example.org/weft:1", "weft-control.weft-system.svc:15012"
	return c
}

const pod = `{"metadata": {"generateName": "web-"}, "spec": {"containers": [{"name": "app", "image": "x", "fieldOfTomorrow": true}]}}`

// review is what an API server asks.
func review(namespace, object string) string {
	return `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u1", "operation": "CREATE", "namespace": "` + namespace +
		`", "kind": {"version": "v1", "kind": "Pod"}, "resource": {"version": "v1", "resource": "pods"}, "object": ` + object + `}}`
}

func newServer(t testing.TB, c inject.Config) (*Server, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	s, err := NewServer(func() inject.Config { return c }, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	return s, reg
}

func ask(t *testing.T, h http.Handler, path, body string) *admissionv1.AdmissionResponse {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var out admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	if out.APIVersion != "admission.k8s.io/v1" || out.Kind != "AdmissionReview" || out.Response == nil || out.Response.UID != "u1" {
		t.Fatalf("%s", w.Body)
	}
	return out.Response
}

func TestPodGetsItsSidecar(t *testing.T) {
	s, reg := newServer(t, testConfig())
	resp := ask(t, s.Handler(), Path, review("shop", pod))
	if !resp.Allowed || resp.PatchType == nil || *resp.PatchType != admissionv1.PatchTypeJSONPatch {
		t.Fatalf("%+v", resp)
	}
	patch, err := jsonpatch.DecodePatch(resp.Patch)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := patch.Apply([]byte(pod))
	if err != nil {
		t.Fatal(err)
	}
	var got corev1.Pod
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Spec.InitContainers) != 2 || got.Spec.InitContainers[1].Name != inject.ProxyContainer || !bytes.Contains(raw, []byte("fieldOfTomorrow")) {
		t.Errorf("%s", raw)
	}
	// The API server asks again when another webhook has changed the Pod.
	if again := ask(t, s.Handler(), Path, review("shop", string(raw))); !again.Allowed || len(again.Patch) > 0 {
		t.Errorf("again: %s", again.Patch)
	}
	want := `
		# HELP weft_injection_requests_total Pods that the API server asked about, by what became of them (injected, unchanged, refused, invalid) and why they are unchanged.
		# TYPE weft_injection_requests_total counter
		weft_injection_requests_total{reason="",result="injected"} 1
		weft_injection_requests_total{reason="already",result="unchanged"} 1
	`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "weft_injection_requests_total"); err != nil {
		t.Error(err)
	}
}

func TestPodThatStaysAsItIs(t *testing.T) {
	s, _ := newServer(t, testConfig())
	for name, c := range map[string]struct{ body, warning string }{
		"opted out by annotation":      {review("shop", `{"metadata": {"name": "web", "annotations": {"sidecar.istio.io/inject": "false"}}, "spec": {"containers": [{"name": "app"}]}}`), ""},
		"in a namespace of the system": {review("kube-system", pod), ""},
		"on the node's network":        {review("shop", `{"metadata": {"name": "web"}, "spec": {"hostNetwork": true, "containers": [{"name": "app"}]}}`), "weft: Pod shop/web: spec.hostNetwork: no sidecar is injected"},
		"changed, not made":            {strings.Replace(review("shop", pod), "CREATE", "UPDATE", 1), ""},
		"no Pod":                       {strings.Replace(review("shop", pod), `"pods"`, `"nodes"`, 1), ""},
	} {
		resp := ask(t, s.Handler(), Path, c.body)
		if !resp.Allowed || len(resp.Patch) > 0 {
			t.Errorf("%s: %+v", name, resp)
		}
		if warned := strings.Join(resp.Warnings, "\n"); !strings.HasPrefix(warned, c.warning) || (c.warning == "") != (warned == "") {
			t.Errorf("%s: warnings %q", name, warned)
		}
	}
}

// While another injector is there, what is wanted by default is not weft's, whoever still asks.
func TestBesideAnotherInjector(t *testing.T) {
	c := testConfig()
	c.AnswersDefault = false
	s, _ := newServer(t, c)
	if resp := ask(t, s.Handler(), DefaultPath, review("shop", pod)); !resp.Allowed || len(resp.Patch) > 0 {
		t.Errorf("by default: %+v", resp)
	}
	if resp := ask(t, s.Handler(), Path, review("shop", pod)); len(resp.Patch) == 0 {
		t.Errorf("by revision: %+v", resp)
	}
}

// A Pod that cannot have what it asks for does not come to run without it.
func TestPodIsRefused(t *testing.T) {
	s, _ := newServer(t, testConfig())
	for object, want := range map[string]string{
		`{"metadata": {"name": "web", "annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": "http"}}}`: `Pod shop/web: annotation traffic.sidecar.istio.io/excludeInboundPorts: "http" is no port`,
		`{"spec": 3}`: "Pod shop/: it cannot be read: json: cannot unmarshal number into Go struct field Pod.spec of type v1.PodSpec",
		`null`:        "",
	} {
		resp := ask(t, s.Handler(), Path, review("shop", object))
		if want == "" {
			continue // an empty Pod, which the API server itself refuses
		}
		if resp.Allowed || resp.Result == nil || resp.Result.Message != want || resp.Result.Code < 400 {
			t.Errorf("%s: %+v", object, resp.Result)
		}
	}
}

func TestBadQuestions(t *testing.T) {
	s, _ := newServer(t, testConfig())
	for _, c := range []struct {
		method, path, kind, body string
		code                     int
		says                     string
	}{
		{http.MethodGet, Path, "application/json", "", http.StatusMethodNotAllowed, ""},
		{http.MethodPost, "/other", "application/json", "", http.StatusNotFound, ""},
		{http.MethodPost, Path, "text/plain", review("shop", pod), http.StatusUnsupportedMediaType, "want application/json"},
		{http.MethodPost, Path, "", review("shop", pod), http.StatusUnsupportedMediaType, "want application/json"},
		{http.MethodPost, Path, "application/json", "", http.StatusBadRequest, "no AdmissionReview: unexpected end"},
		{http.MethodPost, Path, "application/json", "[1]", http.StatusBadRequest, "no AdmissionReview"},
		{http.MethodPost, Path, "application/json", "{}", http.StatusBadRequest, "nothing of nothing, want AdmissionReview of admission.k8s.io/v1"},
		{http.MethodPost, Path, "application/json", strings.Replace(review("shop", pod), "k8s.io/v1", "k8s.io/v1beta1", 1), http.StatusBadRequest, "admission.k8s.io/v1beta1"},
		{http.MethodPost, Path, "application/json", `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}`, http.StatusBadRequest, "without a request"},
		{http.MethodPost, Path, "application/json", strings.Replace(review("shop", pod), `"u1"`, `""`, 1), http.StatusBadRequest, "no uid"},
		{http.MethodPost, Path, "application/json", strings.Repeat(" ", maxBodyBytes+1), http.StatusRequestEntityTooLarge, "too large"},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %s %.60q: %d %s, want %d %s", c.method, c.path, c.body, w.Code, w.Body, c.code, c.says)
		}
	}
}

// An API server comes by TLS, and believes the certificates that the configuration names.
func TestServe(t *testing.T) {
	ca, err := identity.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	s, _ := newServer(t, testConfig())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l, ca.ServerConfig("weft-control.weft-system.svc")) }()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Root())
	for _, h2 := range []bool{true, false} {
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			ForceAttemptHTTP2: h2, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "weft-control.weft-system.svc"},
		}}
		resp, err := client.Post("https://"+l.Addr().String()+Path, "application/json", strings.NewReader(review("shop", pod)))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || (resp.ProtoMajor == 2) != h2 || !bytes.Contains(text, []byte(`"allowed":true`)) {
			t.Errorf("%s %s: %s", resp.Proto, resp.Status, text)
		}
		client.CloseIdleConnections()
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "[]", review("shop", pod), review("", "null"), review("shop", `{"spec": {"containers": null}}`),
		review("shop", `{"metadata": {"annotations": {"proxy.istio.io/config": "proxyMetadata: {A: b}", "sidecar.istio.io/status": "x"}}, "spec": {"initContainers": [{"name": "istio-proxy", "env": [{"name": "ISTIO_KUBE_APP_PROBERS", "value": "["}]}], "containers": [{"name": "a", "readinessProbe": {"tcpSocket": {"port": "x"}}, "lifecycle": {"preStop": {"httpGet": {"port": 1}}}}]}}`),
	} {
		f.Add([]byte(seed))
	}
	c := testConfig()
	f.Fuzz(func(t *testing.T, body []byte) {
		review, o, err := answer(body, c, false)
		if err != nil {
			return
		}
		resp := review.Response
		if resp == nil || resp.UID == "" || resp.Allowed != (o.err == nil) || resp.Allowed && resp.Result != nil || !resp.Allowed && len(resp.Patch) > 0 {
			t.Errorf("%+v %+v", resp, o)
		}
		if len(resp.Patch) == 0 {
			return
		}
		// What is patched is in the mesh, and stays as it is when it is asked about again.
		var in admissionv1.AdmissionReview
		if err := json.Unmarshal(body, &in); err != nil {
			t.Fatal(err)
		}
		var known corev1.Pod
		if err := json.Unmarshal(in.Request.Object.Raw, &known); err != nil {
			t.Fatal(err)
		}
		raw, _ := json.Marshal(&known)
		patch, err := jsonpatch.DecodePatch(resp.Patch)
		if err != nil {
			t.Fatal(err)
		}
		patched, err := patch.Apply(raw)
		if err != nil {
			t.Fatalf("%v: %s", err, resp.Patch)
		}
		in.Request.Object.Raw = patched
		again, err := json.Marshal(&in)
		if err != nil {
			t.Fatal(err)
		}
		if _, o, err := answer(again, c, false); err != nil || o.result != "unchanged" || o.reason != string(inject.Already) {
			t.Errorf("again: %v %+v\n%s", err, o, patched)
		}
	})
}

func testPod(labels map[string]string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
	p.Name, p.Labels = "web", labels
	return p
}
