package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/demo"
	"github.com/weftmesh/weft/test/lab"
)

// Without API server, controllers and weft control everything answers on, also after weft node and weft dns were restarted.
func TestCarriersOutliveTheControlPlane(t *testing.T) {
	tries, err := demo.Services(t.Context(), cluster, space)
	if err != nil {
		t.Fatal(err)
	}
	if err := everything(t.Context(), tries); err != nil {
		t.Fatal("before: ", err)
	}
	// Nothing that asks the API server can be used while it is away, so Pods are entered by their node.
	hold := time.Now()
	waitForSnapshot(t)
	t.Logf("snapshots are written after %v", time.Since(hold))
	tries = withoutAPIServer(t, tries)
	killControlPlane(t)
	if err := everything(t.Context(), tries); err != nil {
		t.Error("API server away: ", err)
	}
	for _, program := range []string{"control", "node", "dns"} {
		for _, n := range cluster.Nodes {
			restart(t, n.Name, program)
		}
	}
	eventually(t, time.Minute, func() error { return everything(t.Context(), tries) })
}

// killControlPlane takes the API server and the controllers away until the test is over.
func killControlPlane(t *testing.T) {
	t.Helper()
	if _, err := cluster.Run(t.Context(), "control-plane", "stop", "--kill"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
		defer stop()
		if _, err := cluster.Run(ctx, "control-plane", "start"); err != nil {
			t.Error(err)
		}
		if _, err := cluster.Kubectl(ctx, "wait", "--for=condition=Ready", "node", "--all", "--timeout=2m"); err != nil {
			t.Error(err)
		}
		if _, err := cluster.Kubectl(ctx, "wait", "-n", "kube-system", "--for=condition=Ready", "pod", "--all", "--timeout=2m"); err != nil {
			t.Error(err)
		}
	})
}

// waitForSnapshot waits until DNS has had the time to keep what it knows (kube.SnapshotInterval).
func waitForSnapshot(t *testing.T) {
	t.Helper()
	for _, p := range strings.Fields(kubectl(t, "get", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/component=dns", "-o", "jsonpath={.items[*].metadata.name}")) {
		node := kubectl(t, "get", "pod", "-n", "kube-system", p, "-o", "jsonpath={.spec.nodeName}")
		uid := kubectl(t, "get", "pod", "-n", "kube-system", p, "-o", "jsonpath={.metadata.uid}")
		eventually(t, 30*time.Second, func() error {
			_, err := cluster.Run(t.Context(), "shell", node, "--", "test", "-s", "/var/lib/kubelet/pods/"+uid+"/volumes/kubernetes.io~empty-dir/state/objects")
			return err
		})
	}
}

// restart kills a component's process on a node, if it runs there, and waits until its container is another one.
func restart(t *testing.T, node, component string) {
	t.Helper()
	program := "^/weft " + component + "( |$)"
	if component == "gateway" {
		program = "^/weft-proxy "
	}
	find := func() string {
		out, err := cluster.Run(t.Context(), "shell", node, "--", "pgrep", "-f", program)
		if err != nil {
			return "" // pgrep finds none
		}
		return strings.TrimSpace(out)
	}
	before := ownPID(t, node, find())
	if before == "" {
		return
	}
	if _, err := cluster.Run(t.Context(), "shell", node, "--", "kill", "-KILL", before); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() error {
		if now := ownPID(t, node, find()); now == "" || now == before {
			return fmt.Errorf("weft %s on %s is not back", component, node)
		}
		return nil
	})
}

// ownPID picks of several processes the one that runs on the node: machines of a lab share their process numbers.
func ownPID(t *testing.T, node, pids string) string {
	t.Helper()
	for pid := range strings.FieldsSeq(pids) {
		env, err := cluster.Run(t.Context(), "shell", node, "--", "cat", "/proc/"+pid+"/environ")
		if err == nil && strings.Contains(env, "NODE_NAME="+node+"\x00") {
			return pid
		}
	}
	return ""
}

// withoutAPIServer turns places that are Pods into the Pods' network namespaces, entered from their nodes.
func withoutAPIServer(t *testing.T, tries []demo.Try) []demo.Try {
	t.Helper()
	node := kubectl(t, "get", "pod", "-n", space, "client", "-o", "jsonpath={.spec.nodeName}")
	out := make([]demo.Try, len(tries))
	copy(out, tries)
	for i := range out {
		if out[i].From == client() {
			out[i].From = lab.Inside(node, space, "client")
		}
	}
	return out
}

// A restarted weft node finds the kernel as it should be and changes nothing in it. A Service that comes afterwards shows that the kernel's
// changes would have been seen.
func TestRestartedNodeChangesNothing(t *testing.T) {
	const later = "10.96.77.77"
	node := cluster.Nodes[0].Name
	// An API server that has just come back is late to publish itself, which changes the kernel too.
	eventually(t, time.Minute, func() error {
		out, err := cluster.Weft(t.Context(), "explain", "tcp", "kubernetes.default.svc.cluster.local:443", "--node", node)
		if err == nil && !strings.Contains(out, "map endpoints {") {
			err = fmt.Errorf("the kernel has no endpoint of the API server: %s", out)
		}
		return err
	})
	const file = "/run/nft-monitor"
	inNode := func(command string) (string, error) {
		return cluster.Run(t.Context(), "shell", node, "--", "sh", "-c", command)
	}
	if _, err := inNode("rm -f " + file + "; timeout 300 nft monitor >" + file + " 2>&1 & sleep 2"); err != nil { // nothing says that nft listens
		t.Fatal(err)
	}
	seen := func() (lines []string) {
		out, err := inNode("cat " + file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, "weft") && !strings.HasPrefix(line, "# new generation") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		return lines
	}
	before := 0 // what other tests have left still goes away
	eventually(t, 2*time.Minute, func() error {
		n := len(seen())
		time.Sleep(10 * time.Second)
		if before = len(seen()); before != n {
			return errors.New("the kernel is still being changed")
		}
		return nil
	})
	pod := kubectl(t, "get", "pods", "-n", "weft-system", "-l", "app.kubernetes.io/component=node", "--field-selector", "spec.nodeName="+node, "-o", "jsonpath={.items[0].metadata.name}")
	restart(t, node, "node")
	kubectl(t, "wait", "-n", "weft-system", "--for=condition=Ready", "pod/"+pod, "--timeout=1m")
	apply(t, space, `
apiVersion: v1
kind: Service
metadata: {name: later}
spec: {clusterIP: `+later+`, selector: {app: none}, ports: [{port: 80}]}`)
	eventually(t, 30*time.Second, func() error {
		changes := seen()[before:]
		for _, line := range changes {
			if !strings.Contains(line, later) {
				t.Fatalf("changed: %s", line)
			}
		}
		if len(changes) == 0 {
			return errors.New("the monitor shows nothing of the Service that came later")
		}
		return nil
	})
}

// A LoadBalancer address moves to another node when its own may not answer any more.
func TestLoadBalancerAddressMoves(t *testing.T) {
	ip := strings.Fields(kubectl(t, "get", "service", "-n", space, "my-loadbalancer", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"))[0]
	holder := func() string {
		for _, c := range status(t).Components {
			if c.Status == nil || c.Status.Component != "node" {
				continue
			}
			for _, s := range c.Status.Sections {
				for _, f := range s.Facts {
					if s.Name == "addresses" && f.Value == ip {
						return c.Node
					}
				}
			}
		}
		return ""
	}
	before := holder()
	if before == "" {
		t.Fatalf("no node says that it answers for %s", ip)
	}
	const label = "node.kubernetes.io/exclude-from-external-load-balancers"
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		if _, err := cluster.Kubectl(ctx, "label", "node", before, label+"-"); err != nil {
			t.Error(err)
		}
	})
	kubectl(t, "label", "node", before, label+"=")
	eventually(t, 20*time.Second, func() error {
		if now := holder(); now == "" || now == before {
			return fmt.Errorf("%s is with %q", ip, now)
		}
		return demo.Try{From: lab.Outside, Args: []string{"echo", "get", "-n", "20", "http://" + ip + "/"}, Want: demo.Spread(3)}.Make(t.Context(), cluster).Err
	})
}
