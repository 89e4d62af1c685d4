package install

import (
	"embed"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

//go:generate go test -run ^TestCustomResourcesAreThoseOfIstio$ -update .

// crds are the definitions of the kinds of networking.istio.io and security.istio.io that weft reads, as the module istio.io/api has them.
//
//go:embed crds/*.json
var crds embed.FS

const kindCRD = "CustomResourceDefinition"

// customResources are the definitions of kinds that are not built into an API server. They are installed where there are none, and belong to
// whoever has written them: Istio's installer may have, in a version that is older or newer.
func customResources() (out []Object) {
	entries, err := crds.ReadDir("crds")
	if err != nil {
		panic(fmt.Sprintf("embedded definitions: %v", err))
	}
	for _, e := range entries {
		raw, err := crds.ReadFile("crds/" + e.Name())
		u := &unstructured.Unstructured{}
		if err == nil {
			err = json.Unmarshal(raw, &u.Object)
		}
		if err != nil {
			panic(fmt.Sprintf("embedded definition %s: %v", e.Name(), err))
		}
		u.SetLabels(map[string]string{PartOfLabel: partOf, managedByLabel: partOf})
		out = append(out, u)
	}
	return out
}

// isCRD tells whether an object defines a kind. With it all objects of the kind would go, whoever made them: it is never removed.
func isCRD(o Object) bool { return o.GetObjectKind().GroupVersionKind().Kind == kindCRD }

// takenOver tells whether somebody else writes an object too. What only reports about it (the API server, its status) does not count.
func takenOver(u *unstructured.Unstructured) bool {
	for _, m := range u.GetManagedFields() {
		if m.Manager != FieldManager && m.Subresource == "" {
			return true
		}
	}
	return false
}
