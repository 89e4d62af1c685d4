package control

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// Ingresses that the gateway carries list the addresses of its Service, whatever comes first.
func TestIngressesListTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
		if err := w.Add(ingress); err != nil {
			t.Fatal(err)
		}
		r := w.replica("r1", "10.0.0.1-10.0.0.2")
		// What is carried follows from a Node here, because any object will do.
		gateways := derive.Define(r.o.Store.DB(), "test/gateways", nil, func(rd *derive.Reader, _ model.Fleet) []*model.Gateway {
			if r.tables.Nodes.Get(rd, store.Key{Name: "carried"}) == nil {
				return nil
			}
			return []*model.Gateway{{Name: model.GatewayName{Kind: ingressKind, Name: model.ObjectName{Namespace: "shop", Name: "web"}}}, {Name: model.GatewayName{Kind: "Gateway"}}}
		})
		o := r.o
		o.Ingress = &IngressOptions{Edge: &compose.Edge{Gateways: gateways}, Service: model.ServiceName{Namespace: "shop", Name: "gateway"}}
		o.Registerer = nil
		var err error
		if r.Control, err = New(o); err != nil {
			t.Fatal(err)
		}
		r.run()
		check := func(want ...string) {
			t.Helper()
			time.Sleep(5 * time.Second)
			got, err := w.Get(networkingv1.SchemeGroupVersion.WithResource("ingresses"), "shop", "web")
			if err != nil {
				t.Fatal(err)
			}
			var ips []string
			for _, e := range got.(*networkingv1.Ingress).Status.LoadBalancer.Ingress {
				ips = append(ips, e.IP)
			}
			if d := cmp.Diff(want, ips); d != "" {
				t.Error(d)
			}
		}
		w.put("gateway")
		check()
		if err := w.Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "carried"}}); err != nil {
			t.Fatal(err)
		}
		w.sync()
		check("10.0.0.1")
		w.put("gateway", published("10.0.0.2"))
		check("10.0.0.2")
		if err := w.Delete(nodesGVR, "", "carried"); err != nil {
			t.Fatal(err)
		}
		w.sync()
		check()
		r.stop()
	})
}
