package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/scheme"
	strictjson "sigs.k8s.io/json"

	"github.com/weftmesh/weft/internal/finding"
)

// The codes of what a folder finds.
const (
	CodeUnreadable    = "manifest-unreadable"     // a file, document or object that cannot be decoded; nothing of it is used
	CodeUnknownField  = "manifest-unknown-field"  // a field the API does not have; the object is used without it
	CodeDoubledField  = "manifest-doubled-field"  // a field that stands twice; the later one is used
	CodeUnknownKind   = "manifest-unknown-kind"   // a kind that neither weft nor Kubernetes knows
	CodeWrongVersion  = "manifest-wrong-version"  // a kind weft reads, in a version it does not
	CodeBadMetadata   = "manifest-bad-metadata"   // a name or namespace the API would refuse; the object is not used
	CodeDoubledObject = "manifest-doubled-object" // an object that stands in two places; the first by path is used
)

// maxListDepth is how deep lists may stand in lists.
const maxListDepth = 4

// declared is an object as a manifest has it.
type declared struct {
	kind   *Kind
	object Object
	place  string // "web.yaml document 2"
}

// parser turns the bytes of one file into objects and findings. What cannot be read costs only itself.
type parser struct {
	kinds    []*Kind
	file     string // as findings name it
	objects  []declared
	findings []finding.Finding
}

// parse reads a file. JSON files hold any number of values, all others any number of YAML documents.
func parse(kinds []*Kind, file string, data []byte) ([]declared, []finding.Finding) {
	p := &parser{kinds: kinds, file: file}
	if strings.EqualFold(filepath.Ext(file), ".json") {
		docs, err := splitJSON(data)
		for _, d := range docs {
			p.value(d.data, fmt.Sprintf("document %d", d.number), "", 0)
		}
		if err != nil {
			p.reject(fmt.Sprintf("document %d", len(docs)+1), err)
		}
		return p.objects, p.findings
	}
	for _, d := range splitYAML(data) {
		at := fmt.Sprintf("document %d", d.number)
		value, doubled, err := d.toJSON()
		if err != nil {
			p.reject(at, err)
			continue
		}
		if doubled != nil {
			p.report(p.manifest(), at, finding.Warning, CodeDoubledField, doubled.Error())
		}
		p.value(value, at, "", 0)
	}
	return p.objects, p.findings
}

// head is what every object begins with.
type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Items *[]json.RawMessage `json:"items"`
}

func (h head) object() finding.Object {
	return finding.Object{Kind: h.Kind, Namespace: h.Metadata.Namespace, Name: h.Metadata.Name}
}

// value reads one JSON value that stands at a place of the file. An item of a typed list need not say its kind: assumed does.
func (p *parser) value(data []byte, at, assumed string, depth int) {
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return
	}
	var h head
	if err := strictjson.UnmarshalCaseSensitivePreserveInts(data, &h); err != nil {
		p.reject(at, err)
		return
	}
	if h.APIVersion == "" && h.Kind == "" && assumed != "" {
		h.APIVersion, h.Kind, _ = strings.Cut(assumed, " ")
	}
	switch {
	case h.Kind == "" || h.APIVersion == "":
		p.reject(at, errors.New("an object needs apiVersion and kind"))
	case h.Items != nil && strings.HasSuffix(h.Kind, "List"):
		p.list(h, at, depth)
	default:
		p.one(h, data, at)
	}
}

func (p *parser) list(h head, at string, depth int) {
	if depth == maxListDepth {
		p.reject(at, fmt.Errorf("more than %d lists inside one another", maxListDepth))
		return
	}
	item := strings.TrimSuffix(h.Kind, "List")
	if item != "" {
		item = h.APIVersion + " " + item
	}
	for i, data := range *h.Items {
		p.value(data, fmt.Sprintf("%s items[%d]", at, i), item, depth+1)
	}
}

// one reads one object.
func (p *parser) one(h head, data []byte, at string) {
	place := p.file + " " + at
	gv, err := schema.ParseGroupVersion(h.APIVersion)
	if err != nil {
		p.reject(at, fmt.Errorf("apiVersion: %w", err))
		return
	}
	kind, served := p.kindOf(gv, h.Kind)
	if kind == nil {
		if !scheme.Scheme.Recognizes(gv.WithKind(h.Kind)) { // a Deployment is no news, a typing error is
			p.report(h.object(), "kind", finding.Warning, CodeUnknownKind, fmt.Sprintf("%s in %s is not a kind that is read here; ignored (%s)", h.Kind, h.APIVersion, place))
		}
		return
	}
	if !served {
		p.report(h.object(), "apiVersion", finding.Error, CodeWrongVersion,
			fmt.Sprintf("%s is read in %s, not in %s; ignored (%s)", kind.name, versionList(slices.Concat(kind.versions, kind.inFolder)), h.APIVersion, place))
		return
	}
	ro, err := kind.newObject(gv)
	if err != nil {
		p.reject(at, err)
		return
	}
	strict, err := strictjson.UnmarshalStrict(data, ro)
	if err != nil {
		p.report(h.object(), "", finding.Error, CodeUnreadable, fmt.Sprintf("%s; ignored (%s)", cleanJSON(err), place))
		return
	}
	var problems []fieldProblem
	if d, ok := ro.(*declaration); ok {
		if problems, err = d.prune(kind.spec); err != nil {
			p.report(h.object(), "", finding.Error, CodeUnreadable, fmt.Sprintf("%v; ignored (%s)", err, place))
			return
		}
	}
	o, err := kind.adopt(ro)
	if err != nil {
		p.report(h.object(), "", finding.Error, CodeUnreadable, fmt.Sprintf("%v; ignored (%s)", err, place))
		return
	}
	if !p.metadata(kind, o, place) {
		return
	}
	kind.fill(o)
	about := finding.Object{Kind: kind.name, Namespace: o.GetNamespace(), Name: o.GetName()}
	for _, e := range strict {
		p.field(about, problemOf(e), place)
	}
	for _, f := range problems {
		p.field(about, f, place)
	}
	p.objects = append(p.objects, declared{kind, o, place})
}

// kindOf finds the kind; served tells whether it is read in that version.
func (p *parser) kindOf(gv schema.GroupVersion, name string) (kind *Kind, served bool) {
	for _, k := range p.kinds {
		for _, v := range slices.Concat(k.versions, k.inFolder) {
			if k.name == name && v.Group == gv.Group {
				kind = k
				if v == gv {
					return k, true
				}
			}
		}
	}
	return kind, false
}

// metadata checks what identifies the object, and puts it into the namespace "default" if it names none.
func (p *parser) metadata(kind *Kind, o Object, place string) bool {
	about := finding.Object{Kind: kind.name, Namespace: o.GetNamespace(), Name: o.GetName()}
	bad := func(field, why string) bool {
		p.report(about, field, finding.Error, CodeBadMetadata, fmt.Sprintf("%s; the object is ignored (%s)", why, place))
		return false
	}
	if o.GetName() == "" {
		return bad("metadata.name", "an object needs a name")
	}
	if why := validation.IsDNS1123Subdomain(o.GetName()); len(why) > 0 {
		return bad("metadata.name", why[0])
	}
	if !kind.namespaced {
		if o.GetNamespace() != "" {
			return bad("metadata.namespace", "a "+kind.name+" is in no namespace")
		}
		return true
	}
	if o.GetNamespace() == "" {
		o.SetNamespace("default")
	}
	if why := validation.IsDNS1123Label(o.GetNamespace()); len(why) > 0 {
		return bad("metadata.namespace", why[0])
	}
	return true
}

// problemOf makes out what the strict decoder did not like.
func problemOf(err error) fieldProblem {
	var fe strictjson.FieldError
	if !errors.As(err, &fe) {
		return fieldProblem{}
	}
	return fieldProblem{fe.FieldPath(), strings.HasPrefix(err.Error(), "duplicate")}
}

// field reports a field that an API server would not have kept as it stands.
func (p *parser) field(about finding.Object, f fieldProblem, place string) {
	if f.doubled {
		p.report(about, f.path, finding.Warning, CodeDoubledField, "stands twice; the later one is used ("+place+")")
		return
	}
	p.report(about, f.path, finding.Error, CodeUnknownField, "is not a field of "+about.Kind+"; ignored ("+place+")")
}

// manifest is what findings are about that belong to no object.
func (p *parser) manifest() finding.Object { return finding.Object{Kind: "Manifest", Name: p.file} }

// reject reports a document that cannot be read at all.
func (p *parser) reject(at string, err error) {
	p.report(p.manifest(), at, finding.Error, CodeUnreadable, cleanJSON(err)+"; nothing of it is used")
}

func (p *parser) report(about finding.Object, field string, sev finding.Severity, code, message string) {
	p.findings = append(p.findings, finding.Finding{Object: about, Field: field, Severity: sev, Code: code, Message: message})
}

// cleanJSON says what a JSON error says without Go's words.
func cleanJSON(err error) string {
	s := strings.TrimPrefix(err.Error(), "json: ")
	s = strings.ReplaceAll(s, "Go struct field ", "field ")
	return strings.ReplaceAll(s, "Go value", "value")
}

func versionList(gvs []schema.GroupVersion) string {
	var out []string
	for _, gv := range gvs {
		out = append(out, gv.String())
	}
	return strings.Join(out, ", ")
}
