package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/demo"
	"github.com/weftmesh/weft/test/lab"
)

// Every row of the demo: from Pods, nodes and outside, both families.
func TestServices(t *testing.T) {
	tries, err := demo.Services(t.Context(), cluster, space)
	if err != nil {
		t.Fatal(err)
	}
	for _, try := range tries {
		t.Run(try.What+" from "+string(try.From), func(t *testing.T) {
			if o := try.Make(t.Context(), cluster); o.Err != nil {
				t.Error(o.Err)
			}
		})
	}
}

// everything tries all rows, and gives the first that went wrong.
func everything(ctx context.Context, tries []demo.Try) error {
	for _, try := range tries {
		if o := try.Make(ctx, cluster); o.Err != nil {
			return fmt.Errorf("%s from %s: %w", try.What, try.From, o.Err)
		}
	}
	return nil
}

// A client outside is answered only where there is an endpoint, which sees the client's own address.
func TestExternalTrafficPolicyLocal(t *testing.T) {
	const port = "30090"
	apply(t, space, `
apiVersion: v1
kind: Service
metadata: {name: local}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  ipFamilyPolicy: PreferDualStack
  selector: {app: python}
  ports: [{port: 80, targetPort: 8080, nodePort: `+port+`}]`)
	holds := strings.Fields(kubectl(t, "get", "pods", "-n", space, "-l", "app=python", "-o", "jsonpath={.items[*].spec.nodeName}"))
	for _, n := range cluster.Nodes {
		for _, ip := range n.IPs {
			url := "http://" + net.JoinHostPort(ip.String(), port) + "/"
			want := func() error {
				out, err := cluster.Echo(t.Context(), lab.Outside, "get", "-n", "5", "-timeout", "2s", url)
				if !contains(holds, n.Name) {
					if err == nil {
						return fmt.Errorf("%s has no endpoint and answers %s", n.Name, out)
					}
					return nil
				}
				if err != nil {
					return err
				}
				own := "10.89.0.100"
				if ip.Is6() {
					own = "fd89::100"
				}
				if !strings.Contains(out, " "+own+"\n") {
					return fmt.Errorf("want the server to see %s, got %s", own, out)
				}
				return nil
			}
			eventually(t, 20*time.Second, want)
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// A client keeps its endpoint, until that goes.
func TestSessionAffinity(t *testing.T) {
	apply(t, space, `
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec:
  selector: {app: nginx}
  sessionAffinity: ClientIP
  ports: [{port: 80}]`)
	eventually(t, 20*time.Second, func() error {
		out, err := cluster.Echo(t.Context(), client(), "get", "-n", "30", "http://sticky/")
		if err != nil {
			return err
		}
		if n := len(strings.Split(strings.TrimSpace(out), "\n")); n != 1 {
			return fmt.Errorf("%d servers answered: %s", n, out)
		}
		return nil
	})
}

// UDP goes to the endpoint that is there, also for a client that goes on from the same port.
func TestUDP(t *testing.T) {
	apply(t, space, `
apiVersion: v1
kind: Service
metadata: {name: datagrams}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: nginx}
  ports: [{name: udp, port: 82, protocol: UDP}, {name: tcp, port: 81}]`)
	for _, network := range []string{"udp4 datagrams:82", "udp6 datagrams:82", "tcp4 datagrams:81", "tcp6 datagrams:81"} {
		args := append([]string{"echo", "dial", "-n", "60"}, strings.Fields(network)...)
		eventually(t, 20*time.Second, func() error {
			return demo.Try{From: client(), Args: args, Want: demo.Spread(3)}.Make(t.Context(), cluster).Err
		})
	}
}

// A client that never stops asking from one port is answered by the Pod that comes in the place of another: its flow does not outlive the endpoint.
func TestDatagramsFollowTheEndpoint(t *testing.T) {
	apply(t, space, `
apiVersion: v1
kind: Service
metadata: {name: single}
spec: {selector: {app: single}, ports: [{port: 82, protocol: UDP}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: single}
spec:
  selector: {matchLabels: {app: single}}
  template:
    metadata: {labels: {app: single}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: weft-examples/echo:dev
        imagePullPolicy: Never
        args: [serve, -http=:80, -udp=:82]
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}`)
	kubectl(t, "rollout", "status", "-n", space, "--timeout=1m", "deployment/single")
	eventually(t, 20*time.Second, func() error {
		return demo.Try{From: client(), Args: []string{"echo", "dial", "udp4", "single:82"}, Want: demo.Spread(1)}.Make(t.Context(), cluster).Err
	})
	replaced := make(chan error, 1)
	go func() {
		_, err := cluster.Kubectl(t.Context(), "delete", "pod", "-n", space, "-l", "app=single")
		replaced <- err
	}()
	var names map[string]int
	o := demo.Try{From: client(), Args: []string{"echo", "dial", "-n", "900", "-until", "2", "-every", "100ms", "-timeout", "100ms", "udp4", "single:82"}, Want: func(a demo.Answers) error {
		names = a.Names()
		delete(names, "error") // while there was no endpoint
		if len(names) != 2 {
			return fmt.Errorf("want answers of the old Pod and of the new one, got %v", a)
		}
		return nil
	}}.Make(t.Context(), cluster)
	if o.Err != nil {
		t.Error(o.Err)
	}
	if err := <-replaced; err != nil {
		t.Error(err)
	}
}

// At least 10,000 requests, and as many as go while all endpoints are replaced: none may fail.
func TestEndpointsReplacedUnderLoad(t *testing.T) {
	replaced := make(chan error, 1)
	go func() {
		_, err := cluster.Kubectl(t.Context(), "rollout", "restart", "-n", space, "deployment/nginx")
		if err == nil {
			_, err = cluster.Kubectl(t.Context(), "rollout", "status", "-n", space, "--timeout=4m", "deployment/nginx")
		}
		replaced <- err
	}()
	servers := map[string]int{}
	for sent, over := 0, false; sent < 10000 || !over; sent += 2500 {
		o := demo.Try{From: client(), Args: []string{"echo", "get", "-n", "2500", "-c", "4", "http://my-svc/"}, Want: func(demo.Answers) error { return nil }}.Make(t.Context(), cluster)
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		if o.Answers.Failed() > 0 {
			t.Fatalf("after %d requests: %v", sent, o.Answers)
		}
		answered := 0
		for name, n := range o.Answers.Names() {
			servers[name] += n
			answered += n
		}
		if answered != 2500 {
			t.Fatalf("%d answers to 2500 requests: %v", answered, o.Answers)
		}
		select {
		case err := <-replaced:
			if err != nil {
				t.Fatal(err)
			}
			over = true
		default:
		}
	}
	if len(servers) < 6 {
		t.Errorf("answers of %v: want three servers and the three in their place", servers)
	}
	// Tests that follow find as many Pods as before.
	eventually(t, time.Minute, func() error {
		if pods := strings.Fields(kubectl(t, "get", "pods", "-n", space, "-l", "app=nginx", "-o", "name")); len(pods) != 3 {
			return fmt.Errorf("Pods %v, want three", pods)
		}
		return nil
	})
}
