package compose

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/service"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

type world struct {
	s   *store.Store
	src *store.Source
	o   service.Objects
	m   *Model
}

func newWorld() *world {
	s := store.New(nil)
	tables := kube.NewTables(s)
	o := service.Objects{Services: tables.Services, Slices: tables.EndpointSlices, SlicesByService: tables.SlicesByService, Nodes: tables.Nodes}
	return &world{s: s, src: s.Source("test"), o: o, m: Define(s.DB(), o, service.Define(s.DB(), o))}
}

func (w *world) put(name string, age int, edit func(*corev1.ServiceSpec)) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1000-int64(age), 0))}}
	s.Spec.Selector = map[string]string{"app": name}
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	edit(&s.Spec)
	w.src.Commit(func(tx *store.Tx) { w.o.Services.Put(tx, s) })
}

func (w *world) lost(name string) string {
	s := w.m.Services.Read(store.Key{Namespace: "shop", Name: name})
	var out []string
	for _, c := range s.Lost {
		out = append(out, c.String())
	}
	return strings.Join(out, ", ")
}

func TestOlderServiceWins(t *testing.T) {
	nodePort := func(s *corev1.ServiceSpec) { s.Ports[0].NodePort = 30080 }
	externalIP := func(s *corev1.ServiceSpec) { s.ExternalIPs = []string{"198.51.100.10"} }
	for _, c := range []struct {
		name string
		edit func(*corev1.ServiceSpec)
		want string
	}{
		{"node port", nodePort, "node port TCP 30080"},
		{"external address and port", externalIP, "198.51.100.10 TCP 80"},
		{"cluster address", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.9" }, "10.96.0.9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.put("young", 1, c.edit)
			if got := w.lost("young"); got != "" {
				t.Fatalf("lost %s though nobody else wants it", got)
			}
			w.put("old", 2, c.edit)
			if got := w.lost("young"); got != c.want {
				t.Errorf("young lost %q, want %q", got, c.want)
			}
			if got := w.lost("old"); got != "" {
				t.Errorf("old lost %q", got)
			}
			f := w.s.DB().AllFindings()
			if len(f) != 1 || f[0].Object.Name != "young" || !strings.Contains(f[0].Message, "Service shop/old") || f[0].Field == "" {
				t.Errorf("findings %v", f)
			}
			w.src.Commit(func(tx *store.Tx) { w.o.Services.Delete(tx, store.Key{Namespace: "shop", Name: "old"}) })
			if got := w.lost("young"); got != "" {
				t.Errorf("young still lost %q after old has gone", got)
			}
			if f := w.s.DB().AllFindings(); len(f) != 0 {
				t.Errorf("findings %v", f)
			}
		})
	}
}

func TestOtherPortOfTheSameExternalAddressIsShared(t *testing.T) {
	w := newWorld()
	w.put("a", 2, func(s *corev1.ServiceSpec) { s.ExternalIPs = []string{"198.51.100.10"} })
	w.put("b", 1, func(s *corev1.ServiceSpec) { s.ExternalIPs = []string{"198.51.100.10"}; s.Ports[0].Port = 81 })
	if got := w.lost("a") + w.lost("b"); got != "" {
		t.Error(got)
	}
}

// An external address must not take traffic away from a ClusterIP (CVE-2020-8554), whoever is older.
func TestClusterAddressIsNotForOthers(t *testing.T) {
	w := newWorld()
	w.put("thief", 9, func(s *corev1.ServiceSpec) { s.ExternalIPs = []string{"10.96.0.9"} })
	w.put("owner", 1, func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.9" })
	if got := w.lost("thief"); got != "10.96.0.9 TCP 80" {
		t.Errorf("thief lost %q", got)
	}
	if got := w.lost("owner"); got != "" {
		t.Errorf("owner lost %q", got)
	}
}

func TestLostIsSorted(t *testing.T) {
	w := newWorld()
	both := func(s *corev1.ServiceSpec) {
		s.Ports = []corev1.ServicePort{{Name: "b", Port: 81, NodePort: 30081}, {Name: "a", Port: 80, NodePort: 30080}}
		s.ExternalIPs = []string{"198.51.100.10"}
	}
	w.put("old", 2, both)
	w.put("young", 1, both)
	lost := w.m.Services.Read(store.Key{Namespace: "shop", Name: "young"}).Lost
	if len(lost) != 4 || !slices.IsSortedFunc(lost, model.Claim.Compare) {
		t.Errorf("%v", lost)
	}
}
