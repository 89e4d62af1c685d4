package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entries reads a tar: names with their content, or what they link to.
func entries(t *testing.T, content []byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	r := tar.NewReader(bytes.NewReader(content))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeSymlink {
			text = []byte("-> " + h.Linkname)
		}
		out[h.Name] = string(text)
	}
}

func TestArchiveHoldsTheTreeUnderEveryName(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("code"), 0o755); err != nil {
		t.Fatal(err)
	}
	content := tree{"bin/program": {source: program}, "bin/other": {link: "program"}, "etc/name": {content: "text\n"}, "tmp": {}}
	images := []image{{tags: []string{"a:1", "b:2"}, entrypoint: []string{"/bin/program"}}, {tags: []string{"c:3"}, entrypoint: []string{"/bin/other"}}}
	var archives [2][]byte
	for i := range archives {
		to := filepath.Join(dir, "images.tar")
		if err := writeArchive(to, content, images); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(to); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same content made two archives")
	}

	parts := entries(t, archives[0])
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal([]byte(parts["manifest.json"]), &manifest); err != nil {
		t.Fatal(err)
	}
	type named struct{ Tags, Entrypoint []string }
	var got []named
	for _, m := range manifest {
		var config struct{ Config struct{ Entrypoint []string } }
		if err := json.Unmarshal([]byte(parts[m.Config]), &config); err != nil {
			t.Fatal(err)
		}
		got = append(got, named{m.RepoTags, config.Config.Entrypoint})
		want := map[string]string{"bin/": "", "bin/program": "code", "bin/other": "-> program", "etc/": "", "etc/name": "text\n", "tmp/": ""}
		if diff := cmp.Diff(want, entries(t, []byte(parts[m.Layers[0]]))); diff != "" {
			t.Errorf("layer of %v (-want +got)\n%s", m.RepoTags, diff)
		}
	}
	want := []named{{[]string{"a:1", "b:2"}, []string{"/bin/program"}}, {[]string{"c:3"}, []string{"/bin/other"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("images (-want +got)\n%s", diff)
	}
}

func TestMissingFileNamesItself(t *testing.T) {
	err := writeArchive(filepath.Join(t.TempDir(), "x.tar"), tree{"bin/x": {source: "/nowhere/x"}}, nil)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestLibrariesOfAProgram(t *testing.T) {
	got, err := librariesOf(t.Context(), "/bin/cat")
	if err != nil {
		t.Skipf("no ldd, or no /bin/cat: %v", err)
	}
	for _, l := range got {
		if !filepath.IsAbs(l) {
			t.Errorf("%q is no path", l)
		}
		if _, err := os.Stat(l); err != nil {
			t.Error(err)
		}
	}
	if len(got) == 0 {
		t.Error("not even the loader")
	}
}
