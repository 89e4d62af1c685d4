package routing

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// conditions are the kinds of match, by where they stand in a match of a VirtualService: "headers/*/exact" is any header's exact value.
func conditions() []string {
	return []string{
		"uri/exact", "uri/prefix", "uri/regex", "ignoreUriCase", "method/exact", "method/regex", "authority/exact", "authority/prefix", "scheme/exact", "port",
		"headers/*/exact", "headers/*/prefix", "headers/*/regex", "headers/*/", "withoutHeaders/*/", "queryParams/*/exact", "queryParams/*/prefix", "queryParams/*/regex",
	}
}

// With any one kind of condition forgotten, some case fails: there is none that the cases do not look at.
func TestEveryConditionMatters(t *testing.T) {
	if testing.Short() {
		t.Skip("asks for many explanations")
	}
	world, files := load(t)
	h := newHarness(t, world, files)
	m := &Model{Weft: h.weft, Folder: h.dir, Args: []string{"--gateway", fleetNamespace}, Names: h.name}
	for _, kind := range conditions() {
		t.Run(kind, func(t *testing.T) {
			tried := 0
			for _, f := range files {
				forgetful, changed := forget(t, f.Objects, kind)
				if !changed {
					continue
				}
				h.write(t, world+"\n---\n"+forgetful)
				for _, c := range f.Cases {
					if c.Method == "TCP" || c.Method == "TLS" {
						continue
					}
					if tried++; m.Check(t.Context(), c) != nil {
						return
					}
				}
			}
			t.Errorf("all %d cases hold without it", tried)
		})
	}
}

// forget takes a kind of condition out of all matches.
func forget(t *testing.T, objects, kind string) (out string, changed bool) {
	path := strings.Split(kind, "/")
	var docs []string
	for _, doc := range Documents(objects) {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		spec, _ := o["spec"].(map[string]any)
		for _, rule := range list(spec["http"]) {
			for _, match := range list(rule["match"]) {
				changed = drop(match, path) || changed
			}
		}
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, string(text))
	}
	return strings.Join(docs, "---\n"), changed
}

func list(v any) (out []map[string]any) {
	items, _ := v.([]any)
	for _, i := range items {
		if m, ok := i.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// drop takes the condition at a path out of a match: the field as a whole, or the header or parameter that is compared in this way.
func drop(match map[string]any, path []string) bool {
	value, there := match[path[0]]
	if !there {
		return false
	}
	fields, _ := value.(map[string]any)
	switch len(path) {
	case 1:
	case 2:
		if _, ok := fields[path[1]]; !ok {
			return false
		}
	default:
		changed := false
		for name, how := range fields {
			compared, _ := how.(map[string]any)
			if _, ok := compared[path[2]]; ok || path[2] == "" && len(compared) == 0 {
				delete(fields, name)
				changed = true
			}
		}
		if len(fields) == 0 {
			delete(match, path[0])
		}
		return changed
	}
	delete(match, path[0])
	return true
}
