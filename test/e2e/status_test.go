package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// weft status shows every component, ready, with what it has programmed from live state.
func TestStatus(t *testing.T) {
	eventually(t, time.Minute, func() error {
		seen := map[string]int{}
		for _, c := range status(t).Components {
			if c.Status == nil {
				return fmt.Errorf("%s: %s", c.Pod, c.Error)
			}
			if !c.Status.Ready {
				return fmt.Errorf("%s is not ready", c.Pod)
			}
			seen[c.Status.Component]++
			for _, s := range c.Status.Sections {
				if s.Name == "upstreams" {
					continue // the lab has no way out
				}
				if s.Origin != "live" || s.Error != "" {
					return fmt.Errorf("%s: %s is from %q, error %q", c.Pod, s.Name, s.Origin, s.Error)
				}
				if s.Name == "nftables" && number(s.Facts[0].Value) < 10 {
					return fmt.Errorf("%s: %v", c.Pod, s.Facts)
				}
			}
		}
		if seen["node"] != len(cluster.Nodes) || seen["dns"] != 2 || seen["control"] != 2 {
			return fmt.Errorf("components: %v", seen)
		}
		return nil
	})
}

func number(s string) int {
	n, _ := strconv.Atoi(s) // 0 is too few for whoever asks
	return n
}

// weft explain names the Service, the slices, the endpoints, the policy, and where the kernel holds it.
func TestExplain(t *testing.T) {
	slice := kubectl(t, "get", "endpointslices", "-n", space, "-l", "kubernetes.io/service-name=my-svc", "-o", `jsonpath={.items[?(@.addressType=="IPv4")].metadata.name}`)
	pod := kubectl(t, "get", "pods", "-n", space, "-l", "app=nginx", "-o", "jsonpath={.items[0].metadata.name}")
	ip := kubectl(t, "get", "service", "-n", space, "my-svc", "-o", "jsonpath={.spec.clusterIP}")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"tcp", "my-svc:80", "--from", "client"}, []string{"Service default/my-svc", "EndpointSlice default/" + slice, pod, "weft-v1 map services", ip, "one of 3 endpoints"}},
		{[]string{"tcp", "my-svc:81", "--from", "client"}, []string{"refused at once", "no port TCP 81"}},
		{[]string{"tcp", "nobody:80", "--from", "client"}, []string{"there is no Service default/nobody", "NXDOMAIN"}},
		{[]string{"tcp", ":30080", "--node", cluster.Nodes[1].Name}, []string{"Service default/my-nodeport", "externalTrafficPolicy", "one of 3 endpoints"}},
		{[]string{"tcp", "my-headless:80", "--from", "client"}, []string{"headless", "EndpointSlice default/"}},
		{[]string{"tcp", "my-registry:443", "--from", "client"}, []string{"CNAME registry.example.org"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			out, err := cluster.Weft(t.Context(), append([]string{"explain", "-n", space}, c.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range c.want {
				if !strings.Contains(out, w) {
					t.Errorf("want %q in\n%s", w, out)
				}
			}
		})
	}
}

// What is wrong with an object is said in weft status and in the object's Events, and nothing else is harmed.
func TestFindings(t *testing.T) {
	apply(t, space, `
apiVersion: v1
kind: Service
metadata: {name: alias-to-address}
spec: {type: ExternalName, externalName: 192.0.2.1}
---
apiVersion: v1
kind: Service
metadata: {name: nobody-home}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: too-late}
spec: {selector: {app: python}, externalIPs: [198.51.100.10], ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: thief}
spec: {selector: {app: python}, externalIPs: [10.96.0.10], ports: [{port: 80, targetPort: 8080}]}`)
	want := []struct{ name, field, code, severity string }{
		{"alias-to-address", "spec.externalName", "external-name-is-address", "error"},
		{"nobody-home", "spec.selector", "no-endpoint-slices", "warning"},
		{"too-late", "spec.externalIPs", "taken", "error"},
		{"thief", "spec.externalIPs", "taken", "error"},
	}
	eventually(t, 30*time.Second, func() error {
		found := map[string]bool{}
		for _, f := range status(t).Findings {
			found[fmt.Sprint(f.Object.Name, f.Field, f.Code, f.Severity)] = true
		}
		for _, w := range want {
			if !found[fmt.Sprint(w.name, w.field, w.code, w.severity)] {
				return fmt.Errorf("no finding %+v among %v", w, found)
			}
		}
		return nil
	})
	eventually(t, time.Minute, func() error {
		for _, w := range want {
			out := kubectl(t, "get", "events", "-n", space, "--field-selector", "involvedObject.kind=Service,involvedObject.name="+w.name, "-o", "jsonpath={.items[*].message}")
			if !strings.Contains(out, " ") {
				return fmt.Errorf("no Event on %s", w.name)
			}
		}
		return nil
	})
	// The older Service still answers.
	if out, err := cluster.Echo(t.Context(), client(), "get", "-n", "10", "http://198.51.100.10/"); err != nil || !strings.Contains(out, "nginx-") || strings.Contains(out, "python-") {
		t.Errorf("%s %v", out, err)
	}
}
