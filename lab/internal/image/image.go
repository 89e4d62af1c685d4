// Package image packs static programs into container images without a
// container engine, as the docker-archive tar files that containerd imports.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image says what an image holds.
type Image struct {
	// Tag is the image's name with its tag.
	Tag        string
	Entrypoint []string
	// Files are files of this machine, or folders with all they hold, by
	// absolute path in the image. Modes are kept, owners are not.
	Files map[string]string
}

// passwd lets programs look themselves up, and lets runAsNonRoot see numbers.
const passwd = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"

// Write packs the image to a file. The same content gives the same bytes.
func (i Image) Write(file string) error {
	tag, err := name.NewTag(i.Tag, name.WithDefaultRegistry("docker.io"))
	if err != nil {
		return fmt.Errorf("image tag %q: %w", i.Tag, err)
	}
	content, err := i.layer()
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Tag, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Tag, err)
	}
	packed, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Tag, err)
	}
	config, err := packed.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Config = v1.Config{
		Entrypoint: i.Entrypoint,
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	if packed, err = mutate.ConfigFile(packed, config); err != nil {
		return fmt.Errorf("image %s: %w", i.Tag, err)
	}
	partial := file + ".partial"
	if err := tarball.WriteToFile(partial, tag, packed); err != nil {
		return fmt.Errorf("image %s: %w", i.Tag, err)
	}
	return os.Rename(partial, file)
}

// layer is the image's only layer: a tar of sorted entries without times.
func (i Image) layer() ([]byte, error) {
	var out bytes.Buffer
	w := layerWriter{tar: tar.NewWriter(&out), dirs: map[string]bool{".": true}}
	for _, target := range slices.Sorted(maps.Keys(i.Files)) {
		if !path.IsAbs(target) || path.Clean(target) == "/" {
			return nil, fmt.Errorf("%q is not an absolute path of a file", target)
		}
		if err := w.add(strings.TrimPrefix(path.Clean(target), "/"), i.Files[target]); err != nil {
			return nil, err
		}
	}
	if err := w.directory("tmp", 0o777|fs.ModeSticky); err != nil {
		return nil, err
	}
	if _, ok := i.Files["/etc/passwd"]; !ok {
		if err := w.file("etc/passwd", 0o644, []byte(passwd)); err != nil {
			return nil, err
		}
	}
	if err := w.tar.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

type layerWriter struct {
	tar  *tar.Writer
	dirs map[string]bool
}

// add puts a file or folder of this machine at target.
func (w *layerWriter) add(target, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		content, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		return w.file(target, info.Mode(), content)
	}
	if err := w.directory(target, info.Mode()); err != nil {
		return err
	}
	entries, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.add(path.Join(target, e.Name()), path.Join(source, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (w *layerWriter) file(target string, mode fs.FileMode, content []byte) error {
	if err := w.directory(path.Dir(target), 0o755); err != nil {
		return err
	}
	header := &tar.Header{Name: target, Typeflag: tar.TypeReg, Mode: int64(mode.Perm()), Size: int64(len(content)), ModTime: time.Unix(0, 0)}
	if err := w.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.tar.Write(content)
	return err
}

// directory adds a folder and those above it, once.
func (w *layerWriter) directory(target string, mode fs.FileMode) error {
	if w.dirs[target] {
		return nil
	}
	if err := w.directory(path.Dir(target), 0o755); err != nil {
		return err
	}
	w.dirs[target] = true
	bits := int64(mode.Perm())
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return w.tar.WriteHeader(&tar.Header{Name: target + "/", Typeflag: tar.TypeDir, Mode: bits, ModTime: time.Unix(0, 0)})
}
