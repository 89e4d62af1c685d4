package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/demo"
	"github.com/weftmesh/weft/test/lab"
)

// shop applies examples/bookshop with all of its steps, waits until every row of the demo is as it should be, and gives the rows. It stays for the other tests.
func shop(t *testing.T) (tries []demo.Try) {
	t.Helper()
	kubectl(t, "apply", "-f", "../../examples/bookshop")
	for _, d := range strings.Fields(kubectl(t, "get", "deployments", "-n", demo.Shop, "-o", "name")) {
		kubectl(t, "rollout", "status", "-n", demo.Shop, "--timeout=2m", d)
	}
	kubectl(t, "wait", "-n", demo.Shop, "--for=condition=Ready", "--timeout=1m", "pod/scraper")
	kubectl(t, "wait", "-n", "elsewhere", "--for=condition=Ready", "--timeout=1m", "pod/stranger")
	eventually(t, time.Minute, func() (err error) {
		if tries, err = demo.Bookshop(t.Context(), cluster); err != nil {
			return err
		}
		return everything(t.Context(), tries)
	})
	return tries
}

// shopPod is a Pod of the bookshop, by app and version, that is not about to end.
func shopPod(t *testing.T, app, version string) (name, node, ip string) {
	t.Helper()
	for line := range strings.Lines(kubectl(t, "get", "pods", "-n", demo.Shop, "-l", "app="+app+",version="+version, "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} {.status.podIP} {.metadata.deletionTimestamp}{"\n"}{end}`)) {
		if f := strings.Fields(line); len(f) == 3 {
			return f[0], f[1], f[2]
		}
	}
	t.Fatalf("no Pod of %s %s", app, version)
	return "", "", ""
}

func workload(name string) lab.Place { return lab.Workload(demo.Shop, "deployment/"+name) }

// Every row of the demo's bookshop.
func TestBookshop(t *testing.T) {
	for _, try := range shop(t) {
		t.Run(try.What, func(t *testing.T) {
			if o := try.Make(t.Context(), cluster); o.Err != nil {
				t.Error(o.Err)
			}
		})
	}
}

// Metrics of an application that takes only the mesh's TLS are shown by its sidecar to who has no certificate, as its Pod's annotations say.
func TestMetricsOfAnApplication(t *testing.T) {
	shop(t)
	name, node, ip := shopPod(t, "reviews", "v2")
	if got := kubectl(t, "get", "pod", "-n", demo.Shop, name, "-o", `jsonpath={.metadata.annotations.prometheus\.io/port}{.metadata.annotations.prometheus\.io/path}`); got != "15020/stats/prometheus" {
		t.Fatalf("Prometheus is led to %q", got)
	}
	asked := func() int {
		return metric(t, lab.Place(node), "http://"+net.JoinHostPort(ip, "15020")+"/stats/prometheus", "bookshop_requests_total")
	}
	before := asked()
	traffic(t)
	eventually(t, 30*time.Second, func() error {
		if now := asked(); now <= before {
			return fmt.Errorf("the application's count does not grow: %d, then %d", before, now)
		}
		return nil
	})
	if out, err := cluster.Exec(t.Context(), lab.Pod("elsewhere", "stranger"), "echo", "get", "-whole", "http://"+net.JoinHostPort(ip, "9080")+"/metrics"); err == nil && strings.Contains(out, "bookshop_requests_total") {
		t.Errorf("without a certificate the application itself answers: %s", out)
	}
}

// A Job of the mesh calls a Service and comes to its end: its sidecar does not keep it.
func TestJobCompletes(t *testing.T) {
	shop(t)
	apply(t, demo.Shop, `
apiVersion: batch/v1
kind: Job
metadata: {name: ask}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: bookshop, image: "weft-examples/bookshop:dev", imagePullPolicy: Never, args: [get, "http://storefront:9080/api/books/1"]}`)
	kubectl(t, "wait", "-n", demo.Shop, "--for=condition=complete", "--timeout=90s", "job/ask")
	if out := kubectl(t, "logs", "-n", demo.Shop, "-l", "job-name=ask", "-c", "bookshop"); !strings.Contains(out, "200 storefront/v1") {
		t.Errorf("the Job got %q", out)
	}
}

// Pods of reviews are replaced again and again under 200 requests a second, and of 10,000 requests none fails.
func TestRolloutUnderLoad(t *testing.T) {
	shop(t)
	type result struct {
		out string
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := cluster.Exec(t.Context(), workload("storefront-v1"), "bookshop", "load", "-rps", "200", "-for", "60s", "-c", "128", "http://reviews:9080/reviews/1")
		done <- result{out, err}
	}()
	rollouts, r := 0, result{}
	for over := false; !over; {
		for _, d := range []string{"deployment/reviews-v1", "deployment/reviews-v2", "deployment/ratings-v1"} {
			kubectl(t, "rollout", "restart", "-n", demo.Shop, d)
			kubectl(t, "rollout", "status", "-n", demo.Shop, "--timeout=2m", d)
		}
		rollouts++
		select {
		case r = <-done:
			over = true
		default:
		}
	}
	t.Logf("%d rollouts of each Deployment\n%s", rollouts, r.out)
	if r.err != nil {
		t.Fatal(r.err)
	}
	if n := captured(t, r.out, `asked +(\d+) `); n < 10000 {
		t.Errorf("%d requests, want 10,000", n)
	}
}

// captured is the number that an expression captures in a text.
func captured(t *testing.T, text, expression string) int {
	t.Helper()
	m := regexp.MustCompile(expression).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in\n%s", expression, text)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// A server of no Pod, known by a ServiceEntry, is called by the routes for its host; one that nothing knows is called all the same.
func TestServersOutsideTheMesh(t *testing.T) {
	shop(t)
	from, at := machine()
	background(t, from, cluster.Program("bookshop"), "ratings", "-http", ":8088", "-version", "outside", "-linger", "0")
	answer := func(url string, args ...string) string {
		out, err := cluster.Exec(t.Context(), workload("storefront-v1"), "bookshop", append(append([]string{"get"}, args...), url)...)
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(out)
	}
	eventually(t, 30*time.Second, func() error {
		if got := answer("http://"+at+":8088/ratings/1", "-show", "peer"); got != "1 200 ratings/outside<-" {
			return fmt.Errorf("a destination that nothing knows: %q", got)
		}
		return nil
	})
	apply(t, demo.Shop, `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: press}
spec:
  hosts: [press.example.org]
  addresses: [240.0.0.10]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8088}]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{address: `+at+`}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: press}
spec:
  hosts: [press.example.org]
  http:
  - match: [{uri: {exact: /ratings/teapot}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: press.example.org}}]
  - route: [{destination: {host: press.example.org}}]`)
	eventually(t, 30*time.Second, func() error {
		if got := answer("http://240.0.0.10/ratings/1", "-H", "Host:press.example.org"); got != "1 200 ratings/outside" {
			return fmt.Errorf("through the ServiceEntry: %q", got)
		}
		if got := answer("http://240.0.0.10/ratings/teapot", "-H", "Host:press.example.org"); !strings.HasPrefix(got, "1 418") {
			return fmt.Errorf("by the VirtualService of its host: %q", got)
		}
		return nil
	})
}

// machine is a machine that Pods can reach and that is no part of the mesh, and its address: a node.
func machine() (lab.Place, string) {
	n := cluster.Nodes[len(cluster.Nodes)-1]
	return lab.Place(n.Name), n.IPs[0].String()
}

// How much a sidecar needs, and how much it was sent.
func TestFootprintOfASidecar(t *testing.T) {
	shop(t)
	name, node, _ := shopPod(t, "reviews", "v1")
	pid := sidecar(t, node, demo.Shop, name)
	out, err := cluster.Run(t.Context(), "shell", node, "--", "cat", "/proc/"+pid+"/status")
	if err != nil {
		t.Fatal(err)
	}
	whole, own := captured(t, out, `VmRSS:\s+(\d+) kB`), captured(t, out, `RssAnon:\s+(\d+) kB`)
	t.Logf("the sidecar of %s holds %.1f MB, %.1f of them its own; the rest is the program, which all proxies of a node share", name, float64(whole)/1024, float64(own)/1024)
	if out, err = cluster.Weft(t.Context(), "status"); err != nil && out == "" {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, name) {
			t.Log(strings.TrimSpace(line))
		}
	}
	if pushed := controlMetric(t, "weft_xds_push_bytes_total"); pushed > 0 {
		pods := len(strings.Fields(kubectl(t, "get", "pods", "-n", demo.Shop, "-o", "name")))
		t.Logf("control has sent %d bytes of resources in all, to %d sidecars and the gateways", pushed, pods)
	}
}

// controlMetric sums a metric over the replicas of control.
func controlMetric(t *testing.T, name string) (sum int) {
	t.Helper()
	for _, f := range strings.Split(kubectl(t, "get", "pods", "-n", "weft-system", "-l", "app.kubernetes.io/component=control", "-o",
		`jsonpath={range .items[*]}{.spec.nodeName} {.status.podIP} {.spec.containers[0].ports[0].containerPort}{"\n"}{end}`), "\n") {
		w := strings.Fields(f)
		if len(w) == 3 {
			sum += metric(t, lab.Place(w[0]), "http://"+w[1]+":"+w[2]+"/metrics", name)
		}
	}
	return sum
}

// metric sums the series of a metric that a URL shows.
func metric(t *testing.T, from lab.Place, url, name string) (sum int) {
	t.Helper()
	out, err := cluster.Exec(t.Context(), from, "echo", "get", "-whole", url)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == '{' || rest[0] == ' ') {
			f := strings.Fields(rest)
			if v, err := strconv.ParseFloat(f[len(f)-1], 64); err == nil {
				sum += int(v)
			}
		}
	}
	return sum
}

// sidecar is the process of a Pod's proxy on its node.
func sidecar(t *testing.T, node, namespace, pod string) string {
	t.Helper()
	out, err := cluster.Run(t.Context(), "shell", node, "--", "sh", "-c", sidecarPID, "sh", namespace, pod)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// sidecarPID prints the process of the container istio-proxy of Pod $1/$2 that runs.
const sidecarPID = `for id in $(ctr containers ls -q "labels.\"io.kubernetes.pod.namespace\"==$1,labels.\"io.kubernetes.pod.name\"==$2,labels.\"io.kubernetes.container.name\"==istio-proxy"); do
	ctr tasks ls | awk -v id="$id" '$1 == id && $3 == "RUNNING" {print $2}'
done`

// restartSidecar kills a Pod's proxy and waits until another one runs in its place.
func restartSidecar(t *testing.T, node, namespace, pod string) {
	t.Helper()
	before := sidecar(t, node, namespace, pod)
	if before == "" {
		t.Fatalf("Pod %s/%s has no sidecar that runs on %s", namespace, pod, node)
	}
	if _, err := cluster.Run(t.Context(), "shell", node, "--", "kill", "-KILL", before); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() error {
		if now := sidecar(t, node, namespace, pod); now == "" || now == before {
			return fmt.Errorf("the sidecar of %s is not back", pod)
		}
		return nil
	})
}

// docs/mesh.md's commands are run as they stand there; what must come of each is beside it there too.
func TestTheWalkThroughWorks(t *testing.T) {
	shop(t)
	for _, c := range walkThrough(t) {
		t.Run(c.command, func(t *testing.T) {
			eventually(t, 30*time.Second, func() error {
				cmd := exec.CommandContext(t.Context(), "bash", "-c", `weft() { bin/weft --kubeconfig "bin/kubeconfig-$WEFT_LAB" "$@"; }; kubectl() { bin/weft-lab kubectl -- "$@"; }; `+c.command)
				cmd.Dir = "../.."
				out, err := cmd.CombinedOutput()
				if err != nil && c.want == "" || !strings.Contains(string(out), c.want) {
					return fmt.Errorf("want %q, got %v: %s", c.want, err, out)
				}
				return nil
			})
		})
	}
}
