package kube

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/store"
)

// looked is a folder that was read once, and is told of events by the test.
func looked(t *testing.T, dir string) (*Folder, *Tables) {
	t.Helper()
	st := store.New(nil)
	tables := NewTables(st)
	f, err := NewFolder(dir, st.Source("folder"), slog.New(slog.DiscardHandler), tables.Kind.Service, tables.Kind.Node)
	must(t, err)
	f.load(&fsnotify.Watcher{}, always)
	return f, tables
}

func shown(tables *Tables) (all []string) {
	for _, s := range tables.Services.Snapshot() {
		all = append(all, s.Namespace+"/"+s.Name+"="+s.Spec.ClusterIP)
	}
	return all
}

// Only files that events name are looked at.
func TestFolderUpdateReadsWhatIsNamed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", manifest("a", "10.0.0.1"))
	write(t, dir, "b.yaml", manifest("b", "10.0.0.1"))
	f, tables := looked(t, dir)
	write(t, dir, "a.yaml", manifest("a", "10.0.0.2"))
	write(t, dir, "b.yaml", manifest("b", "10.0.0.2"))
	if !f.update(map[string]bool{filepath.Join(dir, "a.yaml"): true, filepath.Join(dir, ".tmp"): true}) {
		t.Fatal("it wants to look at all")
	}
	if d := cmp.Diff([]string{"default/a=10.0.0.2", "default/b=10.0.0.1"}, shown(tables)); d != "" {
		t.Error(d)
	}
}

// Whatever happens to a folder, what was made of the events is what somebody finds who reads it only now.
func TestFolderUpdateIsAsReadingAll(t *testing.T) {
	dir := t.TempDir()
	f, tables := looked(t, dir)
	r := rand.New(rand.NewPCG(7, 8))
	file := func() string {
		return [...]string{"a.yaml", "b.yaml", "c.yaml", "sub/d.yaml", "sub/e.json", "notes.txt", ".hidden.yaml", "odd.yaml"}[r.IntN(8)]
	}
	updated := 0
	for i := range 600 {
		touched := map[string]bool{}
		for range 1 + r.IntN(2) {
			name := file()
			path := filepath.Join(dir, name)
			touched[path] = true
			switch what := r.IntN(20); {
			case what < 4:
				_ = os.Remove(path)
			case what < 5:
				other := filepath.Join(dir, file())
				_ = os.Rename(path, other)
				touched[other] = true
			case what < 6:
				_ = os.RemoveAll(filepath.Join(dir, "sub"))
				touched[filepath.Join(dir, "sub")] = true
			case what < 7:
				_ = os.Symlink("a.yaml", path)
			case what < 8:
				_ = os.Mkdir(path, 0o755)
			case what < 9:
				touched[filepath.Dir(path)] = true
				must(t, os.MkdirAll(filepath.Dir(path), 0o755))
				_ = os.Remove(path) // not through a link: that would be an event of another name
				_ = os.WriteFile(path, []byte("kind: [\n"), 0o644)
			default:
				touched[filepath.Dir(path)] = touched[filepath.Dir(path)] || r.IntN(10) == 0
				if _, err := os.Stat(filepath.Dir(path)); err != nil {
					touched[filepath.Dir(path)] = true
					must(t, os.MkdirAll(filepath.Dir(path), 0o755))
				}
				text := ""
				for range r.IntN(3) {
					text += "---\n" + manifest(fmt.Sprint(name[0:1], r.IntN(8)), fmt.Sprint("10.0.0.", 1+r.IntN(4)))
				}
				if r.IntN(30) == 0 {
					text += "---\n" + manifest(fmt.Sprint("b", r.IntN(8)), "10.0.0.9")
				}
				_ = os.Remove(path)
				_ = os.WriteFile(path, []byte(text), 0o644)
			}
		}
		for path := range touched {
			if !touched[path] {
				delete(touched, path)
			}
		}
		if f.update(touched) {
			updated++
		} else {
			f.load(&fsnotify.Watcher{}, func(path string) bool { return touched[path] })
		}
		fresh, want := looked(t, dir)
		if d := cmp.Diff(shown(want), shown(tables)); d != "" {
			t.Fatalf("step %d, %v: %s", i, touched, d)
		}
		if d := cmp.Diff(fresh.Findings(), f.Findings()); d != "" {
			t.Fatalf("step %d, %v: %s", i, touched, d)
		}
		if got, want := f.Status()[0].Objects, len(shown(tables)); got != want {
			t.Fatalf("step %d: status tells of %d objects, there are %d", i, got, want)
		}
		if i%50 == 49 { // links and doubled objects make it look at all
			entries, err := os.ReadDir(dir)
			must(t, err)
			for _, e := range slices.Backward(entries) {
				must(t, os.RemoveAll(filepath.Join(dir, e.Name())))
			}
			f.load(&fsnotify.Watcher{}, always)
		}
	}
	if updated < 100 {
		t.Errorf("only %d of 600 steps without looking at all", updated)
	} else {
		t.Logf("%d of 600 steps without looking at all", updated)
	}
}
