package command

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// In a Pod that was injected the environment says everything; flags stand above it.
func TestAgentOptions(t *testing.T) {
	labels := filepath.Join(t.TempDir(), "labels")
	if err := os.WriteFile(labels, []byte("app=\"web\"\nversion=\"v1\"\nbroken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POD_NAME", "web-1")
	t.Setenv("POD_NAMESPACE", "shop")
	t.Setenv("INSTANCE_IP", "10.0.0.7")
	t.Setenv("SERVICE_ACCOUNT", "web")
	t.Setenv("ISTIO_META_WORKLOAD_NAME", "web")
	t.Setenv("ISTIO_META_CLUSTER_ID", "Kubernetes")
	t.Setenv("ISTIO_KUBE_APP_PROBERS", "{}")
	parse := func(args ...string) (*agentFlags, error) {
		f := &agentFlags{}
		return f, f.define(&cobra.Command{}).ParseFlags(args)
	}
	f, err := parse("--labels-file", labels)
	if err != nil {
		t.Fatal(err)
	}
	o, err := f.options(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	if o.Node.GetId() != "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local" || !o.Sidecar || o.Namespace != "shop" || o.ServiceAccount != "web" || o.Address.String() != "10.0.0.7" {
		t.Errorf("%+v", o)
	}
	if o.CA.Address != "weft-control.weft-system.svc:15012" || o.Control.Address != o.CA.Address || o.CA.TokenFile != "/var/run/secrets/tokens/istio-token" || o.Probers != "{}" {
		t.Errorf("%+v", o.CA)
	}
	if o.MinimumDrain != 5*time.Second || o.Metrics.Port() != 15020 || o.Health.Port() != 15021 || o.Admin.String() != "127.0.0.1:15000" || o.XDSSocket != "/var/lib/weft/xds.sock" {
		t.Errorf("%+v", o)
	}
	fields := o.Node.GetMetadata().AsMap()
	want := map[string]any{"app": "web", "version": "v1"}
	if d := cmp.Diff(want, fields["LABELS"]); d != "" || fields["CLUSTER_ID"] != "Kubernetes" {
		t.Errorf("%s %v", d, fields["CLUSTER_ID"])
	}

	t.Setenv("CA_ADDR", "control.example:15012")
	t.Setenv("SECRET_TTL", "1h")
	t.Setenv("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "true")
	if f, err = parse("--kind", "router", "--minimum-drain", "1s", "--labels-file", labels); err != nil {
		t.Fatal(err)
	}
	if o, err = f.options(os.Getenv); err != nil {
		t.Fatal(err)
	}
	if o.Sidecar || o.CA.Address != "control.example:15012" || o.CertificateLife != time.Hour || o.MinimumDrain != time.Second || o.Drain < time.Hour {
		t.Errorf("%+v", o)
	}
	for name, args := range map[string][]string{"kind": {"--kind", "waypoint"}, "address": {"--metrics-address", "x"}} {
		f, err := parse(args...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.options(os.Getenv); err == nil {
			t.Errorf("%s: %v is taken", name, args)
		}
	}
}
