package kube

import (
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/weftmesh/weft/internal/store"
)

// Object is what every Kubernetes object has: a type and metadata.
type Object interface {
	runtime.Object
	metav1.Object
}

// pointer is the constraint that *T is an object.
type pointer[T any] interface {
	*T
	Object
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// strip takes out of an object what nobody reads and what can be larger than everything else. The object must be ours alone.
func strip(o Object) {
	o.SetManagedFields(nil)
	if a := o.GetAnnotations(); a[lastApplied] != "" {
		delete(a, lastApplied)
		o.SetAnnotations(a)
	}
}

func keyOf(o metav1.Object) store.Key {
	return store.Key{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// same tells whether two objects differ in nothing but resourceVersion and generation. Objects of one resourceVersion are the same
// without a look inside, which makes listing everything again cheap.
func same[T any, P pointer[T]](a, b *T) bool {
	if rv := P(a).GetResourceVersion(); rv != "" && rv == P(b).GetResourceVersion() && P(a).GetUID() == P(b).GetUID() {
		return true
	}
	x, y := *a, *b // the metadata of the copies can be changed without touching the objects
	for _, o := range []P{&x, &y} {
		o.SetResourceVersion("")
		o.SetGeneration(0)
	}
	return equality.Semantic.DeepEqual(&x, &y)
}
