package duty

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/address"
	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/service"
	"github.com/weftmesh/weft/internal/store"
)

// world is a cluster of three nodes with what each of them answers for.
type world struct {
	t    *testing.T
	src  *store.Source
	o    service.Objects
	feed *derive.Feed
	sets map[string]*Set
	now  map[string][]netip.Addr
}

var nodes = []string{"n1", "n2", "n3"}

func newWorld(t *testing.T) *world {
	s := store.New(nil)
	w := &world{t: t, src: s.Source("test"), feed: s.DB().NewFeed(), sets: map[string]*Set{}, now: map[string][]netip.Addr{}}
	tables := kube.NewTables(s)
	w.o = service.Objects{Services: tables.Services, Slices: tables.EndpointSlices, SlicesByService: tables.SlicesByService, Nodes: tables.Nodes}
	m := compose.Define(s.DB(), w.o, service.Define(s.DB(), w.o))
	pools, findings := address.ParsePools("10.89.0.200-10.89.0.250")
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	// Each node has an engine of its own in life; here they share one, which must not call two queries by one name, so one node is asked.
	w.sets["n1"] = &Set{}
	Of(s.DB(), m, pools, "n1").Follow(w.feed, func(d derive.Delta[store.Key, []netip.Addr]) {
		w.now["n1"] = w.sets["n1"].Update([]derive.Delta[store.Key, []netip.Addr]{d})
	})
	for _, n := range nodes {
		w.node(n, true, false)
	}
	return w
}

func (w *world) node(name string, ready, excluded bool, edits ...func(*corev1.Node)) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
	if excluded {
		n.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""}
	}
	for _, edit := range edits {
		edit(n)
	}
	w.src.Commit(func(tx *store.Tx) { w.o.Nodes.Put(tx, n) })
}

func (w *world) service(i int, edit func(*corev1.Service)) string {
	ip := fmt.Sprintf("10.89.0.%d", 200+i)
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("s%d", i)}}
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	s.Spec.Selector = map[string]string{"app": "x"}
	s.Spec.ClusterIP = fmt.Sprintf("10.96.0.%d", i+1)
	s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}}
	edit(s)
	w.src.Commit(func(tx *store.Tx) { w.o.Services.Put(tx, s) })
	return ip
}

func (w *world) slice(conditions discoveryv1.EndpointConditions, node string) {
	w.src.Commit(func(tx *store.Tx) {
		w.o.Slices.Put(tx, &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "s0-x", Labels: map[string]string{discoveryv1.LabelServiceName: "s0"}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: new(int32(80))}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.1"}, NodeName: &node, Conditions: conditions}},
		})
	})
}

func (w *world) mine(ip string) bool {
	w.feed.Drain()
	return slices.Contains(w.now["n1"], netip.MustParseAddr(ip))
}

func plain(*corev1.Service) {}

func TestAThirdIsOursAndAllIfTheOthersAreGone(t *testing.T) {
	w := newWorld(t)
	var ips []string
	for i := range 50 {
		ips = append(ips, w.service(i, plain))
	}
	count := func() (n int) {
		for _, ip := range ips {
			if w.mine(ip) {
				n++
			}
		}
		return n
	}
	if n := count(); n < 5 || n > 30 {
		t.Errorf("%d of 50 are ours, want about a third", n)
	}
	w.node("n2", false, false)
	w.node("n3", true, true)
	if n := count(); n != 50 {
		t.Errorf("%d of 50 are ours when no other node may", n)
	}
	w.node("n1", false, false)
	w.node("n2", true, false)
	if n := count(); n != 0 {
		t.Errorf("%d of 50 are ours though this node is not ready", n)
	}
}

func TestOnlyPublishedAddressesOfThePoolsAreAnswered(t *testing.T) {
	w := newWorld(t)
	w.node("n2", false, false)
	w.node("n3", false, false)
	for i, edit := range []func(*corev1.Service){
		func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IP = "192.0.2.7" },
		func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP },
		func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.org/other") },
		func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = nil },
	} {
		w.service(i, edit)
	}
	w.feed.Drain()
	if len(w.now["n1"]) != 0 {
		t.Errorf("answers for %v", w.now["n1"])
	}
}

func TestLocalPolicyNeedsAnEndpoint(t *testing.T) {
	w := newWorld(t)
	w.node("n3", false, false)
	ip := w.service(0, func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	w.slice(discoveryv1.EndpointConditions{}, "n1")
	if !w.mine(ip) {
		t.Error("not ours, though only we have an endpoint")
	}
	w.slice(discoveryv1.EndpointConditions{}, "n2")
	if w.mine(ip) {
		t.Error("ours, though only n2 has an endpoint")
	}
	w.slice(discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}, "n1")
	if !w.mine(ip) {
		t.Error("not ours, though our endpoint serves while it terminates")
	}
}

// Nodes of another system run no weft.
func TestOnlyLinuxNodesAnswer(t *testing.T) {
	w := newWorld(t)
	ip := w.service(0, plain)
	for _, n := range nodes {
		w.node(n, true, false, func(n *corev1.Node) { n.Labels = map[string]string{corev1.LabelOSStable: "windows"} })
	}
	w.node("n1", true, false, func(n *corev1.Node) { n.Labels = map[string]string{corev1.LabelOSStable: "linux"} })
	if !w.mine(ip) {
		t.Error("not ours, though nobody else runs Linux")
	}
	w.node("n2", true, false)
	w.node("n1", true, false, func(n *corev1.Node) {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue})
	})
	if w.mine(ip) {
		t.Error("ours, though we have no network")
	}
}

func TestFile(t *testing.T) {
	f := File{filepath.Join(t.TempDir(), "sub", "announce.json")}
	if got, err := f.Read(); got != nil || err != nil {
		t.Errorf("no file: %v %v", got, err)
	}
	want := []netip.Addr{netip.MustParseAddr("10.89.0.200"), netip.MustParseAddr("fd89::200")}
	if err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Read(); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v", got, err)
	}
	if err := os.WriteFile(f.Path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(); err == nil {
		t.Error("half a file was read without an error")
	}
	if _, err := (File{}).Read(); err != nil {
		t.Error(err)
	}
}
