package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// tree is the files of an image by their path in it, without the leading slash.
type tree map[string]file

// file is one file of an image: with one of its fields set, or none for an empty folder.
type file struct {
	source  string // a file of this machine
	content string
	link    string // what a symbolic link points to
}

// image is a name for a tree, and what is run in it unless a Pod says otherwise.
type image struct {
	tags       []string
	entrypoint []string
	command    []string
}

// writeArchive packs one tree under the names of several images, in the form that `docker save` has and containerd imports. The same content
// gives the same bytes.
func writeArchive(to string, content tree, images []image) (err error) {
	var layer bytes.Buffer
	if err := content.tar(&layer); err != nil {
		return err
	}
	digest := func(b []byte) string { sum := sha256.Sum256(b); return hex.EncodeToString(sum[:]) }
	layerName := digest(layer.Bytes()) + "/layer.tar"

	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var manifest []entry
	parts := map[string][]byte{layerName: layer.Bytes()}
	for _, i := range images {
		config, err := json.Marshal(map[string]any{
			"architecture": runtime.GOARCH,
			"os":           "linux",
			"config":       map[string]any{"Entrypoint": i.entrypoint, "Cmd": i.command, "Env": []string{"PATH=/bin"}},
			"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer.Bytes())}},
		})
		if err != nil {
			return err
		}
		name := digest(config) + ".json"
		parts[name] = config
		manifest = append(manifest, entry{Config: name, RepoTags: i.tags, Layers: []string{layerName}})
	}
	if parts["manifest.json"], err = json.Marshal(manifest); err != nil {
		return err
	}

	partial := to + ".partial"
	out, err := os.Create(partial)
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(parts[name])), ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
		if _, err := w.Write(parts[name]); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(partial, to)
}

// tar writes the tree in the order of its paths, with the folders that they need.
func (t tree) tar(out io.Writer) error {
	w := tar.NewWriter(out)
	made := map[string]bool{".": true}
	var folder func(name string, mode int64) error
	folder = func(name string, mode int64) error {
		if made[name] {
			return nil
		}
		if err := folder(path.Dir(name), 0o755); err != nil {
			return err
		}
		made[name] = true
		return w.WriteHeader(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: mode, ModTime: time.Unix(0, 0)})
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		f := t[name]
		if f == (file{}) {
			if err := folder(name, 0o1777); err != nil {
				return err
			}
			continue
		}
		if err := folder(path.Dir(name), 0o755); err != nil {
			return err
		}
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(0, 0)}
		content := []byte(f.content)
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname, content = tar.TypeSymlink, f.link, nil
		case f.source != "":
			info, err := os.Stat(f.source)
			if err != nil {
				return err
			}
			if !info.Mode().IsRegular() {
				return fmt.Errorf("%s is no file: %w", f.source, fs.ErrInvalid)
			}
			if content, err = os.ReadFile(filepath.Clean(f.source)); err != nil {
				return err
			}
			h.Mode = int64(info.Mode().Perm())
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
	}
	return w.Close()
}
