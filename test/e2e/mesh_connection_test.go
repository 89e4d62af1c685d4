package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/lab"
)

// lines is a Service of bytes, of TLS, and of what it does not say, in two versions, and who calls it.
const lines = `
apiVersion: v1
kind: Namespace
metadata: {name: lines, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: lines}
spec:
  selector: {app: db}
  ports: [{name: tcp, port: 5432, targetPort: 7000}, {name: tls, port: 5443, targetPort: 7443}, {name: any, port: 7000}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db, namespace: lines}
spec: {host: db, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
`

func linesPod(name, labels, annotations, args string) string {
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: lines, labels: {%s}, annotations: {%s}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: echo, image: "weft-examples/echo:dev", imagePullPolicy: Never, args: [%s], env: [{name: ECHO_NAME, value: %[1]s}]}
`, name, labels, annotations, args)
}

// linesRules is a VirtualService with these rules.
func linesRules(t *testing.T, rules string) {
	t.Helper()
	if err := cluster.Apply(t.Context(), "lines", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db, "*.lines.test"]
`+rules); err != nil {
		t.Fatal(err)
	}
}

// answers asks a number of times, and counts who answered.
func answers(t *testing.T, from lab.Place, n int, args ...string) (map[string]int, error) {
	t.Helper()
	out, err := cluster.Exec(t.Context(), from, "echo", append([]string{"dial", "-n", strconv.Itoa(n)}, args...)...)
	if err != nil {
		return nil, err
	}
	count := map[string]int{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 2 {
			return nil, fmt.Errorf("%q", line)
		}
		k, err := strconv.Atoi(f[0])
		if err != nil {
			return nil, err
		}
		count[f[1]] += k
	}
	return count, nil
}

// Connections that are carried as bytes go where the VirtualService's rules for TCP and TLS say, by subset, share, the client's labels and SNI, also with stock Envoy as
// the client's sidecar; and weft explain says so.
func TestConnectionsByRules(t *testing.T) {
	clients := map[string]string{"asks": ""}
	if image := os.Getenv("WEFT_ENVOY_IMAGE"); image != "" {
		clients["asks-envoy"] = `sidecar.istio.io/proxyImage: "` + image + `", proxy.istio.io/config: "binaryPath: /envoy"`
	}
	manifests := lines
	for _, v := range []string{"v1", "v2"} {
		manifests += linesPod(v, "app: db, version: "+v, "", `serve, -tcp, ":7000", -tls, ":7443", -linger, "0"`)
	}
	for name, annotations := range clients {
		manifests += linesPod(name, "app: asks", annotations, "sleep") + linesPod(name+"-other", "app: other", annotations, "sleep")
	}
	apply(t, "lines", manifests)
	kubectl(t, "wait", "-n", "lines", "--for=condition=Ready", "--timeout=2m", "pod", "--all")
	// expect waits until exactly these answer.
	expect := func(want []string, from string, args ...string) {
		t.Helper()
		eventually(t, 30*time.Second, func() error {
			got, err := answers(t, lab.Pod("lines", from), 20, args...)
			if err != nil {
				return fmt.Errorf("%s %v: %w", from, args, err)
			}
			if who := slices.Sorted(maps.Keys(got)); !slices.Equal(who, want) {
				return fmt.Errorf("%s %v: %v, want %v", from, args, got, want)
			}
			return nil
		})
	}
	apply(t, "lines", `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [outside.lines.example]
  ports: [{number: 5443, name: tls, protocol: TLS, targetPort: 7443}]
  resolution: STATIC
  endpoints: [{address: `+kubectl(t, "get", "pod", "-n", "lines", "v2", "-o", "jsonpath={.status.podIP}")+`}]`)
	one, two, both := []string{"v1"}, []string{"v2"}, []string{"v1", "v2"}
	for name := range clients {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() {
				ctx, stop := context.WithTimeout(context.Background(), time.Minute)
				defer stop()
				if _, err := cluster.Kubectl(ctx, "delete", "-n", "lines", "virtualservice", "db"); err != nil {
					t.Error(err)
				}
			})
			expect(both, name, "tcp", "db:5432")
			linesRules(t, `  tcp: [{route: [{destination: {host: db, subset: v2}}]}]`)
			expect(two, name, "tcp", "db:5432")
			if name == "asks" { // Envoy waits for the client's first bytes where nobody says what is spoken
				expect(two, name, "tcp", "db:7000")
			}
			expect(both, name, "-tls", "db", "tcp", "db:5443")                          // rules for TCP are none for TLS
			expect(two, name, "-tls", "outside.lines.example", "tcp", "240.0.0.1:5443") // it has no address, so its name counts
			linesRules(t, `  tcp: [{match: [{port: 5432}], route: [{destination: {host: db, subset: v1}, weight: 50}, {destination: {host: db, subset: v2}, weight: 50}]}]`)
			expect(both, name, "tcp", "db:5432")
			linesRules(t, `
  tcp:
  - {match: [{destinationSubnets: [192.0.2.0/24]}], route: [{destination: {host: nobody}}]}
  - {match: [{port: 5432, sourceLabels: {app: asks}, sourceNamespace: lines}], route: [{destination: {host: db, subset: v1}}]}
  - {match: [{port: 5432}], route: [{destination: {host: db, subset: v2}}]}`)
			expect(one, name, "tcp", "db:5432")
			expect(two, name+"-other", "tcp", "db:5432")
			linesRules(t, `
  tls:
  - {match: [{sniHosts: [one.lines.test]}], route: [{destination: {host: db, subset: v1}}]}
  - {match: [{sniHosts: ["*.lines.test"]}], route: [{destination: {host: db, subset: v2}}]}`)
			expect(one, name, "-tls", "one.lines.test", "tcp", "db:5443")
			expect(two, name, "-tls", "other.lines.test", "tcp", "db:5443")
			expect(both, name, "tcp", "db:5432")
			out, err := cluster.Weft(t.Context(), "explain", "tcp", "db:5443", "--from", "lines/"+name, "--sni", "one.lines.test")
			if err != nil || !strings.Contains(out, "takes the connection  [VirtualService lines/db spec.tls[0]]") || !strings.Contains(out, "goes to one of 1 endpoints") {
				t.Errorf("weft explain: %v\n%s", err, out)
			}
		})
	}
}
