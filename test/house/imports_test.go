package house

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestImportsFlowOneWay(t *testing.T) {
	src := sources(t)
	above := map[string]bool{}
	for _, l := range layers {
		if dir := src.pkgs[l.pkg]; dir != nil {
			for _, f := range dir.code() {
				for _, imp := range f.imports() {
					checkImport(t, l, above, f.path, imp)
				}
			}
		}
		above[l.pkg] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(src.pkgs)) {
		if inMain(dir) && len(src.pkgs[dir].code()) > 0 && !above[dir] {
			t.Errorf("%s is new: give it a line in layers (layers_test.go), with the packages that it may import", dir)
		}
	}
}

func checkImport(t *testing.T, l layer, above map[string]bool, file, imp string) {
	if pkg, ours := strings.CutPrefix(imp, modulePath+"/"); ours && !l.allows(pkg, above) {
		t.Errorf("%s imports %s, which its line in layers (layers_test.go) does not allow: turn the dependency round, or decide there that it is right", file, pkg)
	}
	if isKubernetes(imp) && !l.apis {
		t.Errorf("%s imports %s: only the packages that layers marks so know Kubernetes' APIs; take what is needed from the model", file, imp)
	}
}

func isKubernetes(imp string) bool {
	return strings.HasPrefix(imp, "k8s.io/") || strings.HasPrefix(imp, "sigs.k8s.io/")
}

func TestLayersAreInOrder(t *testing.T) {
	above := map[string]bool{}
	for _, l := range layers {
		if above[l.pkg] {
			t.Errorf("%s has two lines", l.pkg)
		}
		for u := range strings.FieldsSeq(l.uses) {
			if u != everything && !above["internal/"+u] && !above[u] {
				t.Errorf("%s uses %s, which does not stand above it", l.pkg, u)
			}
		}
		above[l.pkg] = true
	}
}

// Kubernetes' own module drags in everything, and none of it may reach a user's binary.
func TestOnlyLabAndTestsImportKubernetesItself(t *testing.T) {
	for dir, pkg := range sources(t).pkgs {
		for _, f := range pkg.files {
			for _, imp := range f.imports() {
				if (imp == "k8s.io/kubernetes" || strings.HasPrefix(imp, "k8s.io/kubernetes/")) && inMain(dir) {
					t.Errorf("%s imports %s: only lab and test may", f.path, imp)
				}
			}
		}
	}
}

func TestPackageNamesSayWhatIsInside(t *testing.T) {
	empty := []string{"util", "utils", "common", "helper", "helpers", "manager", "base", "misc", "shared", "types", "lib"}
	for dir, pkg := range sources(t).pkgs {
		if slices.Contains(empty, path.Base(dir)) || slices.Contains(empty, pkg.files[0].syntax.Name.Name) {
			t.Errorf("%s: the name says nothing about what is inside; use the field's own word for it", dir)
		}
	}
}
