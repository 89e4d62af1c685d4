package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Operation is one of a JSON Patch (RFC 6902).
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// Patch gives the operations that make to of from. They name nothing but what differs, so that fields which this program does not know, because
// the API server is newer, stay as they are.
func Patch(from, to *corev1.Pod) ([]Operation, error) {
	a, err := generic(from)
	if err != nil {
		return nil, err
	}
	b, err := generic(to)
	if err != nil {
		return nil, err
	}
	var d differ
	d.objects("", a, b)
	return d.ops, nil
}

func generic(pod *corev1.Pod) (map[string]any, error) {
	raw, err := json.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("Pod %s/%s: %w", pod.Namespace, name(pod), err)
	}
	var out map[string]any
	return out, json.Unmarshal(raw, &out)
}

func same(a, b *corev1.Pod) bool {
	ops, err := Patch(a, b)
	return err == nil && len(ops) == 0
}

type differ struct{ ops []Operation }

func (d *differ) add(op, path string, value any) {
	d.ops = append(d.ops, Operation{op, path, value})
}

func (d *differ) objects(path string, a, b map[string]any) {
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if _, ok := b[k]; !ok {
			d.add("remove", path+"/"+escape.Replace(k), nil)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b)) {
		at := path + "/" + escape.Replace(k)
		if was, ok := a[k]; ok {
			d.values(at, was, b[k])
		} else {
			d.add("add", at, b[k]) // also where the object has it as null or empty, which is not told apart from its absence
		}
	}
}

func (d *differ) values(path string, a, b any) {
	if reflect.DeepEqual(a, b) {
		return
	}
	switch b := b.(type) {
	case map[string]any:
		if a, ok := a.(map[string]any); ok {
			d.objects(path, a, b)
			return
		}
	case []any:
		if a, ok := a.([]any); ok && d.grown(path, a, b) {
			return
		}
	}
	d.add("replace", path, b)
}

// grown tells whether b is a with some elements put between, by their names, and says so. Otherwise nothing is said: some were taken away or moved.
func (d *differ) grown(path string, a, b []any) bool {
	before := len(d.ops)
	i := 0
	for j, v := range b {
		at := path + "/" + strconv.Itoa(j)
		if i < len(a) && named(v) != "" && named(a[i]) == named(v) {
			d.values(at, a[i], v)
			i++
			continue
		}
		d.add("add", at, v)
	}
	if i < len(a) {
		d.ops = d.ops[:before]
		return false
	}
	return true
}

func named(v any) string {
	o, _ := v.(map[string]any)
	name, _ := o["name"].(string)
	return name
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")
