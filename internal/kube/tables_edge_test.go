package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weftmesh/weft/internal/store"
)

// An Ingress of a version that no API server serves any more means the same as one of today.
func TestIngressOfOldVersions(t *testing.T) {
	const now = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop, annotations: {kubernetes.io/ingress.class: nginx}}
spec:
  defaultBackend: {service: {name: rest, port: {name: http}}}
  tls: [{hosts: [a.example], secretName: a}]
  rules:
  - host: a.example
    http:
      paths:
      - {path: /x, pathType: ImplementationSpecific, backend: {service: {name: x, port: {number: 80}}}}
      - {path: /y, pathType: Exact, backend: {resource: {kind: Bucket, name: files}}}
  - host: b.example
`
	const then = `kind: Ingress
metadata: {name: web, namespace: shop, annotations: {kubernetes.io/ingress.class: nginx}}
spec:
  backend: {serviceName: rest, servicePort: http}
  tls: [{hosts: [a.example], secretName: a}]
  rules:
  - host: a.example
    http:
      paths:
      - {path: /x, backend: {serviceName: x, servicePort: 80}}
      - {path: /y, pathType: Exact, backend: {resource: {kind: Bucket, name: files}}}
  - host: b.example
`
	want := ingresses(t, now)
	for _, version := range []string{"networking.k8s.io/v1beta1", "extensions/v1beta1"} {
		if d := cmp.Diff(want, ingresses(t, "apiVersion: "+version+"\n"+then)); d != "" {
			t.Errorf("%s (-v1 +it)\n%s", version, d)
		}
	}
}

func ingresses(t *testing.T, text string) (out []*networkingv1.Ingress) {
	t.Helper()
	objects, findings := parse([]*Kind{NewTables(store.New(nil)).Kind.Ingress}, "a.yaml", []byte(text))
	if len(objects) != 1 || len(findings) != 0 {
		t.Fatalf("%d objects, findings %v", len(objects), findings)
	}
	return append(out, objects[0].object.(*networkingv1.Ingress))
}

func TestSecretsKeepCertificatesOnly(t *testing.T) {
	const text = `apiVersion: v1
kind: Secret
metadata: {name: s, namespace: shop}
data: {tls.crt: Y2VydA==, password: aHVudGVyMg==}
stringData: {tls.key: key, token: hunter2}
`
	objects, findings := parse([]*Kind{NewTables(store.New(nil)).Kind.Secret}, "a.yaml", []byte(text))
	if len(objects) != 1 || len(findings) != 0 {
		t.Fatalf("%d objects, findings %v", len(objects), findings)
	}
	got := objects[0].object.(*corev1.Secret)
	want := &corev1.Secret{ObjectMeta: got.ObjectMeta, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"tls.crt": []byte("cert"), "tls.key": []byte("key")}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
