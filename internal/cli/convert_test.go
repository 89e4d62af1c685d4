package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/explain"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

const behind = `
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {clusterIP: 10.96.1.1, ports: [{name: http, port: 3001}, {name: admin, port: 9090}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a-1, namespace: default, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: admin, port: 9090}]
endpoints: [{addresses: [10.0.0.1]}]
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: default}
spec: {clusterIP: 10.96.1.2, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: b-1, namespace: default, labels: {kubernetes.io/service-name: b}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.0.0.2]}]
`

const ingresses = `
apiVersion: networking.k8s.io/v1beta1
kind: Ingress
metadata: {name: old, namespace: default, annotations: {kubernetes.io/ingress.class: nginx}}
spec:
  backend: {serviceName: b, servicePort: 80}
  rules:
  - http: {paths: [{path: /folder, backend: {serviceName: a, servicePort: 3001}}]}
  - host: a.test
    http: {paths: [{path: /, pathType: Prefix, backend: {serviceName: a, servicePort: http}}, {path: /e, pathType: Exact, backend: {serviceName: b, servicePort: 80}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: new, namespace: default, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  ingressClassName: nginx
  rules:
  - host: a.test
    http: {paths: [{path: /long/path, pathType: Prefix, backend: {service: {name: b, port: {number: 80}}}}, {path: /, pathType: Prefix, backend: {service: {name: b, port: {number: 80}}}}]}
  - host: "*.wild.test"
    http: {paths: [{path: /files, pathType: Prefix, backend: {resource: {apiGroup: x, kind: Bucket, name: files}}}, {path: /, pathType: Prefix, backend: {service: {name: a, port: {name: admin}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: rewritten
  namespace: default
  annotations:
    nginx.ingress.kubernetes.io/rewrite-target: /$2
    nginx.ingress.kubernetes.io/enable-cors: "true"
    nginx.ingress.kubernetes.io/upstream-vhost: in.test
spec:
  rules: [{host: b.test, http: {paths: [{path: "/app(/|$)(.*)", pathType: ImplementationSpecific, backend: {service: {name: a, port: {number: 3001}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: secure, namespace: default, annotations: {nginx.ingress.kubernetes.io/force-ssl-redirect: "true"}}
spec:
  rules: [{host: s.test, http: {paths: [{path: /x, pathType: Prefix, backend: {service: {name: a, port: {number: 3001}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: moved, namespace: default, annotations: {nginx.ingress.kubernetes.io/permanent-redirect: "https://new.test/here"}}
spec:
  rules: [{host: m.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 3001}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: main, namespace: default}
spec:
  rules: [{host: c.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 3001}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: canary, namespace: default, annotations: {nginx.ingress.kubernetes.io/canary: "true", nginx.ingress.kubernetes.io/canary-by-header: X-New, nginx.ingress.kubernetes.io/canary-weight: "30"}}
spec:
  rules: [{host: c.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: b, port: {number: 80}}}}]}}]
`

// What Ingresses are converted to decides every request as they do.
func TestConvertedIngressesMeanTheSame(t *testing.T) {
	given, err := run(t, map[string]string{"in.yaml": behind + "---" + ingresses}, "convert-ingress", "-f")
	if code := exitError(exitOK); err != nil && !errors.As(err, &code) {
		t.Fatal(err)
	}
	before, after := decisions(t, behind+"---"+ingresses), decisions(t, behind+"---\n"+given)
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("(-Ingresses +converted)\n%s\nconverted:\n%s", d, given)
	}
	forwarded := 0
	for _, d := range before {
		if d.Kind == explain.Forward {
			forwarded++
		}
	}
	if forwarded < 10 {
		t.Errorf("only %d of %d requests are forwarded: the comparison says little", forwarded, len(before))
	}
}

// decisions asks a set of requests. What names the rule is left out: it is another object's.
func decisions(t *testing.T, manifests string) map[string]explain.Decision {
	dir := folder(t, map[string]string{"all.yaml": manifests})
	out := map[string]explain.Decision{}
	err := lookAt(t.Context(), &globals{}, dir, "cluster.local", func(w *world, all traffic, findings []finding.Finding) error {
		if hasError(findings) {
			t.Errorf("%v", findings)
		}
		for _, host := range []string{"x.test", "a.test", "b.test", "m.test", "s.test", "c.test", "one.wild.test", "two.one.wild.test", "wild.test"} {
			for _, path := range []string{"/", "/folder", "/folder/", "/folder/x?y", "/folders", "/e", "/e/", "/E", "/long/path", "/long/paths", "/long/path/x", "/app", "/app/x/y", "/application", "/x", "/xx", "/files/1"} {
				for name, header := range map[string]map[string][]string{"": nil, " with x-new": {"X-New": {"always"}}} {
					_, d := explain.Request(all.edge, explain.RequestQuestion{Method: "GET", URL: "http://" + host + path, Headers: header, Fleet: model.Fleet{Namespace: "weft-system", Labels: defaultFleet}})
					d.Rule, d.Name = "", ""
					out[host+path+name] = d
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConvertReadsStandardInput(t *testing.T) {
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetArgs([]string{"convert-ingress", "-f", "-"})
	root.SetIn(strings.NewReader(ingresses[:strings.Index(ingresses, "---")]))
	root.SetOut(&out)
	root.SetErr(&errs)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The port named http is a Service's, which was not given.
	if !strings.Contains(out.String(), "kind: VirtualService") || !strings.Contains(errs.String(), "not-converted") {
		t.Errorf("%s\n%s", out.String(), errs.String())
	}
}

func TestAnalyze(t *testing.T) {
	for _, c := range []struct {
		name, manifest string
		want           []string
		code           exitError
	}{
		{"nothing wrong", behind, []string{"No findings."}, exitOK},
		{"an unknown field", strings.Replace(ingresses[:strings.Index(ingresses, "---")], "rules:", "rulez: []\n  rules:", 1) + "---" + behind,
			[]string{"error Ingress default/old spec.rulez: is not a field of Ingress"}, exitFindings},
		{"a Service that does not exist", ingresses[:strings.Index(ingresses, "---")], []string{"error Ingress default/old spec.rules[0].http.paths[0].backend: there is no Service or other host a.default.svc.cluster.local"}, exitFindings},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := run(t, map[string]string{"a.yaml": c.manifest}, "analyze", "-f")
			code := exitError(exitOK)
			if err != nil && !errors.As(err, &code) {
				t.Fatal(err)
			}
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("want %q in\n%s", want, out)
				}
			}
		})
	}
}

// folder writes files into a new folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run runs a command on a folder of files and gives what it prints.
func run(t *testing.T, files map[string]string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(append(args, folder(t, files)))
	root.SetOut(&out)
	root.SetErr(&bytes.Buffer{})
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}
