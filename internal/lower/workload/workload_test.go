package workload

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// world is a store with the lowered queries over it.
type world struct {
	t       *testing.T
	store   *store.Store
	src     *store.Source
	tables  *kube.Tables
	lowered *Lowered
}

func newWorld(t *testing.T) *world {
	s := store.New(nil)
	tables := kube.NewTables(s)
	return &world{t, s, s.Source("test"), tables, Define(s.DB(), Objects{Pods: tables.Pods, WorkloadEntries: tables.WorkloadEntries})}
}

func put[T any](w *world, table *store.Table[T], text string) {
	w.t.Helper()
	o := new(T)
	if err := yaml.Unmarshal([]byte(text), o); err != nil {
		w.t.Fatal(err)
	}
	w.src.Commit(func(tx *store.Tx) { table.Put(tx, o) })
}

func (w *world) pod(text string) { put[corev1.Pod](w, w.tables.Pods, text) }
func (w *world) entry(text string) {
	put[networkingv1.WorkloadEntry](w, w.tables.WorkloadEntries, text)
}

var web = store.Key{Namespace: "shop", Name: "web"}

func TestWorkloads(t *testing.T) {
	w := newWorld(t)
	want := &model.Workload{Name: model.ObjectName(web), Labels: "app=web,version=v1", ServiceAccount: "cart", Node: "n1", Owner: "web",
		Origin: model.Origin{Object: finding.Object{Kind: "Pod", Namespace: "shop", Name: "web"}}}
	w.pod("metadata: {namespace: shop, name: web, labels: {version: v1, app: web}}\nspec: {serviceAccountName: cart, nodeName: n1}")
	if d := cmp.Diff(want, w.lowered.Pods.Read(web)); d != "" {
		t.Error("(-want +got)\n" + d)
	}
	w.pod("metadata: {namespace: shop, name: web}") // as a folder may have it
	if got := w.lowered.Pods.Read(web); got.ServiceAccount != "default" {
		t.Errorf("%+v", got)
	}
	want = &model.Workload{Name: model.ObjectName(web), Labels: "app=web,region=eu,version=v1", ServiceAccount: "cart", Owner: "web",
		Origin: model.Origin{Object: finding.Object{Kind: "WorkloadEntry", Namespace: "shop", Name: "web"}}}
	w.entry("metadata: {namespace: shop, name: web, labels: {app: web, region: eu}}\nspec: {address: 192.0.2.1, labels: {app: other, version: v1}, serviceAccount: cart}")
	if d := cmp.Diff(want, w.lowered.WorkloadEntries.Read(web)); d != "" {
		t.Error("(-want +got)\n" + d)
	}
	for _, q := range []*derive.Query[store.Key, *model.Workload]{w.lowered.Pods, w.lowered.WorkloadEntries} {
		if got := q.Read(store.Key{Namespace: "shop", Name: "gone"}); got != nil {
			t.Errorf("%+v", got)
		}
	}
}

// A Pod's status changes all the time, and nobody who reads who it is is told.
func TestHeartbeatsStopAtThePod(t *testing.T) {
	w := newWorld(t)
	read := 0
	labels := derive.Define(w.store.DB(), "reader", derive.Equal, func(r *derive.Reader, k store.Key) model.Labels {
		read++
		return w.lowered.Pods.Get(r, k).Labels
	})
	const pod = "metadata: {namespace: shop, name: web, labels: {app: web}}\nspec: {nodeName: n1}\n"
	w.pod(pod)
	labels.Read(web)
	for i := range 5 {
		w.pod(pod + "status: {phase: Running, podIP: 10.0.0.1, startTime: \"2026-01-02T03:04:0" + string(rune('0'+i)) + "Z\"}")
		labels.Read(web)
	}
	if read != 1 {
		t.Errorf("read %d times", read)
	}
	w.pod(strings.Replace(pod, "app: web", "app: shop", 1))
	if got := labels.Read(web); got != "app=shop" || read != 2 {
		t.Errorf("%q, read %d times", got, read)
	}
}
