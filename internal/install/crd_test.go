package install

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// istioResources are the kinds that are read, and their groups; kube has their tables.
var istioResources = map[string]string{
	"destinationrules": "networking", "gateways": "networking", "serviceentries": "networking", "virtualservices": "networking", "workloadentries": "networking",
	"authorizationpolicies": "security", "peerauthentications": "security", "requestauthentications": "security",
}

// definitionName is what the definition of a resource is called.
func definitionName(resource string) string {
	return resource + "." + istioResources[resource] + ".istio.io"
}

// The definitions are those of the version of istio.io/api that the kinds are decoded with.
func TestCustomResourcesAreThoseOfIstio(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil || strings.TrimSpace(string(dir)) == "" {
		t.Skipf("module istio.io/api is not on this machine: %v", err)
	}
	all, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "kubernetes", "customresourcedefinitions.gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, doc := range bytes.Split(all, []byte("\n---\n")) {
		var crd map[string]any
		if err := yaml.Unmarshal(doc, &crd); err != nil {
			t.Fatal(err)
		}
		if crd == nil {
			continue
		}
		meta := crd["metadata"].(map[string]any)
		name, _, _ := strings.Cut(meta["name"].(string), ".")
		if meta["name"] != definitionName(name) {
			continue
		}
		delete(meta, "labels") // which say that Istio's chart installed it
		text, err := json.MarshalIndent(crd, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		want[name+".json"] = string(text) + "\n"
	}
	if *update {
		for name, text := range want {
			if err := os.WriteFile(filepath.Join("crds", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := map[string]string{}
	files, err := os.ReadDir("crds")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join("crds", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name()] = string(text)
	}
	if len(want) != len(istioResources) || len(got) != len(want) {
		t.Errorf("%d files of %d definitions, want %d", len(got), len(want), len(istioResources))
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("crds/%s is not what istio.io/api has: run go generate ./internal/install", name)
		}
	}
}

func crdPath(resource string) string {
	return "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + definitionName(resource)
}

// Definitions that somebody else has written, or writes too, stay as they are.
func TestApplyLeavesCustomResources(t *testing.T) {
	f, i, said := newFakeAPI(t)
	f.add(crdPath("gateways"), `{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"gateways.networking.istio.io","labels":{"app":"istio-pilot"}},"spec":{}}`)
	f.add(crdPath("serviceentries"), `{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"serviceentries.networking.istio.io","labels":{"app.kubernetes.io/part-of":"weft"},
		"managedFields":[{"manager":"weft","operation":"Apply"},{"manager":"istioctl","operation":"Apply"}]},"spec":{}}`)
	f.add(crdPath("virtualservices"), `{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"virtualservices.networking.istio.io","labels":{"app.kubernetes.io/part-of":"weft"},
		"managedFields":[{"manager":"weft","operation":"Apply"},{"manager":"kube-apiserver","operation":"Update","subresource":"status"}]},"spec":{}}`)
	if err := i.Apply(t.Context(), options()); err != nil {
		t.Fatal(err)
	}
	var applied []string
	for _, d := range f.did {
		if name, ok := strings.CutPrefix(d, "apply CustomResourceDefinition "); ok {
			resource, _, _ := strings.Cut(name, ".")
			applied = append(applied, resource)
		}
	}
	if d := cmp.Diff([]string{"authorizationpolicies", "destinationrules", "peerauthentications", "requestauthentications", "virtualservices", "workloadentries"}, applied); d != "" {
		t.Errorf("applied:\n%s", d)
	}
	for _, left := range []string{"gateways", "serviceentries"} {
		if want := "CustomResourceDefinition " + left + ".networking.istio.io is there already and stays as it is"; !slices.Contains(*said, want) {
			t.Errorf("%q is not told: %q", want, *said)
		}
	}
	if c, d := slices.IndexFunc(f.did, func(s string) bool { return strings.Contains(s, kindCRD) }), slices.Index(f.did, "apply Deployment weft-control"); c < 0 || c > d {
		t.Errorf("control comes before what it reads: %v", f.did)
	}
}

// What users have declared outlives weft.
func TestUninstallLeavesCustomResources(t *testing.T) {
	f, i, _ := newFakeAPI(t)
	if err := i.Apply(t.Context(), options()); err != nil {
		t.Fatal(err)
	}
	if err := i.Uninstall(t.Context(), "weft-system"); err != nil {
		t.Fatal(err)
	}
	for r := range istioResources {
		if f.objects[crdPath(r)] == nil {
			t.Errorf("%s is gone", r)
		}
	}
	for path := range f.objects {
		if !strings.Contains(path, "customresourcedefinitions") {
			t.Errorf("%s is left", path)
		}
	}
}
