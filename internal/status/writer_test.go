package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"

	"github.com/weftmesh/weft/internal/model"
)

// api is client-go's fake clientset with what it lacks: it counts resourceVersions of Services, refuses a patch of another one, and can be away.
type api struct {
	*fake.Clientset
	tracker clienttesting.ObjectTracker

	mu      sync.Mutex
	version int
	away    bool
	patches []string // "name subresource"
	meddle  func()   // between the Get and the Patch of a Service; once
}

var errAway = errors.New("connection refused")

func newAPI(objects ...runtime.Object) *api {
	a := &api{Clientset: &fake.Clientset{}, tracker: clienttesting.NewObjectTracker(scheme.Scheme, scheme.Codecs.UniversalDecoder()), version: 1}
	for _, o := range objects {
		if err := a.tracker.Add(o); err != nil {
			panic(err)
		}
	}
	a.AddReactor("*", "*", clienttesting.ObjectReaction(a.tracker))
	a.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.away {
			return true, nil, errAway
		}
		return false, nil, nil
	})
	a.PrependReactor("patch", "services", func(action clienttesting.Action) (bool, runtime.Object, error) {
		p := action.(clienttesting.PatchAction)
		var patch struct {
			Metadata struct{ ResourceVersion string }
		}
		if err := json.Unmarshal(p.GetPatch(), &patch); err != nil {
			return true, nil, err
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if meddle := a.meddle; meddle != nil {
			a.meddle = nil
			meddle()
		}
		live, err := a.tracker.Get(corev1.SchemeGroupVersion.WithResource("services"), p.GetNamespace(), p.GetName())
		if err != nil {
			return true, nil, err
		}
		if rv := live.(*corev1.Service).ResourceVersion; !a.away && rv != patch.Metadata.ResourceVersion {
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "services"}, p.GetName(), fmt.Errorf("it is at %s", rv))
		}
		if !a.away {
			a.patches = append(a.patches, p.GetName()+" "+p.GetSubresource())
		}
		return false, nil, nil
	})
	return a
}

// put stores a Service as its user or somebody else would, with a resourceVersion of its own.
func (a *api) put(t *testing.T, s *corev1.Service) {
	t.Helper()
	a.version++
	s = s.DeepCopy()
	s.ResourceVersion = fmt.Sprint(a.version)
	gvr := corev1.SchemeGroupVersion.WithResource("services")
	if err := a.tracker.Update(gvr, s, s.Namespace); err != nil {
		if err := a.tracker.Create(gvr, s, s.Namespace); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *api) setAway(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
}

func (a *api) ingress(t *testing.T, name string) string {
	t.Helper()
	o, err := a.tracker.Get(corev1.SchemeGroupVersion.WithResource("services"), "shop", name)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, in := range o.(*corev1.Service).Status.LoadBalancer.Ingress {
		out = append(out, in.IP)
	}
	return strings.Join(out, " ")
}

func service(name string, ips ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "uid-of-service"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
	for _, ip := range ips {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
	}
	return s
}

func name(n string) model.ServiceName { return model.ServiceName{Namespace: "shop", Name: n} }

func newWriter(t *testing.T, a *api) (*Writer, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	w, err := NewWriter(WriterOptions{Client: a.CoreV1(), Ours: inPool, Log: slog.New(slog.DiscardHandler), Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	return w, reg
}

// start runs something until the test stops it, which waits for its end.
func start(run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestWriterWritesWhatIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		a.put(t, service("new"))
		a.put(t, service("kept", "10.0.0.7"))
		a.put(t, service("mixed", "192.0.2.1", "10.0.0.8"))
		w, reg := newWriter(t, a)
		w.Want(name("new"), Addresses{IPs: ips("10.0.0.1")})
		w.Want(name("kept"), Addresses{IPs: ips("10.0.0.7")})
		w.Want(name("gone"), Addresses{IPs: ips("10.0.0.9")})
		w.Want(name("changed-my-mind"), Addresses{IPs: ips("10.0.0.10")})
		w.Settled(name("changed-my-mind"))
		synctest.Wait()
		if len(a.patches) > 0 {
			t.Fatalf("written by a Writer that does not run: %v", a.patches)
		}
		stop := start(w.Run)
		w.Want(name("mixed"), Addresses{})
		synctest.Wait()
		stop()
		if got := a.ingress(t, "new") + ", " + a.ingress(t, "kept") + ", " + a.ingress(t, "mixed"); got != "10.0.0.1, 10.0.0.7, 192.0.2.1" {
			t.Error(got)
		}
		if len(a.patches) != 2 || !strings.HasSuffix(a.patches[0], " status") {
			t.Errorf("patches: %v", a.patches)
		}
		if s := w.Status(); s.Waiting != 0 || s.Written != 2 || s.LastError != "" {
			t.Errorf("%+v", s)
		}
		want := `# HELP weft_status_writes_total Statuses of Services that were to be written, by result: written, unchanged (it was so already), gone, conflict (tried again), error (tried again).
# TYPE weft_status_writes_total counter
weft_status_writes_total{result="conflict"} 0
weft_status_writes_total{result="error"} 0
weft_status_writes_total{result="gone"} 1
weft_status_writes_total{result="unchanged"} 1
weft_status_writes_total{result="written"} 2
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "weft_status_writes_total"); err != nil {
			t.Error(err)
		}
	})
}

// Somebody else's edit between looking and writing is not lost.
func TestWriterLooksAgainAfterAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		a.put(t, service("web"))
		a.meddle = func() { a.put(t, service("web", "192.0.2.1")) }
		w, _ := newWriter(t, a)
		w.Want(name("web"), Addresses{IPs: ips("10.0.0.1")})
		stop := start(w.Run)
		time.Sleep(time.Second) // of the bubble
		stop()
		if got := a.ingress(t, "web"); got != "192.0.2.1 10.0.0.1" {
			t.Error(got)
		}
	})
}

func TestWriterDoesNotWriteWhatIsNotBalancedAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		s := service("web")
		s.Spec.Type = corev1.ServiceTypeClusterIP
		a.put(t, s)
		w, _ := newWriter(t, a)
		w.Want(name("web"), Addresses{IPs: ips("10.0.0.1")})
		stop := start(w.Run)
		synctest.Wait()
		stop()
		if len(a.patches) != 0 {
			t.Error(a.patches)
		}
	})
}

func TestWriterGoesOnWhenTheAPIServerIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		const n = 30
		for i := range n {
			a.put(t, service(fmt.Sprint("s", i)))
		}
		a.setAway(true)
		w, _ := newWriter(t, a)
		for i := range n {
			w.Want(name(fmt.Sprint("s", i)), Addresses{IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}})
		}
		stop := start(w.Run)
		time.Sleep(10 * time.Minute)
		if s := w.Status(); s.Waiting != n || !strings.Contains(s.LastError, errAway.Error()) {
			t.Errorf("%+v", s)
		}
		w.Want(name("s0"), Addresses{IPs: ips("10.0.0.100")}) // changed meanwhile
		a.setAway(false)
		time.Sleep(time.Minute)
		stop()
		if s := w.Status(); s.Waiting != 0 || s.Written != n || s.LastError != "" {
			t.Errorf("%+v", s)
		}
		if got := a.ingress(t, "s0"); got != "10.0.0.100" {
			t.Error(got)
		}
	})
}

// A term ends: nothing is written after Run has returned. Another begins with what is left.
func TestWriterRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		a.put(t, service("web"))
		w, _ := newWriter(t, a)
		start(w.Run)()
		w.Want(name("web"), Addresses{IPs: ips("10.0.0.1")})
		time.Sleep(time.Minute)
		if len(a.patches) != 0 {
			t.Error(a.patches)
		}
		stop := start(w.Run)
		synctest.Wait()
		stop()
		if got := a.ingress(t, "web"); got != "10.0.0.1" {
			t.Error(got)
		}
	})
}

// Somebody who takes our entry away as fast as it comes is answered once a second, not as fast.
func TestWriterDoesNotRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		a.put(t, service("web"))
		w, _ := newWriter(t, a)
		stop := start(w.Run)
		const seconds = 20
		for range seconds * 10 {
			w.Want(name("web"), Addresses{IPs: ips("10.0.0.1")})
			synctest.Wait()
			a.put(t, service("web"))
			time.Sleep(100 * time.Millisecond)
		}
		stop()
		if n := len(a.patches); n > seconds+1 || n < seconds/2 {
			t.Errorf("%d writes", n)
		}
	})
}

// Many Services at once are written at a bounded rate.
func TestWriterRateIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		w, _ := newWriter(t, a)
		for i := range 300 {
			n := fmt.Sprint("s", i)
			a.put(t, service(n))
			w.Want(name(n), Addresses{IPs: ips("10.0.0.1")})
		}
		began := time.Now()
		stop := start(w.Run)
		for w.Status().Waiting > 0 {
			time.Sleep(time.Second)
		}
		stop()
		if took := time.Since(began); took < 3*time.Second || took > 6*time.Second { // (300 - 100) / 50, on the bubble's clock
			t.Errorf("took %v", took)
		}
		if d := cmp.Diff(300, len(a.patches)); d != "" {
			t.Error(d)
		}
	})
}
