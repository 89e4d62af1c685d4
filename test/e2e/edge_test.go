package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/demo"
)

// Every row of the demo's edge: an Ingress and Gateways, both families, from outside.
func TestEdge(t *testing.T) {
	tries, err := demo.Edge(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, try := range tries {
		t.Run(try.What, func(t *testing.T) {
			if o := try.Make(t.Context(), cluster); o.Err != nil {
				t.Error(o.Err)
			}
		})
	}
}

// The Ingress says where it is reached: at the addresses of the gateway's Service.
func TestIngressStatus(t *testing.T) {
	want := kubectl(t, "get", "service", "-n", "weft-system", "weft-gateway", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}")
	eventually(t, 30*time.Second, func() error {
		if got := kubectl(t, "get", "ingress", "-n", space, "test-ingress", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"); got != want || got == "" {
			return fmt.Errorf("the Ingress is reached at %q, the gateway at %q", got, want)
		}
		return nil
	})
}

// weft explain names the rule that decides about a request, and where it leads; weft status what each proxy has.
func TestExplainRequest(t *testing.T) {
	out, err := cluster.Weft(t.Context(), "explain", "GET", "http://www.service1.io/ping")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"Gateway default/istio-ingress-gateway", "VirtualService default/mesh-demo-vs spec.http[0]", "subset v1", "mesh-demo-v1-"} {
		if !strings.Contains(out, w) {
			t.Errorf("want %q in\n%s", w, out)
		}
	}
	for _, of := range []string{"listeners", "routes", "clusters", "endpoints", "secrets"} {
		pod := kubectl(t, "get", "pods", "-n", "weft-system", "-l", "app.kubernetes.io/component=gateway", "-o", "jsonpath={.items[0].metadata.name}")
		out, err := cluster.Weft(t.Context(), "proxy-config", of, pod)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]string{"listeners": "0.0.0.0_80", "routes": "http.80", "clusters": "outbound|8081|v1|mesh-demo." + space + ".svc.cluster.local", "endpoints": ":8081", "secrets": "demo-tls"}[of]; !strings.Contains(out, want) {
			t.Errorf("proxy-config %s: want %q in\n%s", of, want, out)
		}
	}
}

// The gateways serve on with control and the API server gone, also one whose container was killed meanwhile.
func TestGatewayOutlivesTheControlPlane(t *testing.T) {
	tries, err := demo.Edge(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	if err := everything(t.Context(), tries); err != nil {
		t.Fatal("before: ", err)
	}
	killControlPlane(t)
	for _, n := range cluster.Nodes {
		restart(t, n.Name, "control")
	}
	if err := everything(t.Context(), tries); err != nil {
		t.Error("API server away: ", err)
	}
	for _, n := range cluster.Nodes {
		restart(t, n.Name, "gateway")
	}
	eventually(t, time.Minute, func() error { return everything(t.Context(), tries) })
}

// A route that is edited again and again while requests are made: each is answered by what was there before or after, and none fails.
func TestRoutesEditedUnderLoad(t *testing.T) {
	edit := func(subset string) error {
		_, err := cluster.Kubectl(t.Context(), "patch", "virtualservice", "-n", space, "mesh-demo-vs", "--type=merge", "-p",
			`{"spec":{"http":[{"name":"default","route":[{"destination":{"host":"mesh-demo","port":{"number":8081},"subset":"`+subset+`"}}]}]}}`)
		return err
	}
	t.Cleanup(func() {
		if _, err := cluster.Kubectl(context.Background(), "apply", "-n", space, "-f", "../../examples/edge/istio.yaml"); err != nil {
			t.Error(err)
		}
	})
	at := strings.Fields(kubectl(t, "get", "service", "-n", "weft-system", "weft-gateway", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"))[0]
	edited := make(chan error, 1)
	go func() {
		for i := range 20 {
			if err := edit([]string{"v2", "v1"}[i%2]); err != nil {
				edited <- err
				return
			}
		}
		edited <- nil
	}()
	versions := map[string]int{}
	for sent, over := 0, false; sent < 10000 || !over; sent += 2500 {
		o := demo.Try{From: "outside", Args: []string{"echo", "get", "-n", "2500", "-c", "4", "-keepalive", "-H", "Host:www.service1.io", "http://" + at + "/"}, Want: func(a demo.Answers) error {
			for answer, n := range a {
				f := strings.Fields(answer)
				if len(f) < 3 || f[0] != "200" {
					return fmt.Errorf("after %d requests: %v", sent, a)
				}
				versions[f[2]] += n
			}
			return nil
		}}.Make(t.Context(), cluster)
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		select {
		case err := <-edited:
			if err != nil {
				t.Fatal(err)
			}
			over = true
		default:
		}
	}
	if len(versions) != 2 {
		t.Errorf("answers of %v: want both versions", versions)
	}
}
