package e2e

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/demo"
)

// Beside a Pod whose sidecar is stock Envoy everything is as with weft's own: it is called by weft's proxies, calls them, and obeys the same policies.
func TestStockEnvoyBesideWeft(t *testing.T) {
	image := os.Getenv("WEFT_ENVOY_IMAGE")
	if image == "" {
		t.Skip("WEFT_ENVOY_IMAGE names no image that has an Envoy (scripts/image-envoy.sh makes one)")
	}
	tries := shop(t)
	for _, c := range []struct{ deployment, app, version string }{
		{"reviews-v2", "reviews", "v2"},       // called by the storefront's weft, and asks that of ratings
		{"storefront-v1", "storefront", "v1"}, // called by the gateway and by itself, and asks everybody
	} {
		t.Run(c.deployment, func(t *testing.T) {
			withEnvoy(t, c.deployment, image)
			name, node, _ := shopPod(t, c.app, c.version)
			out, err := cluster.Run(t.Context(), "shell", node, "--", "sh", "-c", `for p in $(pgrep -f '^/envoy '); do tr '\0' ' ' </proc/$p/cmdline; tr '\0' '\n' </proc/$p/environ; done`)
			if err != nil || !strings.Contains(out, "POD_NAME="+name) {
				t.Fatalf("no Envoy of %s runs on %s: %v", name, node, err)
			}
			rows := tries
			if c.app == "storefront" {
				// At a port that does not say what it speaks stock Envoy waits for the client's first bytes, as it does with Istio's control plane.
				rows = slices.DeleteFunc(slices.Clone(tries), func(try demo.Try) bool { return slices.Contains(try.Args, "catalog:7071") })
			}
			eventually(t, time.Minute, func() error { return everything(t.Context(), rows) })
		})
	}
}

// withEnvoy replaces the sidecars of a Deployment of the bookshop until the test ends.
func withEnvoy(t *testing.T, deployment, image string) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		"sidecar.istio.io/proxyImage": image, "proxy.istio.io/config": "binaryPath: /envoy",
	}}}}})
	if err != nil {
		t.Fatal(err)
	}
	kubectl(t, "patch", "-n", demo.Shop, "deployment/"+deployment, "-p", string(patch))
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
		defer stop()
		for _, verb := range [][]string{{"undo"}, {"status", "--timeout=2m"}} {
			if _, err := cluster.Kubectl(ctx, append(append([]string{"rollout"}, verb...), "-n", demo.Shop, "deployment/"+deployment)...); err != nil {
				t.Error(err)
			}
		}
	})
	kubectl(t, "rollout", "status", "-n", demo.Shop, "--timeout=2m", "deployment/"+deployment)
}
