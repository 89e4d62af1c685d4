// Package e2e is what a user of weft relies on, tried in a real cluster: a lab with weft installed (scripts/lab-up.sh; `make e2e` does it).
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/demo"
	"github.com/weftmesh/weft/test/lab"
)

// the lab all tests share, and the namespace that examples/services are applied to.
var (
	cluster *lab.Lab
	space   = "default"
)

func TestMain(m *testing.M) {
	name := os.Getenv("WEFT_LAB")
	if name == "" {
		fmt.Println("skipped: test/e2e needs a lab with weft in it; WEFT_LAB names none (make e2e brings one up)")
		return
	}
	if err := setUp(name); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func setUp(name string) (err error) {
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	if cluster, err = lab.Open(ctx, name); err != nil {
		return err
	}
	for _, f := range []string{"services/workloads.yaml", "services/services.yaml", "edge/workloads.yaml", "edge/ingress.yaml", "edge/istio.yaml"} {
		text, err := os.ReadFile("../../examples/" + f)
		if err != nil {
			return err
		}
		if err := cluster.Apply(ctx, space, string(text)); err != nil {
			return err
		}
	}
	if err := demo.Certificate(ctx, cluster); err != nil {
		return err
	}
	for _, rollout := range []string{"deployment/nginx", "deployment/python", "deployment/mesh-demo-v1", "deployment/mesh-demo-v2"} {
		if _, err := cluster.Kubectl(ctx, "rollout", "status", "-n", space, "--timeout=2m", rollout); err != nil {
			return err
		}
	}
	if _, err = cluster.Kubectl(ctx, "wait", "-n", space, "--for=condition=Ready", "--timeout=1m", "pod/client"); err != nil {
		return err
	}
	return settle(ctx)
}

// settle waits until every row of the demo answers: a ready Pod may not be in its EndpointSlice yet, nor a LoadBalancer have its addresses.
func settle(ctx context.Context) error {
	for {
		tries, err := demo.Services(ctx, cluster, space)
		if err == nil {
			err = everything(ctx, tries)
		}
		if err == nil {
			if tries, err = demo.Edge(ctx, cluster); err == nil {
				err = everything(ctx, tries)
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// client is the Pod that asks.
func client() lab.Place { return lab.Pod(space, "client") }

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cluster.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// apply applies manifests to a namespace, and deletes them when the test ends.
func apply(t *testing.T, namespace, manifests string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
		defer stop()
		if _, err := cluster.RunWith(ctx, manifests, "kubectl", "--", "delete", "-n", namespace, "--ignore-not-found", "-f", "-"); err != nil {
			t.Error(err)
		}
	})
	if err := cluster.Apply(t.Context(), namespace, manifests); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok returns nil.
func eventually(t *testing.T, limit time.Duration, ok func() error) {
	t.Helper()
	var last error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if last = ok(); last == nil {
			return
		}
	}
	t.Fatalf("not in %v: %v", limit, last)
}

// report is what `weft status -o json` says, as far as tests look at it.
type report struct {
	Components []struct {
		Pod, Node string
		Error     string
		Status    *struct {
			Component string
			Ready     bool
			Sections  []struct {
				Name, Origin, Error string
				Facts               []struct{ Name, Value string }
			}
		}
	}
	Findings []struct {
		Object struct{ Kind, Namespace, Name string }
		Field, Code, Message,
		Severity string
	}
}

// status asks weft status. Exit code 3, that not all is well, is an answer too.
func status(t *testing.T) report {
	t.Helper()
	out, err := cluster.Weft(t.Context(), "status", "-o", "json")
	var failed *lab.Failed
	if err != nil && (!errors.As(err, &failed) || failed.Code != 3) {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return r
}
