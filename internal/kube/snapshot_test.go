package kube

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/store"
)

// snapshotWorld is a store with an API server's source, which the test plays, and a snapshot.
type snapshotWorld struct {
	store *store.Store
	api   *store.Source
	t     *Tables
	snap  *Snapshot
}

func newSnapshotWorld(path string) *snapshotWorld {
	w := &snapshotWorld{store: store.New(nil)}
	w.t = NewTables(w.store)
	w.api = w.store.Source("api-server")
	w.api.Expect("Service")
	w.snap = NewSnapshot(path, w.store, slog.New(slog.DiscardHandler), 10*time.Millisecond, w.t.Kind.Service, w.t.Kind.Node)
	w.snap.every = time.Millisecond
	return w
}

func (w *snapshotWorld) put(names ...string) {
	w.api.Commit(func(tx *store.Tx) {
		for _, n := range names {
			w.t.Services.Put(tx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: n, ResourceVersion: "1"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1"}})
		}
	})
}

func (w *snapshotWorld) names() (out []string) {
	for _, s := range w.t.Services.Snapshot() {
		out = append(out, s.Name)
	}
	return out
}

// run runs the snapshot until stop is called; restored is closed if the file was used.
func (w *snapshotWorld) run(t *testing.T) (restored chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	restored, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		w.snap.Run(ctx, func() { close(restored) })
	}()
	return restored, func() { cancel(); <-ended }
}

func wait(t *testing.T, restored <-chan struct{}) {
	t.Helper()
	select {
	case <-restored:
	case <-time.After(10 * time.Second):
		t.Fatal("the file is not used")
	}
}

func TestSnapshotCarriesOverWhileTheAPIServerIsAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dns", "snapshot")

	w := newSnapshotWorld(path)
	w.put("web", "old")
	w.api.MarkSynced("Service")
	_, stop := w.run(t)
	eventually(t, "the file is written", func() bool { _, err := os.Stat(path); return err == nil })
	stop()

	w = newSnapshotWorld(path)
	restored, stop := w.run(t)
	wait(t, restored)
	if d := cmp.Diff([]string{"old", "web"}, w.names()); d != "" {
		t.Error("restored (-want +got)\n" + d)
	}
	if s := w.t.Services.Peek(store.Key{Namespace: "shop", Name: "web"}); s.Spec.ClusterIP != "10.96.0.1" {
		t.Errorf("restored %+v", s)
	}

	// The API server comes back without "old" and with "new".
	w.put("web", "new")
	w.api.MarkSynced("Service")
	eventually(t, "what is only in the file goes", func() bool { return cmp.Equal([]string{"new", "web"}, w.names()) })
	stop()

	w = newSnapshotWorld(path)
	restored, stop = w.run(t)
	wait(t, restored)
	if d := cmp.Diff([]string{"new", "web"}, w.names()); d != "" {
		t.Error("restored again (-want +got)\n" + d)
	}
	stop()
}

func TestSnapshotIsNotUsedWhenTheAPIServerAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	w := newSnapshotWorld(path)
	w.put("old")
	w.api.MarkSynced("Service")
	_, stop := w.run(t)
	eventually(t, "the file is written", func() bool { _, err := os.Stat(path); return err == nil })
	stop()

	w = newSnapshotWorld(path)
	w.put("new")
	w.api.MarkSynced("Service")
	restored, stop := w.run(t)
	stop()
	select {
	case <-restored:
		t.Error("the file was used")
	default:
	}
	if d := cmp.Diff([]string{"new"}, w.names()); d != "" {
		t.Error("(-want +got)\n" + d)
	}
}

func TestDamagedSnapshotIsNotUsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	w := newSnapshotWorld(path)
	w.put("web")
	if err := w.snap.write(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		bad := append([]byte(nil), raw...)
		bad[i] ^= 1
		if puts, err := w.snap.decode(bad); err == nil {
			t.Fatalf("byte %d changed, and %d objects were read", i, len(puts))
		}
	}
	if _, err := w.snap.decode(raw[:len(raw)-1]); err == nil {
		t.Error("a file without its end was read")
	}
	if puts, err := w.snap.decode(raw); err != nil || len(puts) != 1 {
		t.Errorf("%d objects, %v", len(puts), err)
	}
}

func FuzzSnapshot(f *testing.F) {
	w := newSnapshotWorld(filepath.Join(f.TempDir(), "snapshot"))
	w.put("web")
	if err := w.snap.write(); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(w.snap.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = w.snap.decode(b) })
}
