package status

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/weftmesh/weft/internal/model"
)

// An Ingress lists where its gateway is reached, and no longer when it is somebody else's; what others wrote then stays.
func TestAddressesOfIngresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(&networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Status: networkingv1.IngressStatus{
			LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}, {Hostname: "old.test"}}},
		}})
		pool := netip.MustParsePrefix("10.0.0.0/8")
		w, err := NewWriter(WriterOptions{Ingresses: client.NetworkingV1(), Ours: pool.Contains})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()
		name := model.ObjectName{Namespace: "shop", Name: "web"}
		check := func(want ...networkingv1.IngressLoadBalancerIngress) {
			t.Helper()
			time.Sleep(5 * time.Second)
			o, err := client.NetworkingV1().Ingresses("shop").Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, o.Status.LoadBalancer.Ingress); d != "" {
				t.Error(d)
			}
		}
		w.Want(name, Addresses{IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Exclusive: true})
		check(networkingv1.IngressLoadBalancerIngress{Hostname: "old.test"}, networkingv1.IngressLoadBalancerIngress{IP: "10.0.0.1"})
		w.Want(name, Addresses{})
		check(networkingv1.IngressLoadBalancerIngress{Hostname: "old.test"})
		if s := w.Status(); s.Written != 2 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		stop()
		<-done
	})
}
