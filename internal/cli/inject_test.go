package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestInject(t *testing.T) {
	const manifest = `apiVersion: v1
kind: Service
metadata: {name: web} # as it was
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: app, image: x}]}
`
	run := func(in string, args ...string) (string, string, error) {
		var out, errs bytes.Buffer
		root := newRoot()
		root.SetIn(strings.NewReader(in))
		root.SetOut(&out)
		root.SetErr(&errs)
		root.SetArgs(append([]string{"inject", "-f", "-", "-n", "shop"}, args...))
		err := root.ExecuteContext(t.Context())
		return out.String(), errs.String(), err
	}
	out, notes, err := run(manifest, "--image", "example.org/weft:1", "--image-pull-policy", "Never", "--native-sidecars=false")
	if err != nil || notes != "" {
		t.Fatal(err, notes)
	}
	for _, want := range []string{"metadata: {name: web} # as it was\n---\n", "image: example.org/weft:1", "imagePullPolicy: Never", "postStart", "namespaces/shop/pods/web", "weft-control.weft-system.svc:15012"} {
		if !strings.Contains(out, want) {
			t.Errorf("without %q:\n%s", want, out)
		}
	}
	if _, _, err := run(manifest); err == nil {
		t.Error("no image is wanted")
	}
	if out, _, err := run(strings.ReplaceAll(manifest, "kind: Pod\nmetadata: {name: web}", "kind: Pod\nmetadata: {name: web, annotations: {sidecar.istio.io/proxyCPU: x}}"), "--image", "x"); err == nil || out != "" {
		t.Errorf("%v %s", err, out)
	}
}
