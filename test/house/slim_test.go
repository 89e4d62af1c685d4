package house

import (
	"os/exec"
	"strings"
	"testing"
)

// The data plane runs in every Pod of a mesh and at the edge: what it links is looked at by everybody who has to trust it.
func TestSlimProgramLinksLittle(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "./cmd/weft-proxy")
	list.Dir = sources(t).root
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		for _, heavy := range []string{"k8s.io/", "sigs.k8s.io/", "istio.io/", "helm.sh/", "github.com/prometheus/", "github.com/miekg/", "github.com/vishvananda/"} {
			if strings.HasPrefix(pkg, heavy) {
				t.Errorf("cmd/weft-proxy links %s", pkg)
			}
		}
		if ours, ok := strings.CutPrefix(pkg, modulePath+"/internal/"); ok && !inPods(ours) {
			t.Errorf("cmd/weft-proxy links %s, which is no part of the data plane", ours)
		}
	}
}

// inPods tells whether a package under internal/ may be part of what runs in every Pod: the data plane, and what turns traffic to it.
func inPods(pkg string) bool {
	return pkg == "regex" || pkg == "proxy" || strings.HasPrefix(pkg, "proxy/") || pkg == "redirect" || strings.HasPrefix(pkg, "redirect/")
}
