package lab_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/lab/internal/netns"
)

const answers = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: answer}
spec:
  selector: {matchLabels: {app: answer}}
  template:
    metadata: {labels: {app: answer}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{operator: Exists}]
      containers:
      - name: answer
        image: example.test/answer:1
        imagePullPolicy: Never
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: answer}
spec: {type: NodePort, ipFamilyPolicy: RequireDualStack, selector: {app: answer}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
`

// One lab of two nodes, used as a user would use it.
func TestLab(t *testing.T) {
	c := newCommand(t, "use")
	c.run("up", "--nodes", "2")
	if out := c.run("up", "--nodes", "2"); !strings.Contains(out, "up already") {
		t.Errorf("up of a lab that is up says %q", out)
	}
	if out, code := c.try("up", "--nodes", "3"); code == 0 || !strings.Contains(out, "2 nodes") {
		t.Errorf("up of another shape: exit code %d, %q", code, out)
	}

	dir := t.TempDir()
	build(t, filepath.Join(dir, "answer"), "./testdata/answer")
	archive := filepath.Join(dir, "answer.tar")
	c.run("build-image", "--tag", "example.test/answer:1", "--output", archive, "/answer="+filepath.Join(dir, "answer"))
	c.run("load-image", archive)
	manifest := filepath.Join(dir, "answers.yaml")
	if err := os.WriteFile(manifest, []byte(answers), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run("kubectl", "apply", "-f", manifest)
	c.run("kubectl", "rollout", "status", "daemonset/answer", "--timeout=2m")

	t.Run("nodes, Pods and Services have both families", func(t *testing.T) {
		c := c.in(t)
		for _, n := range c.status().Nodes {
			got := c.run("kubectl", "get", "node", n.Name, "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address} {.spec.podCIDRs[*]}`)
			want := fmt.Sprintf("%s %s %s %s", n.IPs[0], n.IPs[1], n.PodCIDRs[0], n.PodCIDRs[1])
			if got != want {
				t.Errorf("%s: %s, want %s", n.Name, got, want)
			}
			for i, ip := range podIPs(c, n.Name) {
				if !n.PodCIDRs[i].Contains(ip) {
					t.Errorf("a Pod on %s has %s", n.Name, ip)
				}
			}
		}
		ips := strings.Fields(c.run("kubectl", "get", "service", "answer", "-o", "jsonpath={.spec.clusterIPs[*]}"))
		for i, r := range c.status().Network.ServiceCIDRs {
			if !r.Contains(netip.MustParseAddr(ips[i])) {
				t.Errorf("a Service has %s, not of %s", ips[i], r)
			}
		}
	})

	t.Run("Pods reach each other across nodes", func(t *testing.T) {
		c := c.in(t)
		from := pod(c, "node-1")
		for i, ip := range podIPs(c, "node-2") {
			out := c.run("kubectl", "exec", from, "--", "/answer", url(ip, 8080))
			if source := strings.Fields(out)[1]; source != podIPs(c, "node-1")[i].String() {
				t.Errorf("node-2 saw %s", source)
			}
		}
	})

	t.Run("nothing carries Services, and that is told at once", func(t *testing.T) {
		c := c.in(t)
		ip := netip.MustParseAddr(c.run("kubectl", "get", "service", "answer", "-o", "jsonpath={.spec.clusterIP}"))
		out, code := c.try("kubectl", "exec", pod(c, "node-1"), "--", "/answer", url(ip, 80))
		if code == 0 || !strings.Contains(out, "unreachable") {
			t.Errorf("exit code %d: %s", code, out)
		}
	})

	t.Run("outside knows the nodes only", func(t *testing.T) {
		c := c.in(t)
		s := c.status()
		for _, ip := range s.Nodes[1].IPs {
			if err := dial(s.Outside.Netns, ip, 10250); err != nil {
				t.Errorf("the kubelet of node-2: %v", err)
			}
		}
		if err := dial(s.Outside.Netns, podIPs(c, "node-1")[0], 8080); err == nil {
			t.Error("outside reaches a Pod")
		}
		for _, n := range []string{"node-1", "outside", "control-plane", "router"} {
			m, _ := s.Machine(n)
			if err := dial(m.Netns, netip.MustParseAddr("192.0.2.1"), 80); err == nil || !strings.Contains(err.Error(), "unreachable") {
				t.Errorf("%s has a way out: %v", n, err)
			}
		}
	})

	t.Run("shell", func(t *testing.T) {
		c := c.in(t)
		if out := c.run("shell", "node-2", "--", "hostname"); strings.TrimSpace(out) != "node-2" {
			t.Errorf("hostname %q", out)
		}
		if _, code := c.try("shell", "outside", "--", "sh", "-c", "exit 7"); code != 7 {
			t.Errorf("exit code %d, want 7", code)
		}
		if _, code := c.try("shell", "nowhere"); code != 2 {
			t.Errorf("shell on a machine that is none: exit code %d, want 2", code)
		}
		// The machines' kernel settings are the host's, and are not for them.
		if _, code := c.try("shell", "node-1", "--", "sh", "-c", "echo 5 > /proc/sys/kernel/panic_on_warn"); code == 0 {
			t.Error("a node can change the host's sysctls")
		}
	})

	t.Run("tunnel", func(t *testing.T) {
		c := c.in(t)
		out := c.run("tunnel", "--background", "0:node-1:10250", "0:"+podIPs(c, "node-1")[0].String()+":8080", "0:["+podIPs(c, "node-2")[1].String()+"]:8080")
		ports := regexp.MustCompile(`127\.0\.0\.1:(\d+)`).FindAllStringSubmatch(out, -1)
		if len(ports) != 3 {
			t.Fatalf("tunnels: %s", out)
		}
		for i, want := range []string{"", pod(c, "node-1"), pod(c, "node-2")} {
			if want == "" {
				continue
			}
			client := http.Client{Timeout: 10 * time.Second}
			r, err := client.Get("http://127.0.0.1:" + ports[i][1])
			if err != nil {
				t.Error(err)
				continue
			}
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || !strings.HasPrefix(string(body), want) {
				t.Errorf("%s answers %q: %v", want, body, err)
			}
		}
		if n := len(c.status().Tunnels); n != 3 {
			t.Errorf("status knows %d tunnels", n)
		}
		if _, code := c.try("tunnel", "0:nobody:1"); code == 0 {
			t.Error("a tunnel to nobody")
		}
	})

	for _, how := range [][]string{{"stop"}, {"stop", "--kill"}} {
		t.Run("control plane comes back after "+strings.Join(how, " "), func(t *testing.T) {
			c := c.in(t)
			c.run(append([]string{"control-plane"}, how...)...)
			if out, code := c.try("kubectl", "get", "--raw", "/readyz"); code == 0 {
				t.Errorf("the API server answers: %s", out)
			}
			// Pods do not care.
			if err := dial(c.status().Nodes[0].Netns, netip.MustParseAddr("10.244.2.2"), 8080); err != nil {
				t.Error(err)
			}
			c.run("control-plane", "start")
			if out := c.run("kubectl", "get", "service", "answer", "-o", "name"); out != "service/answer\n" {
				t.Errorf("its state: %q", out)
			}
		})
	}

	t.Run("a node loses power and comes back", func(t *testing.T) {
		c := c.in(t)
		before := podIPs(c, "node-1")
		c.run("node", "stop", "node-2")
		s := c.status()
		if s.Nodes[1].On {
			t.Error("node-2 is on")
		}
		if err := dial(s.Outside.Netns, s.Nodes[1].IPs[0], 10250); err == nil {
			t.Error("node-2 answers")
		}
		if _, code := c.try("load-image", archive); code == 0 {
			t.Error("loaded an image into a node that is off")
		}
		c.run("node", "start", "node-2")
		c.run("kubectl", "wait", "node/node-2", "--for=condition=Ready", "--timeout=1m")
		from, to := pod(c, "node-1"), pod(c, "node-2")
		eventually(t, time.Minute, func() string {
			ips := strings.Fields(c.run("kubectl", "get", "pod", to, "-o", "jsonpath={.status.podIPs[*].ip}"))
			if len(ips) != 2 {
				return "the Pod on node-2 has no addresses"
			}
			out, code := c.try("kubectl", "exec", from, "--", "/answer", url(netip.MustParseAddr(ips[0]), 8080))
			if code != 0 {
				return "the Pod on node-2 does not answer: " + out
			}
			return ""
		})
		if got := podIPs(c, "node-1"); got[0] != before[0] {
			t.Errorf("node-1's Pod was %s and is %s", before[0], got[0])
		}
	})
}

// pod is the name of the answering Pod on a node.
func pod(c *command, node string) string {
	c.t.Helper()
	return c.run("kubectl", "get", "pods", "-l", "app=answer", "--field-selector", "spec.nodeName="+node, "-o", "jsonpath={.items[0].metadata.name}")
}

func podIPs(c *command, node string) []netip.Addr {
	c.t.Helper()
	var ips []netip.Addr
	for text := range strings.FieldsSeq(c.run("kubectl", "get", "pod", pod(c, node), "-o", "jsonpath={.status.podIPs[*].ip}")) {
		ips = append(ips, netip.MustParseAddr(text))
	}
	if len(ips) != 2 {
		c.t.Fatalf("the Pod on %s has %v, not one address a family", node, ips)
	}
	return ips
}

func url(ip netip.Addr, port uint16) string {
	return "http://" + netip.AddrPortFrom(ip, port).String() + "/"
}

// dial connects from a network namespace.
func dial(from string, to netip.Addr, port uint16) error {
	return netns.Do(from, func() error {
		conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(to, port).String(), 3*time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func TestRefusals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft-lab")
	build(t, path, "./cmd/weft-lab")
	c := &command{t: t, path: path, name: "no-such-lab"}
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"up", "--nodes", "0"}, 2, "1 to 80"},
		{[]string{"up", "--with", "sugar"}, 2, "known are kube-proxy, coredns"},
		{[]string{"tunnel", "8080"}, 2, "PORT:HOST:HOSTPORT"},
		{[]string{"build-image", "/x=x"}, 2, "--tag"},
	} {
		if out, code := c.try(test.args...); code != test.code || !strings.Contains(out, test.says) {
			t.Errorf("%v: exit code %d, %q", test.args, code, out)
		}
	}
	for _, args := range [][]string{{"status"}, {"kubeconfig"}, {"kubectl", "get", "nodes"}, {"shell", "node-1"}, {"load-image", "x"}} {
		code, says := 3, `no lab "no-such-lab"`
		if os.Geteuid() != 0 {
			code, says = 4, "root"
		}
		if out, got := c.try(args...); got != code || !strings.Contains(out, says) {
			t.Errorf("%v: exit code %d, %q", args, got, out)
		}
	}
}
