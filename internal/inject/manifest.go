package inject

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Documents gives manifests, each one document in YAML or JSON, with sidecars in the Pods that they declare: in Pods, in whatever has a template of
// Pods, and in lists of these. A document in which nothing changes comes out as it went in, byte by byte.
//
// Namespaces among the documents say by their labels what is injected; one that is not among them is taken to be labelled istio-injection:
// enabled, since somebody asks. Objects without a namespace are in the given one. Notes are for people: why something stays as it is, and doubts.
func Documents(docs [][]byte, namespace string, c Config) (out [][]byte, notes []string, err error) {
	m := manifests{namespace: namespace, labels: map[string]map[string]string{}, config: c}
	parsed := make([]json.RawMessage, len(docs))
	var errs []error
	for i, doc := range docs {
		raw, err := yaml.YAMLToJSON(doc)
		if err != nil {
			errs = append(errs, fmt.Errorf("document %d: %s", i+1, strings.ReplaceAll(err.Error(), "\n", " ")))
			continue
		}
		parsed[i] = raw
		m.learn(raw)
	}
	if len(errs) > 0 {
		return nil, nil, errors.Join(errs...)
	}
	for i, raw := range parsed {
		changed, err := m.object(raw)
		switch {
		case err != nil:
			errs = append(errs, err)
		case changed == nil:
			out = append(out, docs[i])
		default:
			text, err := yaml.JSONToYAML(changed)
			if err != nil {
				errs = append(errs, fmt.Errorf("document %d: %w", i+1, err))
			}
			out = append(out, text)
		}
	}
	if len(errs) > 0 {
		return nil, m.notes, errors.Join(errs...)
	}
	return out, m.notes, nil
}

type manifests struct {
	namespace string
	labels    map[string]map[string]string // of the namespaces among the documents
	config    Config
	notes     []string
}

// object is what is read of any object.
type object struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        struct {
		Name, Namespace string
		Labels          map[string]string
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`
}

func (m *manifests) learn(raw json.RawMessage) {
	var o object
	if json.Unmarshal(raw, &o) != nil {
		return
	}
	if o.APIVersion == "v1" && o.Kind == "Namespace" {
		m.labels[o.Metadata.Name] = o.Metadata.Labels
	}
	for _, item := range o.Items {
		m.learn(item)
	}
}

// templates says where the objects of a kind have their Pod; the Pod itself is its own.
func templates(o object) (path []string, ok bool) {
	group, _, _ := strings.Cut(o.APIVersion, "/")
	switch group + " " + o.Kind {
	case "v1 Pod":
		return nil, true
	case "apps Deployment", "apps StatefulSet", "apps DaemonSet", "apps ReplicaSet", "batch Job", "v1 ReplicationController", "argoproj.io Rollout":
		return []string{"spec", "template"}, true
	case "batch CronJob":
		return []string{"spec", "jobTemplate", "spec", "template"}, true
	}
	return nil, false
}

// object gives an object as it is to be applied, nil if it stays as it is.
func (m *manifests) object(raw json.RawMessage) (json.RawMessage, error) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil { // a document that is no object
		return nil, nil
	}
	if strings.HasSuffix(o.Kind, "List") && len(o.Items) > 0 {
		return m.list(raw, o)
	}
	path, ok := templates(o)
	if !ok {
		return nil, nil
	}
	at := raw
	for _, field := range path {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(at, &fields); err != nil || fields[field] == nil {
			return nil, fmt.Errorf("%s: it has no %s", m.name(o), strings.Join(path, "."))
		}
		at = fields[field]
	}
	ops, err := m.pod(at, o, path)
	if err != nil || len(ops) == 0 {
		return nil, err
	}
	text, err := json.Marshal(ops)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, err
	}
	return patch.Apply(raw)
}

func (m *manifests) name(o object) string {
	return o.Kind + " " + m.namespaceOf(o) + "/" + o.Metadata.Name
}

func (m *manifests) namespaceOf(o object) string {
	if o.Metadata.Namespace != "" {
		return o.Metadata.Namespace
	}
	return m.namespace
}

func (m *manifests) list(raw json.RawMessage, o object) (json.RawMessage, error) {
	changed := false
	var errs []error
	for i, item := range o.Items {
		now, err := m.object(item)
		if err != nil {
			errs = append(errs, err)
		} else if now != nil {
			o.Items[i], changed = now, true
		}
	}
	if len(errs) > 0 || !changed {
		return nil, errors.Join(errs...)
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(raw, &whole); err != nil {
		return nil, err
	}
	items, err := json.Marshal(o.Items)
	if err != nil {
		return nil, err
	}
	whole["items"] = items
	return json.Marshal(whole)
}

// pod gives the patch of the object whose Pod stands at a path.
func (m *manifests) pod(raw json.RawMessage, o object, path []string) ([]Operation, error) {
	pod := &corev1.Pod{}
	var has struct{ Metadata map[string]any }
	if err := errors.Join(json.Unmarshal(raw, pod), json.Unmarshal(raw, &has)); err != nil {
		return nil, fmt.Errorf("%s: %w", m.name(o), err)
	}
	ns := Namespace{Name: m.namespaceOf(o), Labels: map[string]string{NamespaceLabel: "enabled"}}
	if labels, ok := m.labels[ns.Name]; ok {
		ns.Labels = labels
	}
	var w *Workload
	if path != nil {
		w = &Workload{o.APIVersion, o.Kind, o.Metadata.Name}
	}
	r, err := injected(pod, ns, w, m.config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name(o), err)
	}
	for _, warning := range r.Warnings {
		m.notes = append(m.notes, m.name(o)+": "+warning)
	}
	if r.Reason != "" && len(r.Warnings) == 0 {
		m.notes = append(m.notes, fmt.Sprintf("%s: stays as it is (%s)", m.name(o), r.Reason))
	}
	ops, err := Patch(pod, r.Pod)
	if err != nil {
		return nil, err
	}
	if has.Metadata == nil && len(ops) > 0 { // a template need not have any
		ops = append([]Operation{{"add", "/metadata", map[string]any{}}}, ops...)
	}
	prefix := ""
	if path != nil {
		prefix = "/" + strings.Join(path, "/")
	}
	for i := range ops {
		ops[i].Path = prefix + ops[i].Path
	}
	return ops, nil
}
