package kube

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	maxFileBytes = 16 << 20 // a manifest that is larger is not read
	maxDepth     = 32       // of folders inside one another
)

// tree is what a folder holds at one moment.
type tree struct {
	files map[string]os.FileInfo // by path below the root; links are followed
	dirs  []string               // to watch: the root and all folders below, as they were reached
	bad   map[string]error       // by path below the root: what could not be looked at
	// linked tells that there is a link, besides those that begin with a dot.
	linked bool
}

// walk looks at a folder and all below it. Names that begin with a dot are left out: editors and volumes of Kubernetes (whose files are
// links to "..data/NAME") use them for what is not finished. Links are followed; a folder that is reached twice is looked at once. The
// error is that the root cannot be read.
func walk(root string) (*tree, error) {
	t := &tree{files: map[string]os.FileInfo{}, bad: map[string]error{}}
	if err := t.enter(root, "", 0, nil); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *tree) enter(dir, rel string, depth int, above []os.FileInfo) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(above, func(a os.FileInfo) bool { return os.SameFile(a, info) }) {
		return nil // a link to a folder that holds it
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	t.dirs = append(t.dirs, dir)
	above = append(slices.Clip(above), info)
	for _, e := range entries {
		if isHidden(e.Name()) {
			continue
		}
		path, name := filepath.Join(dir, e.Name()), filepath.Join(rel, e.Name())
		t.linked = t.linked || e.Type()&fs.ModeSymlink != 0
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went meanwhile, or is a link to nothing
			if e.Type()&fs.ModeSymlink != 0 && isManifest(name) {
				t.bad[name] = errors.New("the link leads to nothing")
			}
		case err != nil:
			t.add(name, nil, err)
		case info.IsDir() && depth == maxDepth:
			t.bad[name] = errors.New("too many folders inside one another")
		case info.IsDir():
			if err := t.enter(path, name, depth+1, above); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.bad[name] = err
			}
		default:
			t.add(name, info, nil)
		}
	}
	return nil
}

// add notes what is known of something that is no folder.
func (t *tree) add(name string, info os.FileInfo, err error) {
	switch {
	case err != nil:
		t.bad[name] = err
	case isManifest(name) && !info.Mode().IsRegular():
		t.bad[name] = errors.New("not a regular file")
	case isManifest(name):
		t.files[name] = info
	}
}

func isManifest(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// readFile reads a manifest of bounded size.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = errors.New("larger than 16 MiB")
	}
	return data, err
}

// unchanged tells whether a file looks as it did.
func unchanged(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
