package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"

	"github.com/weftmesh/weft/internal/address"
	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/service"
	"github.com/weftmesh/weft/internal/store"
)

var (
	servicesGVR = corev1.SchemeGroupVersion.WithResource("services")
	nodesGVR    = corev1.SchemeGroupVersion.WithResource("nodes")
	leasesGVR   = coordinationv1.SchemeGroupVersion.WithResource("leases")
)

var errAway = errors.New("connection refused")

// cluster is the objects behind client-go's fake clientset, with replicas whose stores are brought up to date by hand or, while they follow, on every write. It does
// not refuse writes of another resourceVersion, which the tests of package status are about.
type cluster struct {
	clienttesting.ObjectTracker
	t *testing.T

	syncing sync.Mutex // two at a time could bring a store what is old after what is new, as no watch does

	mu       sync.Mutex
	away     bool
	writes   []string // "who service"
	replicas []*replica
}

func newCluster(t *testing.T) *cluster {
	return &cluster{t: t, ObjectTracker: clienttesting.NewObjectTracker(scheme.Scheme, scheme.Codecs.UniversalDecoder())}
}

// replica is a Control with a store of its own, and its own way to the API server.
type replica struct {
	*Control
	cluster *cluster
	name    string
	source  *store.Source
	tables  *kube.Tables
	reg     *prometheus.Registry
	lagging bool
	stop    func()
}

// client gives a replica's way to the API server: what it writes is noted, and followers get to know of it.
func (w *cluster) client(r *replica) *fake.Clientset {
	c := &fake.Clientset{}
	c.AddReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		w.mu.Lock()
		away := w.away
		w.mu.Unlock()
		if away {
			return true, nil, errAway
		}
		handled, o, err := clienttesting.ObjectReaction(w.ObjectTracker)(a)
		if err == nil && a.GetVerb() == "patch" && a.GetResource() == servicesGVR {
			w.mu.Lock()
			w.writes = append(w.writes, r.name+" "+a.(clienttesting.PatchAction).GetName())
			w.mu.Unlock()
			w.sync()
		}
		return handled, o, err
	})
	return c
}

func (w *cluster) replica(name, pools string) *replica {
	w.t.Helper()
	s := store.New(nil)
	tables := kube.NewTables(s)
	r := &replica{cluster: w, name: name, tables: tables, source: s.Source("api-server"), reg: prometheus.NewRegistry()}
	r.source.Expect("Service", "Node")
	objects := service.Objects{Services: tables.Services, Slices: tables.EndpointSlices, SlicesByService: tables.SlicesByService, Nodes: tables.Nodes}
	m := compose.Define(s.DB(), objects, service.Define(s.DB(), objects))
	parsed, findings := address.ParsePools(pools)
	var err error
	r.Control, err = New(Options{
		Client: w.client(r), Store: s, Model: m, Addresses: address.Options{Pools: parsed}, PoolFindings: findings, Identity: name,
		Log: slog.New(slog.DiscardHandler), Registerer: r.reg,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.replicas = append(w.replicas, r)
	w.mu.Unlock()
	w.sync()
	for _, kind := range []string{"Service", "Node"} {
		r.source.MarkSynced(kind)
	}
	return r
}

// run starts a replica. stop ends it and waits for its end.
func (r *replica) run() *replica {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			r.cluster.t.Error(err)
		}
	}()
	r.stop = func() {
		cancel()
		<-done
	}
	return r
}

// sync brings the store of every replica that does not lag to what the API server has.
func (w *cluster) sync() {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	replicas := slices.Clone(w.replicas)
	w.mu.Unlock()
	services, err := w.List(servicesGVR, corev1.SchemeGroupVersion.WithKind("Service"), "")
	if err != nil {
		w.t.Error(err)
		return
	}
	nodes, err := w.List(nodesGVR, corev1.SchemeGroupVersion.WithKind("Node"), "")
	if err != nil {
		w.t.Error(err)
		return
	}
	for _, r := range replicas {
		if r.lagging {
			continue
		}
		r.source.Commit(func(tx *store.Tx) {
			r.tables.Services.Replace(tx, func(yield func(*corev1.Service) bool) {
				for i := range services.(*corev1.ServiceList).Items {
					if !yield(services.(*corev1.ServiceList).Items[i].DeepCopy()) {
						return
					}
				}
			})
			r.tables.Nodes.Replace(tx, func(yield func(*corev1.Node) bool) {
				for i := range nodes.(*corev1.NodeList).Items {
					if !yield(nodes.(*corev1.NodeList).Items[i].DeepCopy()) {
						return
					}
				}
			})
		})
	}
}

func (w *cluster) put(name string, edit ...func(*corev1.Service)) {
	w.t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "u"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Selector: map[string]string{"a": "b"},
		Ports: []corev1.ServicePort{{Port: 80}},
	}}
	for _, e := range edit {
		e(s)
	}
	if err := w.Update(servicesGVR, s, "shop"); err != nil {
		if err := w.Create(servicesGVR, s, "shop"); err != nil {
			w.t.Fatal(err)
		}
	}
	w.sync()
}

func published(ip string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}}
	}
}

func (w *cluster) remove(name string) {
	w.t.Helper()
	if err := w.Delete(servicesGVR, "shop", name); err != nil {
		w.t.Fatal(err)
	}
	w.sync()
}

func (w *cluster) setAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

// addresses is "name=ip" of every Service.
func (w *cluster) addresses() string {
	w.t.Helper()
	list, err := w.List(servicesGVR, corev1.SchemeGroupVersion.WithKind("Service"), "")
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, s := range list.(*corev1.ServiceList).Items {
		var ips []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			ips = append(ips, in.IP)
		}
		out = append(out, s.Name+"="+strings.Join(ips, ","))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (w *cluster) holder() string {
	w.t.Helper()
	o, err := w.Get(leasesGVR, "weft-system", "weft-control")
	if err != nil {
		w.t.Fatal(err)
	}
	if id := o.(*coordinationv1.Lease).Spec.HolderIdentity; id != nil {
		return *id
	}
	return ""
}

func (w *cluster) expect(want string) {
	w.t.Helper()
	if d := cmp.Diff(want, w.addresses()); d != "" {
		w.t.Error(d)
	}
}

func TestAddressesArePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		w.put("a")
		w.put("b")
		r := w.replica("r1", "10.0.0.1-10.0.0.2,nonsense").run()
		time.Sleep(5 * time.Second)
		w.put("c")
		time.Sleep(5 * time.Second)
		w.expect("a=10.0.0.1 b=10.0.0.2 c=")

		s := r.Status()
		if !s.Leading || s.Leader != "r1" || !s.Following || s.Services != 3 || s.Writer.Written != 2 || s.LeaseError != "" {
			t.Errorf("%+v", s)
		}
		if d := cmp.Diff([]address.PoolStatus{{Name: "10.0.0.1-10.0.0.2", Size: 2, Used: 2}}, s.Pools); d != "" {
			t.Error(d)
		}
		var found []string
		for _, f := range r.Findings() {
			found = append(found, f.String())
		}
		if d := cmp.Diff([]string{
			`error Pool nonsense addresses: "nonsense" is no address; the pool is left out (invalid-pool)`,
			"error Service shop/c spec.type: no IPv4 address is free in any pool (pool-exhausted)",
		}, found); d != "" {
			t.Error(d)
		}
		events, err := r.o.Client.CoreV1().Events("shop").List(context.Background(), metav1.ListOptions{})
		if err != nil || len(events.Items) != 1 || events.Items[0].Reason != "PoolExhausted" || events.Items[0].InvolvedObject.Name != "c" {
			t.Errorf("%v %v", events, err)
		}
		want := `# HELP weft_address_pool_free Addresses of a pool that can be given.
# TYPE weft_address_pool_free gauge
weft_address_pool_free{pool="10.0.0.1-10.0.0.2"} 0
# HELP weft_address_pool_size Addresses in a pool.
# TYPE weft_address_pool_size gauge
weft_address_pool_size{pool="10.0.0.1-10.0.0.2"} 2
# HELP weft_address_pool_used Addresses of a pool that Services have.
# TYPE weft_address_pool_used gauge
weft_address_pool_used{pool="10.0.0.1-10.0.0.2"} 2
# HELP weft_control_leader 1 if this replica writes statuses and Events.
# TYPE weft_control_leader gauge
weft_control_leader 1
`
		if err := testutil.GatherAndCompare(r.reg, strings.NewReader(want), "weft_address_pool_free", "weft_address_pool_size", "weft_address_pool_used", "weft_control_leader"); err != nil {
			t.Error(err)
		}

		w.remove("a")
		time.Sleep(5 * time.Second)
		w.expect("b=10.0.0.2 c=10.0.0.1")
		if f := r.Findings(); len(f) != 1 {
			t.Errorf("%v", f)
		}
		r.stop()
		if h := w.holder(); h != "" {
			t.Errorf("the Lease is still held by %s", h)
		}
	})
}

// What comes with the model is told as Events too, and listed by the engine only.
func TestFindingsOfTheModelAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		w.put("a", func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"nonsense"} })
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a-1", UID: "u", Labels: map[string]string{discoveryv1.LabelServiceName: "a"}}, AddressType: "FQDN"}
		if err := w.Add(slice); err != nil {
			t.Fatal(err)
		}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"nonsense"}}}
		if err := w.Add(node); err != nil {
			t.Fatal(err)
		}
		r := w.replica("r1", "10.0.0.1")
		r.source.Commit(func(tx *store.Tx) { r.tables.EndpointSlices.Put(tx, slice) })
		r.run()
		time.Sleep(5 * time.Second)
		events, err := r.o.Client.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, e := range events.Items {
			told = append(told, e.Namespace+" "+e.InvolvedObject.Kind+" "+e.InvolvedObject.FieldPath)
		}
		slices.Sort(told)
		if d := cmp.Diff([]string{"default Node spec.podCIDRs[0]", "shop EndpointSlice addressType", "shop Service spec.externalIPs[0]"}, told); d != "" {
			t.Error(d)
		}
		if f := r.Findings(); len(f) != 0 {
			t.Errorf("%v", f)
		}
		r.stop()
	})
}

func TestOneOfSeveralWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		r1 := w.replica("r1", "10.0.0.1-10.0.0.9").run()
		time.Sleep(time.Second)
		r2 := w.replica("r2", "10.0.0.1-10.0.0.9").run()
		w.put("a")
		w.put("b")
		time.Sleep(5 * time.Second)
		w.expect("a=10.0.0.1 b=10.0.0.2")
		if s := r2.Status(); s.Leading || s.Leader != "r1" || s.Pools[0].Used != 2 || s.Writer.Waiting != 0 {
			t.Errorf("%+v", s)
		}

		r1.stop() // gives the Lease up, so that nobody has to wait for it to expire
		w.put("c")
		time.Sleep(5 * time.Second)
		w.expect("a=10.0.0.1 b=10.0.0.2 c=10.0.0.3")
		if s := r2.Status(); !s.Leading || s.Leader != "r2" {
			t.Errorf("%+v", s)
		}
		r2.stop()
		slices.Sort(w.writes) // two Services that are written at the same moment have no order
		if d := cmp.Diff([]string{"r1 a", "r1 b", "r2 c"}, w.writes); d != "" {
			t.Error(d)
		}
	})
}

// Who gets the Lease next must be the only one: it is given up after the last write has ended.
func TestLeaseIsGivenUpAfterTheLastWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		r := w.replica("r1", "10.0.0.1-10.0.0.9")
		writing := false
		var during []string
		c := r.o.Client.(*fake.Clientset)
		c.PrependReactor("get", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			writing = true
			c.Unlock() // the fake holds it during a reaction, and others have requests too
			time.Sleep(3 * time.Second)
			c.Lock()
			writing = false
			return false, nil, nil
		})
		c.PrependReactor("update", "leases", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if writing {
				during = append(during, *a.(clienttesting.UpdateAction).GetObject().(*coordinationv1.Lease).Spec.HolderIdentity)
			}
			return false, nil, nil
		})
		r.run()
		time.Sleep(5 * time.Second)
		w.put("a")
		time.Sleep(time.Second)
		r.stop()
		if len(during) == 0 || slices.Contains(during, "") {
			t.Errorf("during the write the Lease was held by %q", during)
		}
		if h := w.holder(); h != "" {
			t.Errorf("the Lease is held by %s", h)
		}
	})
}

// A Lease that cannot be renewed stops the writing before another replica may take it; the process goes on.
func TestAPIServerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		r := w.replica("r1", "10.0.0.1-10.0.0.9").run()
		w.put("a")
		time.Sleep(5 * time.Second)
		w.setAway(true)
		time.Sleep(11 * time.Second) // RenewDeadline is 10 s, LeaseDuration 15 s
		if s := r.Status(); s.Leading || !strings.Contains(s.LeaseError, errAway.Error()) {
			t.Errorf("%+v", s)
		}
		w.put("b") // known, say, from the folder
		time.Sleep(time.Hour)
		w.expect("a=10.0.0.1 b=")
		if s := r.Status(); s.Leading || s.Writer.Waiting != 1 {
			t.Errorf("%+v", s)
		}
		w.setAway(false)
		time.Sleep(10 * time.Second)
		w.expect("a=10.0.0.1 b=10.0.0.2")
		if s := r.Status(); !s.Leading || s.LeaseError != "" {
			t.Errorf("%+v", s)
		}
		r.stop()
	})
}

func TestLeaseTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		r := w.replica("r1", "10.0.0.1-10.0.0.9").run()
		time.Sleep(5 * time.Second)
		take := func(id string) {
			o, err := w.Get(leasesGVR, "weft-system", "weft-control")
			if err != nil {
				t.Fatal(err)
			}
			l := o.(*coordinationv1.Lease).DeepCopy()
			now, seconds := metav1.NowMicro(), int32(15)
			l.Spec.HolderIdentity, l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = &id, &now, &seconds
			if err := w.Update(leasesGVR, l, "weft-system"); err != nil {
				t.Fatal(err)
			}
		}
		w.refuseUpdates(r, true) // as the API server does for another resourceVersion
		take("other")
		time.Sleep(11 * time.Second)
		if s := r.Status(); s.Leading || s.Leader != "other" {
			t.Errorf("%+v", s)
		}
		w.put("a")
		take("other")
		time.Sleep(5 * time.Second)
		w.expect("a=")
		w.refuseUpdates(r, false)
		time.Sleep(time.Minute) // it expires
		w.expect("a=10.0.0.1")
		if s := r.Status(); !s.Leading {
			t.Errorf("%+v", s)
		}
		r.stop()
	})
}

func (w *cluster) refuseUpdates(r *replica, refuse bool) {
	c := r.o.Client.(*fake.Clientset)
	c.Lock()
	defer c.Unlock()
	if !refuse {
		c.ReactionChain = c.ReactionChain[1:]
		return
	}
	c.ReactionChain = append([]clienttesting.Reactor{&clienttesting.SimpleReactor{Verb: "update", Resource: "leases",
		Reaction: func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("conflict") }}}, c.ReactionChain...)
}

// A replica whose watch lags does not give out what the one before it has given meanwhile.
func TestWriterCatchesUpFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		w.put("a")
		w.put("b")
		r := w.replica("r1", "10.0.0.1-10.0.0.9")
		r.lagging = true
		w.put("b", published("10.0.0.1"))
		r.run()
		time.Sleep(5 * time.Second)
		w.expect("a= b=10.0.0.1")
		r.lagging = false
		w.sync()
		time.Sleep(5 * time.Second)
		w.expect("a=10.0.0.2 b=10.0.0.1")
		r.stop()
	})
}

func TestCatchingUpEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		w.put("a")
		r := w.replica("r1", "10.0.0.1-10.0.0.9")
		r.lagging = true
		w.put("b", published("10.0.0.9"))
		r.run()
		time.Sleep(time.Minute)
		w.expect("a=10.0.0.1 b=10.0.0.9")
		r.stop()
	})
}

func TestStoppedBeforeTheStoreIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		r := w.replica("r1", "10.0.0.1")
		r.source.Expect("EndpointSlice")
		r.run()
		w.put("a")
		time.Sleep(time.Minute)
		if s := r.Status(); s.Following || s.Leading {
			t.Errorf("%+v", s)
		}
		r.stop()
		w.expect("a=")
	})
}

func TestNodeAddressInThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}}}}
		if err := w.Create(nodesGVR, n, ""); err != nil {
			t.Fatal(err)
		}
		w.put("a")
		r := w.replica("r1", "10.0.0.1-10.0.0.9").run()
		time.Sleep(5 * time.Second)
		w.expect("a=10.0.0.2")
		if f := r.Findings(); len(f) != 1 || f[0].Code != "pool-overlaps-nodes" {
			t.Errorf("%v", f)
		}
		if err := w.Delete(nodesGVR, "", "n1"); err != nil {
			t.Fatal(err)
		}
		w.sync()
		synctest.Wait()
		if f := r.Findings(); len(f) != 0 {
			t.Errorf("%v", f)
		}
		r.stop()
	})
}

// An edit that changes nothing for addresses makes no request.
func TestNoEditNoWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		w.put("a", published("10.0.0.1"))
		r := w.replica("r1", "10.0.0.1-10.0.0.9").run()
		time.Sleep(5 * time.Second)
		c := r.o.Client.(*fake.Clientset)
		c.ClearActions()
		for i := range 10 {
			w.put("a", published("10.0.0.1"), func(s *corev1.Service) {
				s.Labels = map[string]string{"n": fmt.Sprint(i)}
				s.Spec.Ports[0].Port = int32(80 + i)
			})
			synctest.Wait()
		}
		for _, a := range c.Actions() {
			if a.GetResource() != leasesGVR {
				t.Errorf("%s %s", a.GetVerb(), a.GetResource().Resource)
			}
		}
		r.stop()
	})
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("nothing is given, and it is fine")
	}
	w := newCluster(t)
	o := w.replica("r1", "10.0.0.1").o
	o.RenewDeadline = time.Hour
	if _, err := New(o); err == nil {
		t.Error("a renewal after the Lease has expired, and it is fine")
	}
}

func TestSaid(t *testing.T) {
	f := finding.Finding{Object: finding.Object{Kind: "Service", Name: "a"}, Code: "x"}
	if got := (said{derived: []finding.Finding{f}, here: []finding.Finding{f}}).all(); len(got) != 1 {
		t.Errorf("%v", got)
	}
}
