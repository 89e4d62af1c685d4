package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/demo"
	"github.com/weftmesh/weft/test/lab"
)

// With control and the API server gone, Pods talk on and policies hold, also those of a Pod whose proxy was killed meanwhile.
func TestMeshOutlivesTheControlPlane(t *testing.T) {
	tries := entered(t, shop(t))
	name, node, _ := shopPod(t, "reviews", "v1")
	asking, askingNode, _ := shopPod(t, "storefront", "v1")
	killControlPlane(t)
	for _, n := range cluster.Nodes {
		restart(t, n.Name, "control")
	}
	if err := everything(t.Context(), tries); err != nil {
		t.Error("API server away: ", err)
	}
	restartSidecar(t, node, demo.Shop, name)
	restartSidecar(t, askingNode, demo.Shop, asking)
	eventually(t, time.Minute, func() error { return everything(t.Context(), tries) })
}

// entered turns places that need the API server into the Pods themselves, entered from their nodes.
func entered(t *testing.T, tries []demo.Try) []demo.Try {
	t.Helper()
	out := make([]demo.Try, len(tries))
	for i, try := range tries {
		out[i] = try
		f := strings.SplitN(string(try.From), "/", 3)
		switch f[0] {
		case "pod":
			node := kubectl(t, "get", "pod", "-n", f[1], f[2], "-o", "jsonpath={.spec.nodeName}")
			out[i].From = lab.Inside(node, f[1], f[2])
		case "workload":
			app, version, _ := strings.Cut(strings.TrimPrefix(f[2], "deployment/"), "-")
			name, node, _ := shopPod(t, app, version)
			out[i].From = lab.Inside(node, f[1], name)
		}
	}
	return out
}

// A sidecar that is killed comes back, and the Pod's policies with it.
func TestSidecarComesBack(t *testing.T) {
	tries := shop(t)
	name, node, _ := shopPod(t, "reviews", "v2")
	restartSidecar(t, node, demo.Shop, name)
	eventually(t, time.Minute, func() error { return everything(t.Context(), tries) })
}

// Certificates of a minute are renewed again and again while the Pods that show them talk, over connections that stay, and nothing fails.
func TestCertificatesAreRenewed(t *testing.T) {
	shop(t)
	controlFlags(t, "--workload-cert-ttl=60s")
	for _, d := range []string{"deployment/ratings-v1", "deployment/reviews-v2"} { // these get certificates of a minute
		kubectl(t, "rollout", "restart", "-n", demo.Shop, d)
		kubectl(t, "rollout", "status", "-n", demo.Shop, "--timeout=2m", d)
	}
	_, node, ip := shopPod(t, "ratings", "v1")
	given := func() int {
		return metric(t, lab.Place(node), "http://"+ip+":15020/stats/prometheus", "weft_agent_certificates_total")
	}
	before := given()
	out, err := cluster.Exec(t.Context(), workload("reviews-v2"), "bookshop", "load", "-rps", "20", "-for", "100s", "http://ratings:9080/ratings/1")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out)
	if after := given(); after < before+2 {
		t.Errorf("ratings had %d certificates and then %d, want two more at least", before, after)
	}
}
