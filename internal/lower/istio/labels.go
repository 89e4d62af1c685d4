package istio

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/weftmesh/weft/internal/model"
)

// labels reads a set of labels; ok is false if one of them can be no label of an object, so that nothing would have all of them.
func (s spot) labels(field string, set map[string]string) (labels model.Labels, ok bool) {
	ok = true
	for _, k := range slices.Sorted(maps.Keys(set)) {
		if wrong := validation.IsQualifiedName(k); len(wrong) > 0 {
			s.key(field, k).errorf(codeSelector, "%q is no key of a label: %s", k, wrong[0])
			ok = false
		} else if wrong := validation.IsValidLabelValue(set[k]); len(wrong) > 0 {
			s.key(field, k).errorf(codeSelector, "%q is no value of a label: %s", set[k], wrong[0])
			ok = false
		}
	}
	if !ok {
		return "", false
	}
	return model.MakeLabels(set), true
}
