package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("code"), 0o755); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "folder")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "note"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := Image{
		Tag:        "example.test/program:1",
		Entrypoint: []string{"/bin/program", "serve"},
		Files:      map[string]string{"/bin/program": program, "/srv/folder": folder},
	}
	file := filepath.Join(dir, "image.tar")
	if err := i.Write(file); err != nil {
		t.Fatal(err)
	}

	read, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := read.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(i.Entrypoint, config.Config.Entrypoint); d != "" {
		t.Error(d)
	}
	layers, err := read.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers: %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Mode    int64
		Content string
	}
	got := map[string]entry{}
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = entry{h.Mode, string(text)}
	}
	want := map[string]entry{
		"bin/": {0o755, ""}, "bin/program": {0o755, "code"},
		"srv/": {0o755, ""}, "srv/folder/": {0o755, ""}, "srv/folder/note": {0o600, "text"},
		"tmp/": {0o1777, ""}, "etc/": {0o755, ""}, "etc/passwd": {0o644, passwd},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	again := filepath.Join(dir, "again.tar")
	if err := i.Write(again); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(file)
	b, _ := os.ReadFile(again)
	if !bytes.Equal(a, b) {
		t.Error("the same image has other bytes")
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, i := range map[string]Image{
		"tag":           {Tag: "no tag!"},
		"relative path": {Tag: "x:1", Files: map[string]string{"bin/x": dir}},
		"root":          {Tag: "x:1", Files: map[string]string{"/": dir}},
		"missing file":  {Tag: "x:1", Files: map[string]string{"/x": filepath.Join(dir, "none")}},
	} {
		if err := i.Write(filepath.Join(dir, "image.tar")); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}
