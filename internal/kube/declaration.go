package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	strictjson "sigs.k8s.io/json"

	"github.com/weftmesh/weft/internal/store"
)

// declaration is an object whose spec is a protobuf message in JSON, as it comes: of all versions, which differ in name only. The spec is read
// when the object is taken in, so that one that cannot be read costs only itself, and not the whole list that it came in.
type declaration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   json.RawMessage `json:"spec,omitempty"`
	Status json.RawMessage `json:"status,omitempty"`
}

// declarationList is a list of them.
type declarationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []declaration `json:"items"`
}

// DeepCopyObject makes a copy that shares nothing but the bytes of spec and status, which nobody changes.
func (d *declaration) DeepCopyObject() runtime.Object {
	c := *d
	c.ObjectMeta = *d.ObjectMeta.DeepCopy()
	return &c
}

// DeepCopyObject makes a copy in the same sense.
func (l *declarationList) DeepCopyObject() runtime.Object {
	c := *l
	c.ListMeta = *l.ListMeta.DeepCopy()
	c.Items = make([]declaration, len(l.Items))
	for i := range l.Items {
		c.Items[i] = *l.Items[i].DeepCopyObject().(*declaration)
	}
	return &c
}

// declarations is a scheme that reads kinds of these versions as declarations.
func declarations(versions []schema.GroupVersion, kinds ...string) *runtime.Scheme {
	s := runtime.NewScheme()
	for _, gv := range versions {
		for _, k := range kinds {
			s.AddKnownTypeWithName(gv.WithKind(k), &declaration{})
			s.AddKnownTypeWithName(gv.WithKind(k+"List"), &declarationList{})
		}
		metav1.AddToGroupVersion(s, gv)
	}
	return s
}

// newProtoTable is [NewTable] for objects whose spec is a protobuf message, which only protobuf can compare. Their status is not kept.
func newProtoTable[T any, P pointer[T]](s *store.Store, kind string, spec func(*T) proto.Message) *store.Table[T] {
	return store.NewTable(s, kind, func(o *T) store.Key { return keyOf(P(o)) }, func(a, b *T) bool {
		if P(a).GetUID() == P(b).GetUID() && P(a).GetResourceVersion() == P(b).GetResourceVersion() && P(a).GetResourceVersion() != "" {
			return true
		}
		return equality.Semantic.DeepEqual(meaning(P(a)), meaning(P(b))) && proto.Equal(spec(a), spec(b))
	})
}

// meaning is an object's metadata without what changes with every write.
func meaning(o metav1.Object) metav1.ObjectMeta {
	m := *metaOf(o)
	m.ResourceVersion, m.Generation = "", 0
	return m
}

// metaOf is the metadata inside an object of a Kubernetes API.
func metaOf(o metav1.Object) *metav1.ObjectMeta {
	return o.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta)
}

// fromDeclaration is how the spec of a declaration gets into a T.
func fromDeclaration[T any, P pointer[T]](spec func(*T) proto.Message) func(runtime.Object) (*T, error) {
	return func(o runtime.Object) (*T, error) {
		d, ok := o.(*declaration)
		if !ok {
			return nil, fmt.Errorf("%T is no declaration", o)
		}
		t := new(T)
		*metaOf(P(t)) = d.ObjectMeta
		if err := d.decode(spec(t)); err != nil {
			return nil, err
		}
		return t, nil
	}
}

// decode reads the spec without the fields that are not known. What is no value of its field makes the whole spec unreadable: protojson, asked to
// discard what it does not know, would put an unknown choice down as the default one, and TLS down as none.
func (d *declaration) decode(into proto.Message) error {
	if isNull(d.Spec) {
		return nil
	}
	err := protojson.Unmarshal(d.Spec, into)
	if err == nil {
		return nil
	}
	known, of := *d, into.ProtoReflect().Descriptor()
	if _, wrong := known.prune(of); wrong != nil {
		return fmt.Errorf("spec: %s", cleanProto(err))
	}
	if spec, wrong := inSeconds(known.Spec, of); wrong == nil {
		known.Spec = spec
	}
	proto.Reset(into)
	err = protojson.Unmarshal(known.Spec, into)
	if err != nil {
		return fmt.Errorf("spec: %s", cleanProto(err))
	}
	return nil
}

func isNull(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || string(raw) == "null"
}

var protoPosition = regexp.MustCompile(` ?\(line \d+:\d+\)`)

// cleanProto says what a protojson error says without the library's words, and without a place in JSON that nobody has written.
func cleanProto(err error) string {
	s := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	s = protoPosition.ReplaceAllString(strings.TrimSpace(strings.TrimPrefix(s, "proto:")), "")
	return strings.TrimPrefix(s, ": ")
}

// fieldProblem is a field of a manifest that an API server would not have kept as it stands.
type fieldProblem struct {
	path    string
	doubled bool // it stands twice, and the later one is used; else the API does not have it
}

// prune takes out of a declaration's spec what the API does not have, as an API server does, and says what.
func (d *declaration) prune(of protoreflect.MessageDescriptor) (problems []fieldProblem, err error) {
	if isNull(d.Spec) {
		return nil, nil
	}
	var tree any
	strict, err := strictjson.UnmarshalStrict(d.Spec, &tree)
	if err != nil {
		return nil, fmt.Errorf("spec: %s", cleanJSON(err))
	}
	for _, e := range strict {
		p := problemOf(e)
		p.path = "spec." + p.path
		problems = append(problems, p)
	}
	pruneMessage(tree, of, "spec", func(path string) { problems = append(problems, fieldProblem{path, false}) })
	if len(problems) > 0 {
		d.Spec, err = json.Marshal(tree)
	}
	return problems, err
}

// pruneMessage takes out of a JSON object the fields that the message does not have. What is no object, or of a type that has a JSON form of
// its own (a duration, a wrapped number), is left for the decoder to judge.
func pruneMessage(value any, of protoreflect.MessageDescriptor, path string, unknown func(path string)) {
	m, ok := value.(map[string]any)
	if !ok || of.ParentFile().Package() == "google.protobuf" {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at := path + "." + name
		field := of.Fields().ByJSONName(name)
		if field == nil && name == "mirror_percent" { // the one name that the API has in this form too
			field = of.Fields().ByName("mirror_percent")
		}
		if field == nil {
			unknown(at)
			delete(m, name)
			continue
		}
		pruneField(m[name], field, at, unknown)
	}
}

func pruneField(value any, field protoreflect.FieldDescriptor, at string, unknown func(path string)) {
	switch {
	case field.IsMap():
		if of := field.MapValue().Message(); of != nil {
			entries, _ := value.(map[string]any)
			for _, key := range slices.Sorted(maps.Keys(entries)) {
				pruneMessage(entries[key], of, at+"."+key, unknown)
			}
		}
	case field.Message() == nil:
	case field.IsList():
		list, _ := value.([]any)
		for i, v := range list {
			pruneMessage(v, field.Message(), fmt.Sprintf("%s[%d]", at, i), unknown)
		}
	default:
		pruneMessage(value, field.Message(), at, unknown)
	}
}
