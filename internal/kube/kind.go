package kube

import (
	"fmt"
	"iter"

	"google.golang.org/protobuf/reflect/protoreflect"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weftmesh/weft/internal/store"
)

// Kind says how the objects of one kind are asked for, decoded, and put into their table. Make it with [NewKind]; it is immutable.
type Kind struct {
	name       string
	resource   string
	versions   []schema.GroupVersion
	inFolder   []schema.GroupVersion // decoded from a folder besides versions
	namespaced bool
	optional   bool
	scheme     *runtime.Scheme
	selection  Selection
	spec       protoreflect.MessageDescriptor // of kinds that are read as declarations; nil for others

	adopt   func(runtime.Object) (Object, error) // to the table's type, stripped
	fill    func(Object)                         // defaults, for objects that did not pass an API server
	put     func(*store.Tx, Object)
	remove  func(*store.Tx, store.Key)
	replace func(*store.Tx, iter.Seq[Object])
	rows    func() []Object // what is seen in the table now, whoever put it
}

// Spec is what [NewKind] has to know.
type Spec[T any] struct {
	Resource      string                // as in URLs: "services"
	Versions      []schema.GroupVersion // that can be decoded, the preferred one first
	InFolder      []schema.GroupVersion // that no API server serves any more, and that manifests may still have: needs Convert
	ClusterScoped bool
	Optional      bool            // not built into the API server: it may be missing, come and go
	Scheme        *runtime.Scheme // knows the kind in all Versions

	// Default fills in what an API server would have; nil is nothing.
	Default func(*T)

	// Strip takes out what nobody reads, before the object is kept; nil is nothing.
	Strip func(*T)

	// Convert makes a T of an object of a version whose type is another; nil if all versions share T.
	Convert func(runtime.Object) (*T, error)
}

// Selection limits which objects of a kind an API server is asked for. The zero value is all of them. Folders ignore it.
type Selection struct {
	Namespace     string
	FieldSelector string
	LabelSelector string
}

// NewTable makes a table for objects, keyed by namespace and name. An object that differs from the one before in nothing but
// resourceVersion and generation changes nothing.
func NewTable[T any, P pointer[T]](s *store.Store, kind string) *store.Table[T] {
	return store.NewTable(s, kind, func(o *T) store.Key { return keyOf(P(o)) }, same[T, P])
}

// NewKind says how the table's objects are got. The table's kind is the object's kind.
func NewKind[T any, P pointer[T]](table *store.Table[T], s Spec[T]) *Kind {
	return &Kind{
		name: table.Kind(), resource: s.Resource, versions: s.Versions, inFolder: s.InFolder, namespaced: !s.ClusterScoped, optional: s.Optional, scheme: s.Scheme,
		adopt: func(o runtime.Object) (Object, error) {
			p, ok := o.(P)
			if !ok {
				if s.Convert == nil {
					return nil, fmt.Errorf("%s: got a %T, want a %T", table.Kind(), o, p)
				}
				t, err := s.Convert(o)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", table.Kind(), err)
				}
				p = t
			}
			strip(p)
			if s.Strip != nil {
				s.Strip(p)
			}
			p.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // the table says it; some decoders set it, some do not
			return p, nil
		},
		fill: func(o Object) {
			if s.Default != nil {
				s.Default(o.(P))
			}
		},
		rows: func() []Object {
			all := table.Snapshot()
			out := make([]Object, len(all))
			for i, o := range all {
				out[i] = P(o)
			}
			return out
		},
		put:    func(tx *store.Tx, o Object) { table.Put(tx, o.(P)) },
		remove: func(tx *store.Tx, k store.Key) { table.Delete(tx, k) },
		replace: func(tx *store.Tx, objects iter.Seq[Object]) {
			table.Replace(tx, func(yield func(*T) bool) {
				for o := range objects {
					if !yield(o.(P)) {
						return
					}
				}
			})
		},
	}
}

// Name is the kind as objects spell it: "EndpointSlice".
func (k *Kind) Name() string { return k.name }

// Select gives the same kind, limited to a selection.
func (k *Kind) Select(s Selection) *Kind {
	c := *k
	c.selection = s
	return &c
}

// newObject makes an empty object of a version.
func (k *Kind) newObject(gv schema.GroupVersion) (runtime.Object, error) {
	return k.scheme.New(gv.WithKind(k.name))
}

// newList makes an empty list of a version.
func (k *Kind) newList(gv schema.GroupVersion) (runtime.Object, error) {
	return k.scheme.New(gv.WithKind(k.name + "List"))
}

// limit puts the selection into the options of a list or a watch.
func (k *Kind) limit(o *metav1.ListOptions) {
	o.FieldSelector, o.LabelSelector = k.selection.FieldSelector, k.selection.LabelSelector
}
