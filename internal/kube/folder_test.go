package kube

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/store"
)

// reading is a source that reads a folder.
type reading struct {
	*Folder
	t      *testing.T
	store  *store.Store
	tables *Tables
}

// readFolder starts reading dir, with a poll that finds everything soon, or only events.
func readFolder(t *testing.T, dir string, poll time.Duration) *reading {
	t.Helper()
	st := store.New(nil)
	tables := NewTables(st)
	f, err := NewFolder(dir, st.Source("folder:"+dir), slog.New(slog.DiscardHandler), tables.Kind.Service, tables.Kind.Node)
	if err != nil {
		t.Fatal(err)
	}
	f.rhythm = rhythm{settle: time.Millisecond, latest: 50 * time.Millisecond, poll: poll}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { f.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return &reading{f, t, st, tables}
}

func (r *reading) shows(want ...string) {
	r.t.Helper()
	var got []string
	defer func() {
		if r.t.Failed() {
			r.t.Logf("got %q, findings %v", got, r.Findings())
		}
	}()
	eventually(r.t, strings.Join(want, " "), func() bool {
		got = nil
		for _, s := range r.tables.Services.Snapshot() {
			got = append(got, s.Name+"="+s.Spec.ClusterIP)
		}
		return slices.Equal(got, want)
	})
}

func (r *reading) finds(want ...string) {
	r.t.Helper()
	var got []string
	defer func() {
		if r.t.Failed() {
			r.t.Log(cmp.Diff(want, got))
		}
	}()
	eventually(r.t, "the findings", func() bool {
		got = nil
		for _, f := range r.Findings() {
			got = append(got, f.String())
		}
		return slices.Equal(got, want)
	})
}

func manifest(name, ip string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: {clusterIP: " + ip + "}\n"
}

func write(t *testing.T, dir, name, data string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	// In one step: with waits as short as here, the reader would see a file that is half written.
	tmp := filepath.Join(filepath.Dir(path), ".tmp")
	must(t, os.WriteFile(tmp, []byte(data), 0o644))
	must(t, os.Rename(tmp, path))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	onlyEvents = time.Hour
	soon       = 5 * time.Millisecond
)

func TestFolderFollowsFiles(t *testing.T) {
	for name, poll := range map[string]time.Duration{"by events": onlyEvents, "by polling": soon} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "a.yaml", manifest("a", "10.0.0.1")+"---\n"+manifest("b", "10.0.0.2"))
			write(t, dir, "notes.txt", manifest("no", "10.0.0.9"))
			write(t, dir, ".hidden.yaml", manifest("no", "10.0.0.9"))
			r := readFolder(t, dir, poll)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			must(t, r.store.Wait(ctx))
			r.shows("a=10.0.0.1", "b=10.0.0.2")
			a := r.tables.Services.Peek(store.Key{Namespace: "default", Name: "a"})

			write(t, dir, "a.yaml", manifest("a", "10.0.0.1")+"---\n"+manifest("b", "10.0.0.3")) // an edit
			r.shows("a=10.0.0.1", "b=10.0.0.3")
			if r.tables.Services.Peek(store.Key{Namespace: "default", Name: "a"}) != a {
				t.Error("the object beside the edited one was replaced")
			}
			write(t, dir, "deep/er/c.json", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"},"spec":{"clusterIP":"10.0.0.4"}}`) // new folders
			r.shows("a=10.0.0.1", "b=10.0.0.3", "c=10.0.0.4")
			write(t, dir, "deep/er/c.json", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"},"spec":{"clusterIP":"10.0.0.5"}}`)
			r.shows("a=10.0.0.1", "b=10.0.0.3", "c=10.0.0.5")
			must(t, os.Rename(filepath.Join(dir, "deep"), filepath.Join(dir, "moved")))
			must(t, os.Remove(filepath.Join(dir, "a.yaml")))
			r.shows("c=10.0.0.5")
			must(t, os.RemoveAll(filepath.Join(dir, "moved")))
			r.shows()
			eventually(t, "the status says so", func() bool {
				st := r.Status()[0]
				return st.Synced && st.Connected && st.Objects == 0 && st.Events > 0
			})
		})
	}
}

// A broken document costs itself, an unknown field costs itself, and the folder goes on.
func TestFolderFindings(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", manifest("a", "10.0.0.1")+"---\nkind: [\n---\n"+manifest("b", "10.0.0.2")+"---\napiVersion: v1\nkind: Service\nmetadata: {name: c}\nspec: {clusterIp: 10.0.0.3}\n")
	r := readFolder(t, dir, onlyEvents)
	r.shows("a=10.0.0.1", "b=10.0.0.2", "c=")
	r.finds(
		"error Manifest a.yaml document 2: line 6: did not find expected node content; nothing of it is used (manifest-unreadable)",
		"error Service default/c spec.clusterIp: is not a field of Service; ignored (a.yaml document 4) (manifest-unknown-field)",
	)
	select {
	case <-r.Changed():
	case <-time.After(20 * time.Second):
		t.Error("nobody was told")
	}
	// What was good before keeps nothing once it cannot be read.
	write(t, dir, "a.yaml", manifest("a", "10.0.0.1")+"---\nkind: [\n")
	r.shows("a=10.0.0.1")
	// And all is well when it is mended.
	write(t, dir, "a.yaml", manifest("a", "10.0.0.1")+"---\n"+manifest("b", "10.0.0.2"))
	r.shows("a=10.0.0.1", "b=10.0.0.2")
	r.finds()
}

func TestFolderDoubledObject(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "b.yaml", manifest("a", "10.0.0.2"))
	r := readFolder(t, dir, onlyEvents)
	r.shows("a=10.0.0.2")
	write(t, dir, "a.yaml", manifest("a", "10.0.0.1"))
	r.shows("a=10.0.0.1")
	r.finds("error Service default/a: stands in a.yaml document 1 and in b.yaml document 1; the first is used (manifest-doubled-object)")
	must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	r.shows("a=10.0.0.2")
	r.finds()
}

// A ConfigMap volume: files are links through ..data, which is swapped for another folder.
func TestFolderConfigMapVolume(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "..2026_1/svc.yaml", manifest("a", "10.0.0.1"))
	must(t, os.Symlink("..2026_1", filepath.Join(dir, "..data")))
	must(t, os.Symlink("..data/svc.yaml", filepath.Join(dir, "svc.yaml")))
	r := readFolder(t, dir, onlyEvents)
	r.shows("a=10.0.0.1")
	write(t, dir, "..2026_2/svc.yaml", manifest("a", "10.0.0.2"))
	must(t, os.Symlink("..2026_2", filepath.Join(dir, "..data_tmp")))
	must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	must(t, os.RemoveAll(filepath.Join(dir, "..2026_1")))
	r.shows("a=10.0.0.2")
	r.finds()
}

func TestFolderLinks(t *testing.T) {
	elsewhere := t.TempDir()
	write(t, elsewhere, "v1/svc.yaml", manifest("a", "10.0.0.1"))
	write(t, elsewhere, "v2/svc.yaml", manifest("a", "10.0.0.2"))
	dir := t.TempDir()
	must(t, os.Symlink(filepath.Join(elsewhere, "v1"), filepath.Join(dir, "current")))
	must(t, os.Symlink(dir, filepath.Join(dir, "loop")))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")))
	r := readFolder(t, dir, soon)
	r.shows("a=10.0.0.1")
	r.finds("error Manifest dangling.yaml: the link leads to nothing; nothing of it is used (manifest-unreadable)")
	must(t, os.Symlink(filepath.Join(elsewhere, "v2"), filepath.Join(dir, "next")))
	must(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")))
	r.shows("a=10.0.0.2")
	write(t, elsewhere, "v2/svc.yaml", manifest("a", "10.0.0.30"))
	r.shows("a=10.0.0.30")
}

// A folder that is away leaves everything as it was, and one that was never there is not an empty one.
func TestFolderAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "manifests")
	r := readFolder(t, dir, soon)
	eventually(t, "a failure", func() bool { return r.Status()[0].LastError != "" })
	if r.store.Synced() {
		t.Error("synced without a folder")
	}
	write(t, dir, "a.yaml", manifest("a", "10.0.0.1"))
	r.shows("a=10.0.0.1")
	r.finds()
	must(t, os.Rename(dir, dir+".away"))
	eventually(t, "disconnected", func() bool { return !r.Status()[0].Connected })
	eventually(t, "a finding", func() bool {
		fs := r.Findings()
		return len(fs) == 1 && fs[0].Object.Kind == "Manifest" && strings.HasSuffix(fs[0].Message, "objects stay as they are")
	})
	r.shows("a=10.0.0.1")
	must(t, os.Rename(dir+".away", dir))
	eventually(t, "connected", func() bool { return r.Status()[0].Connected })
	r.finds()
	r.shows("a=10.0.0.1")
}

func TestFolderTooLargeFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", manifest("a", "10.0.0.1"))
	must(t, os.WriteFile(filepath.Join(dir, "big.yaml"), nil, 0o644))
	must(t, os.Truncate(filepath.Join(dir, "big.yaml"), maxFileBytes+1))
	must(t, os.Mkdir(filepath.Join(dir, "odd.yaml"), 0o755)) // a folder, whatever its name
	r := readFolder(t, dir, onlyEvents)
	r.shows("a=10.0.0.1")
	r.finds("error Manifest big.yaml: larger than 16 MiB; nothing of it is used (manifest-unreadable)")
}

// A folder and an API server fill the same table; the folder, named first, goes before.
func TestTwoSources(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", manifest("a", "10.0.0.1"))
	r := readFolder(t, dir, onlyEvents)
	r.shows("a=10.0.0.1")
	other := r.store.Source("api-server")
	other.Commit(func(tx *store.Tx) { r.tables.Kind.Service.put(tx, service("default", "a", "10.0.0.7")) })
	r.shows("a=10.0.0.1")
	must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	r.shows("a=10.0.0.7")
}
