package kube

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/internal/store"
)

const (
	services  = "/api/v1/services"
	widgetsV2 = "/apis/example.org/v2/widgets"
	widgetsV1 = "/apis/example.org/v1/widgets"
)

// running is a source against a fake server.
type running struct {
	*APIServer
	store   *store.Store
	tables  *Tables
	widgets *store.Table[corev1.ConfigMap] // a kind of an extension, of which two versions are known
}

func start(t *testing.T, s *fakeServer, pick func(*Tables, *Kind) []*Kind) *running {
	t.Helper()
	st := store.New(nil)
	r := &running{store: st, tables: NewTables(st), widgets: NewTable[corev1.ConfigMap](st, "ConfigMap")}
	sch := runtime.NewScheme()
	v1, v2 := schema.GroupVersion{Group: "example.org", Version: "v1"}, schema.GroupVersion{Group: "example.org", Version: "v2"}
	for _, gv := range []schema.GroupVersion{v1, v2} {
		sch.AddKnownTypes(gv, &corev1.ConfigMap{}, &corev1.ConfigMapList{})
		metav1.AddToGroupVersion(sch, gv)
	}
	widget := NewKind(r.widgets, Spec[corev1.ConfigMap]{
		Resource: "widgets", Versions: []schema.GroupVersion{v2, v1}, Optional: true, Scheme: sch,
	})
	var err error
	r.APIServer, err = NewAPIServer(&rest.Config{Host: s.URL, QPS: -1}, st.Source("api-server"), slog.New(slog.DiscardHandler), pick(r.tables, widget)...)
	if err != nil {
		t.Fatal(err)
	}
	r.pace = pace{retry: pause{min: time.Millisecond, max: 10 * time.Millisecond}, probe: 2 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

func (r *running) wait(t *testing.T) error {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return r.store.Wait(ctx)
}

func onlyServices(t *Tables, _ *Kind) []*Kind { return []*Kind{t.Kind.Service} }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (r *running) names() (out []string) {
	for _, s := range r.tables.Services.Snapshot() {
		out = append(out, s.Namespace+"/"+s.Name+"="+s.Spec.ClusterIP)
	}
	return out
}

func (r *running) shows(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, strings.Join(want, " "), func() bool { return slices.Equal(r.names(), want) })
}

func TestListAndWatch(t *testing.T) {
	for _, streaming := range []bool{false, true} {
		t.Run(map[bool]string{false: "list", true: "streamed list"}[streaming], func(t *testing.T) {
			s := newFakeServer(t)
			s.streaming = streaming
			s.install(services)
			web := service("shop", "web", "10.0.0.1")
			web.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
			web.Annotations = map[string]string{lastApplied: "{}", "mine": "kept"}
			s.put(services, "Service", "v1", web)
			r := start(t, s, onlyServices)
			if err := r.wait(t); err != nil {
				t.Fatal(err)
			}
			r.shows(t, "shop/web=10.0.0.1")
			row := r.tables.Services.Peek(store.Key{Namespace: "shop", Name: "web"})
			if row.ManagedFields != nil || !cmp.Equal(row.Annotations, map[string]string{"mine": "kept"}) {
				t.Errorf("not stripped: %v %v", row.ManagedFields, row.Annotations)
			}

			s.put(services, "Service", "v1", service("shop", "db", "10.0.0.2"))
			r.shows(t, "shop/db=10.0.0.2", "shop/web=10.0.0.1")
			s.put(services, "Service", "v1", service("shop", "db", "10.0.0.3"))
			r.shows(t, "shop/db=10.0.0.3", "shop/web=10.0.0.1")
			s.delete(services, "shop/web")
			r.shows(t, "shop/db=10.0.0.3")

			st := r.Status()[0]
			if !st.Synced || !st.Connected || st.Objects != 1 || st.Events != 3 || st.LastEvent.IsZero() || st.Source != "api-server" {
				t.Errorf("status %+v", st)
			}
			if p := r.store.Status().Sources[0].Position; p != "Service resourceVersion 104" && p != "Service resourceVersion 101" {
				t.Errorf("position %q", p)
			}
		})
	}
}

// An edit that changes nothing but resourceVersion keeps the row, so nobody is run again.
func TestNoOpEditKeepsTheRow(t *testing.T) {
	s := newFakeServer(t)
	s.install(services)
	s.put(services, "Service", "v1", service("shop", "web", "10.0.0.1"))
	r := start(t, s, onlyServices)
	r.shows(t, "shop/web=10.0.0.1")
	before := r.tables.Services.Peek(store.Key{Namespace: "shop", Name: "web"})

	again := service("shop", "web", "10.0.0.1")
	again.Generation = 7
	s.put(services, "Service", "v1", again)
	s.put(services, "Service", "v1", service("shop", "zz", "10.0.0.9"))
	r.shows(t, "shop/web=10.0.0.1", "shop/zz=10.0.0.9")
	if after := r.tables.Services.Peek(store.Key{Namespace: "shop", Name: "web"}); after != before {
		t.Error("the row was replaced by one that says the same")
	}
}

func TestWatchEndsAndResumes(t *testing.T) {
	s := newFakeServer(t)
	s.install(services)
	s.put(services, "Service", "v1", service("shop", "web", "10.0.0.1"))
	r := start(t, s, onlyServices)
	r.shows(t, "shop/web=10.0.0.1")
	s.put(services, "Service", "v1", service("shop", "a", "10.0.0.2")) // an event first: a watch that ends without any is suspicious
	r.shows(t, "shop/a=10.0.0.2", "shop/web=10.0.0.1")
	lists := s.count("list " + services)
	s.endWatches()
	s.put(services, "Service", "v1", service("shop", "web", "10.0.0.5"))
	r.shows(t, "shop/a=10.0.0.2", "shop/web=10.0.0.5")
	if n := s.count("list " + services); n != lists {
		t.Errorf("listed again (%d, was %d) though the history was there", n, lists)
	}
}

func TestHistoryGone(t *testing.T) {
	s := newFakeServer(t)
	s.install(services)
	s.put(services, "Service", "v1", service("shop", "stays", "10.0.0.1"))
	s.put(services, "Service", "v1", service("shop", "goes", "10.0.0.2"))
	r := start(t, s, onlyServices)
	r.shows(t, "shop/goes=10.0.0.2", "shop/stays=10.0.0.1")
	before := r.tables.Services.Peek(store.Key{Namespace: "shop", Name: "stays"})

	s.restart(t, func() {
		r.shows(t, "shop/goes=10.0.0.2", "shop/stays=10.0.0.1") // the server is away, everything stays
		eventually(t, "disconnected", func() bool { st := r.Status()[0]; return !st.Connected && st.LastError != "" })
		if st := r.Status()[0]; !st.Synced || st.Objects != 2 {
			t.Errorf("status while the server is away: %+v", st)
		}
		s.delete(services, "shop/goes")
		s.put(services, "Service", "v1", service("shop", "new", "10.0.0.3"))
		s.set(func() { s.oldest = s.rv; s.log = map[string][]event{} })
	})
	r.shows(t, "shop/new=10.0.0.3", "shop/stays=10.0.0.1")
	if after := r.tables.Services.Peek(store.Key{Namespace: "shop", Name: "stays"}); after != before {
		t.Error("listing again replaced a row that did not change")
	}
	eventually(t, "connected", func() bool { return r.Status()[0].Connected })
}

func TestGarbageOnTheWire(t *testing.T) {
	s := newFakeServer(t)
	s.install(services)
	r := start(t, s, onlyServices)
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	s.set(func() { s.garbage = true })
	s.put(services, "Service", "v1", service("shop", "web", "10.0.0.1"))
	r.shows(t, "shop/web=10.0.0.1")
}

func TestForbiddenIsNotEmpty(t *testing.T) {
	s := newFakeServer(t)
	s.install(services)
	s.put(services, "Service", "v1", service("shop", "web", "10.0.0.1"))
	s.refuse = func(string) int { return 403 }
	r := start(t, s, onlyServices)
	eventually(t, "an error", func() bool { return r.Status()[0].LastError != "" })
	if r.store.Synced() {
		t.Error("synced without having listed")
	}
	s.set(func() { s.refuse = nil })
	r.shows(t, "shop/web=10.0.0.1")
}

// A kind of the core that is not found is a failure, not an empty table: the server may be somebody else's.
func TestCoreKindNotFoundIsNotEmpty(t *testing.T) {
	s := newFakeServer(t)
	r := start(t, s, onlyServices)
	eventually(t, "an error", func() bool { return r.Status()[0].LastError != "" })
	if r.store.Synced() || r.Status()[0].Absent {
		t.Error("counted as empty")
	}
}

func TestOptionalKindComesAndGoes(t *testing.T) {
	s := newFakeServer(t)
	s.install(services)
	r := start(t, s, func(tb *Tables, w *Kind) []*Kind { return []*Kind{tb.Kind.Service, w} })
	if err := r.wait(t); err != nil { // it is missing, and that is known
		t.Fatal(err)
	}
	eventually(t, "the status says that the kind is missing", func() bool { st := r.Status()[1]; return st.Absent && st.Synced })
	has := func(want ...string) {
		t.Helper()
		eventually(t, strings.Join(want, " "), func() bool {
			var got []string
			for _, c := range r.widgets.Snapshot() {
				got = append(got, c.Name+"="+c.Data["v"])
			}
			return slices.Equal(got, want)
		})
	}
	widget := func(name, v string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: name}, Data: map[string]string{"v": v}}
	}
	// It appears, in the less preferred version only.
	s.install(widgetsV1)
	s.put(widgetsV1, "ConfigMap", "example.org/v1", widget("a", "1"))
	has("a=1")
	if st := r.Status()[1]; st.Absent || !st.Connected {
		t.Errorf("status of a kind that appeared: %+v", st)
	}
	// The definition is replaced: the old version goes, the other comes.
	s.uninstall(widgetsV1)
	s.install(widgetsV2)
	s.put(widgetsV2, "ConfigMap", "example.org/v2", widget("a", "2"))
	has("a=2")
	// It goes, and its objects with it.
	s.uninstall(widgetsV2)
	has()
	eventually(t, "absent", func() bool { return r.Status()[1].Absent })
	s.install(widgetsV2)
	s.put(widgetsV2, "ConfigMap", "example.org/v2", widget("b", "3"))
	has("b=3")
}

func TestSelection(t *testing.T) {
	s := newFakeServer(t)
	s.install("/api/v1/namespaces/shop/services")
	r := start(t, s, func(tb *Tables, _ *Kind) []*Kind {
		return []*Kind{tb.Kind.Service.Select(Selection{Namespace: "shop", FieldSelector: "metadata.name=web", LabelSelector: "a=b"})}
	})
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queries {
		if !strings.Contains(q, "fieldSelector=metadata.name%3Dweb") || !strings.Contains(q, "labelSelector=a%3Db") {
			t.Errorf("request without the selection: %s", q)
		}
	}
}

// Changes that wait are committed together, in order, and everything sent before close is committed.
func TestCommitterBatches(t *testing.T) {
	st := store.New(nil)
	tb := NewTables(st)
	var c committer
	c.init(st.Source("api-server"))
	const n = 1000
	after := 0
	for i := range n {
		ip := "10.0.0.1"
		if i == n-1 {
			ip = "10.0.0.2"
		}
		o := service("shop", "web", ip)
		c.send(change{apply: func(tx *store.Tx) { tb.Services.Put(tx, o) }, after: func() { after++ }})
	}
	before := st.DB().Rev()
	c.close()
	c.run()
	if got := st.DB().Rev() - before; got != 1 {
		t.Errorf("%d commits for changes that all waited", got)
	}
	if row := tb.Services.Peek(store.Key{Namespace: "shop", Name: "web"}); row.Spec.ClusterIP != "10.0.0.2" || after != n {
		t.Errorf("last change lost: %s, %d after", row.Spec.ClusterIP, after)
	}
}
