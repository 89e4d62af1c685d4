package cli

import (
	"bytes"
	"strings"
	"testing"
)

const meshManifests = `
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: page, labels: {app: page, security.istio.io/tlsMode: istio}, annotations: {sidecar.istio.io/status: "{}"}}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: bare, labels: {app: bare}}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: reviews-v2, labels: {app: reviews, version: v2, security.istio.io/tlsMode: istio}, annotations: {sidecar.istio.io/status: "{}"}}
spec: {serviceAccountName: reviews, containers: [{name: c}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: reviews}
spec: {clusterIP: 10.96.0.7, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: reviews-1, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080}]
endpoints: [{addresses: [10.244.0.2], conditions: {ready: true}, targetRef: {kind: Pod, name: reviews-v2, namespace: shop}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {namespace: shop, name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{sourceLabels: {app: other}}]
    directResponse: {status: 418}
  - route: [{destination: {host: reviews}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {namespace: shop, name: reviews}
spec: {host: reviews, subsets: [{name: v2, labels: {version: v2}}]}
`

const guarded = meshManifests + `
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {namespace: shop, name: strict}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: reviews}
spec: {selector: {matchLabels: {app: reviews}}, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/page]}}], to: [{operation: {methods: [GET]}}]}]}
`

// What the Pods make of a request that it reaches is said with it.
func TestExplainRequestToGuardedPod(t *testing.T) {
	dir := folder(t, map[string]string{"all.yaml": guarded})
	account := folder(t, map[string]string{"all.yaml": strings.Replace(guarded, "spec: {containers: [{name: c}]}", "spec: {serviceAccountName: page, containers: [{name: c}]}", 1)})
	for _, c := range []struct {
		dir, method string
		want        []string
	}{
		{dir, "GET", []string{"STRICT: the connection comes with the mesh's TLS  [PeerAuthentication shop/strict spec.mtls]", "ALLOW: source.principal of cluster.local/ns/shop/sa/default is not cluster.local/ns/shop/sa/page",
			"goes to one of 1 endpoints: 10.244.0.2:9080; not let in by shop/reviews-v2: denied"}},
		{account, "GET", []string{"ALLOW: matches  [AuthorizationPolicy shop/reviews spec.rules[0]]"}},
		{account, "POST", []string{"ALLOW: method POST is not GET", "not let in by shop/reviews-v2"}},
	} {
		var out bytes.Buffer
		if err := runExplainRequest(t.Context(), &out, &globals{}, requestFlags{folder: c.dir}, "shop/page", "text", c.method, "http://reviews:9080/x"); err != nil {
			t.Fatal(err)
		}
		for _, w := range c.want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("want %q in\n%s", w, out.String())
			}
		}
	}
}

// What a Pod's sidecar does with a request is said from the Pod's own point of view.
func TestExplainRequestFromPod(t *testing.T) {
	dir := folder(t, map[string]string{"all.yaml": meshManifests})
	for _, c := range []struct {
		from, url string
		headers   []string
		want      []string
	}{
		{"shop/page", "http://reviews:9080/x", nil, []string{"[VirtualService shop/reviews spec.http[0]]", "header end-user is missing", "VirtualService shop/reviews spec.http[2]",
			"10.244.0.2:9080 reviews-v2, with the mesh's TLS", "goes to one of 1 endpoints"}},
		{"shop/page", "http://reviews.shop.svc.cluster.local:9080/x", []string{"end-user: jason"}, []string{"subset v2", "spec.http[0]"}},
		{"shop/page", "http://10.96.0.7:9080/x", nil, []string{"goes to one of 1 endpoints"}},
		{"shop/page", "http://nobody:80/", nil, []string{"the mesh does not know nobody"}},
		{"shop/page", "http://reviews:81/", nil, []string{"has no port 81"}},
		{"shop/bare", "http://reviews:9080/", nil, []string{"the Pod has none"}},
	} {
		t.Run(c.from+" "+c.url, func(t *testing.T) {
			var out bytes.Buffer
			if err := runExplainRequest(t.Context(), &out, &globals{}, requestFlags{headers: c.headers, folder: dir}, c.from, "text", "GET", c.url); err != nil {
				t.Fatal(err)
			}
			for _, w := range c.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("want %q in\n%s", w, out.String())
				}
			}
			if strings.Contains(out.String(), "418") {
				t.Errorf("a rule for other clients takes part:\n%s", out.String())
			}
		})
	}
	if err := runExplainRequest(t.Context(), &bytes.Buffer{}, &globals{}, requestFlags{folder: dir}, "shop/nobody", "text", "GET", "http://reviews/"); err == nil {
		t.Error("a Pod that does not exist asks")
	}
}

// A policy that reaches nobody, or a port that nobody has, is told.
func TestAnalyzeReach(t *testing.T) {
	const policies = meshManifests + `
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: db}
spec: {clusterIP: 10.96.0.8, selector: {app: db}, ports: [{name: tcp, port: 5432}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {namespace: shop, name: ports}
spec: {selector: {matchLabels: {app: reviews}}, portLevelMtls: {9080: {mode: STRICT}, 9999: {mode: DISABLE}}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {namespace: shop, name: nobody}
spec: {selector: {matchLabels: {app: gone}}, jwtRules: [{issuer: a, jwksUri: "https://a.test/k"}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: web}
spec: {selector: {matchLabels: {app: reviews}}, action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: deny}
spec: {selector: {matchLabels: {app: db}}, action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: allow}
spec: {selector: {matchLabels: {app: db}}, rules: [{to: [{operation: {paths: [/a]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: empty, name: early}
spec: {selector: {matchLabels: {app: db}}, rules: [{}]}
`
	out, err := run(t, map[string]string{"a.yaml": policies}, "analyze", "-f")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"warning AuthorizationPolicy shop/allow spec.rules[0]: it asks for what only HTTP has, which is not spoken at port 5432: it never matches (no-effect)",
		"warning AuthorizationPolicy shop/deny spec.rules[0]: it asks only for what HTTP has: every connection to port 5432, where HTTP is not spoken, is denied (denies-tcp)",
		"warning PeerAuthentication shop/ports spec.portLevelMtls[9999]: no Service leads to port 9999 of the Pods that are picked (no-port)",
		"warning RequestAuthentication shop/nobody spec.selector: no Pod of namespace shop has these labels; it has no effect (no-workload)",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
		out = strings.Replace(out, want, "", 1)
	}
	if strings.Contains(out, "Policy") || strings.Contains(out, "9080") {
		t.Errorf("more is found:\n%s", out)
	}
}

// What a Pod's sidecar does with a connection that is carried as bytes is said rule by rule.
func TestExplainConnectionFromPod(t *testing.T) {
	const rules = meshManifests + `
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: db}
spec: {clusterIP: 10.96.0.8, selector: {app: reviews}, ports: [{name: tcp, port: 5432}, {name: tls-x, port: 5433}, {name: tcp-plain, port: 5434}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: db-1, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: tcp, port: 5432}, {name: tls-x, port: 5433}, {name: tcp-plain, port: 5434}]
endpoints: [{addresses: [10.244.0.2], conditions: {ready: true}, targetRef: {kind: Pod, name: reviews-v2, namespace: shop}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {namespace: shop, name: db}
spec: {host: db, subsets: [{name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {namespace: shop, name: db}
spec:
  hosts: [db, "*.example.com"]
  tls:
  - match: [{sniHosts: [a.example.com]}]
    route: [{destination: {host: db, subset: v2, port: {number: 5432}}}]
  tcp:
  - match: [{port: 5432, sourceLabels: {app: other}}]
    route: [{destination: {host: nobody}}]
  - match: [{port: 5432, destinationSubnets: [192.0.2.0/24]}]
    route: [{destination: {host: nobody}}]
  - match: [{port: 5432}]
    route: [{destination: {host: db, subset: v2}, weight: 90}, {destination: {host: db}, weight: 10}]
`
	dir := folder(t, map[string]string{"all.yaml": rules})
	for _, c := range []struct {
		target, sni string
		want        []string
	}{
		{"db:5432", "", []string{"the client has no labels app=other  [VirtualService shop/db spec.tcp[0]]", "10.96.0.8 is in none of [192.0.2.0/24]  [VirtualService shop/db spec.tcp[1]]",
			"takes the connection  [VirtualService shop/db spec.tcp[2]]", "90% to db.shop.svc.cluster.local port 5432 subset v2", "goes to one of 1 endpoints: 10.244.0.2:5432",
			"it is by the name that TLS begins with, and the port is not declared to speak TLS"}},
		{"10.96.0.8:5433", "a.example.com", []string{"takes the connection  [VirtualService shop/db spec.tls[0]]", "10.244.0.2:5432", "where TLS is declared only rules by its name count"}},
		{"db.shop:5433", "b.example.com", []string{`"b.example.com" is none of a.example.com  [VirtualService shop/db spec.tls[0]]`, "no rule takes the connection"}},
		{"db:5434", "", []string{"port 5434 is not 5432", "goes to one of 1 endpoints: 10.244.0.2:5434"}},
		{"reviews:9080", "", []string{"each request goes its own way: weft explain GET http://reviews:9080/ --from shop/page"}},
		{"nobody:1", "", []string{"the mesh does not know nobody"}},
		{"db:1", "", []string{"has no port 1"}},
	} {
		var out bytes.Buffer
		if err := runExplain(t.Context(), &out, &globals{}, explainFlags{from: "shop/page", sni: c.sni, output: "text", request: requestFlags{folder: dir}}, "tcp", c.target); err != nil {
			t.Fatal(err)
		}
		for _, w := range c.want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: want %q in\n%s", c.target, w, out.String())
			}
		}
	}
	var out bytes.Buffer
	if err := runExplainRequest(t.Context(), &out, &globals{}, requestFlags{folder: folder(t, map[string]string{"all.yaml": strings.Replace(rules, "hosts: [db, ", `hosts: [db, db.shop.svc.cluster.local, `, 1)})}, "shop/page", "text", "GET", "https://db:5433/"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"db" is none of a.example.com`) {
		t.Errorf("a request over TLS is led as a connection:\n%s", out.String())
	}
	err := runExplain(t.Context(), &bytes.Buffer{}, &globals{}, explainFlags{from: "shop/bare", request: requestFlags{folder: dir}}, "tcp", "db:5432")
	if err == nil || !strings.Contains(err.Error(), "no sidecar") {
		t.Errorf("a Pod without a sidecar: %v", err)
	}
}
