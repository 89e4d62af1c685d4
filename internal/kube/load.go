package kube

import (
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/store"
)

// Load puts the objects of manifests into their tables, once, as a [Folder] would; the keys are the names of the files, whose endings say whether
// they are JSON. It tells what is wrong with them, in the order of [finding.Compare].
func Load(src *store.Source, files map[string][]byte, kinds ...*Kind) []finding.Finding {
	f := &Folder{kinds: kinds, files: map[string]*file{}}
	for name, data := range files {
		one := &file{}
		one.objects, one.findings = parse(kinds, name, data)
		f.files[name] = one
	}
	all, findings := f.merge()
	for _, one := range f.files {
		findings = append(findings, one.findings...)
	}
	for _, k := range kinds {
		src.Expect(k.name)
	}
	src.Commit(func(tx *store.Tx) {
		for _, k := range kinds {
			k.replace(tx, maps.Values(all[k.name]))
		}
	})
	for _, k := range kinds {
		src.MarkSynced(k.name)
	}
	slices.SortFunc(findings, finding.Compare)
	return findings
}

// ReadFiles reads a manifest, or all of a folder and of those below it, for [Load].
func ReadFiles(path string) (map[string][]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		data, err := readFile(path)
		return map[string][]byte{filepath.Base(path): data}, err
	}
	t, err := walk(path)
	if err != nil {
		return nil, err
	}
	for name, err := range t.bad {
		return nil, &os.PathError{Op: "read", Path: name, Err: err}
	}
	out := map[string][]byte{}
	for name := range t.files {
		if out[name], err = readFile(filepath.Join(path, name)); err != nil {
			return nil, err
		}
	}
	return out, nil
}
