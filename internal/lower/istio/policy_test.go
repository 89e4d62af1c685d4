package istio

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

func TestDestinationRuleLowersWhole(t *testing.T) {
	w := newWorld(t)
	w.apply(`
kind: DestinationRule
metadata: {namespace: shop, name: web}
spec:
  host: Web
  exportTo: [b, .]
  trafficPolicy:
    loadBalancer:
      consistentHash: {httpCookie: {name: user, path: /, ttl: 0s}, maglev: {tableSize: 65537}}
      localityLbSetting: {enabled: false}
      warmup: {duration: 30s}
    connectionPool:
      tcp: {maxConnections: 10, connectTimeout: 3s, maxConnectionDuration: 1h, idleTimeout: 5s, tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}}
      http: {http1MaxPendingRequests: 1, http2MaxRequests: 2, maxRequestsPerConnection: 3, maxRetries: 4, idleTimeout: 6s, useClientProtocol: true}
    outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 5, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 6,
      interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 50, minHealthPercent: 20}
    tls: {mode: MUTUAL, credentialName: client, sni: in.example, subjectAltNames: [a]}
    proxyProtocol: {version: V2}
    portLevelSettings:
    - {port: {number: 443}, tls: {mode: ISTIO_MUTUAL}}
    - {port: {number: 80}, loadBalancer: {simple: ROUND_ROBIN}}
  subsets:
  - {name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}, portLevelSettings: [{port: {number: 80}, connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}]}}
  - {name: all}`)
	w.wantNoMoreThan("warning DestinationRule shop/web spec.trafficPolicy.tls.credentialName: only gateways are given the Secret: connections of sidecars that the rule is for are refused (unsupported)")
	wantEqual(t, &model.DestinationPolicy{
		Host: "web.shop.svc.cluster.local", Exported: []string{"b", "shop"},
		Policy: model.TrafficPolicy{
			LoadBalancer: &model.LoadBalancer{
				Balance: model.Maglev, Table: 65537, Hash: []model.HashOn{{Cookie: &model.HashCookie{Name: "user", Path: "/", TTL: ptr(time.Duration(0))}}}, Warmup: 30 * time.Second,
			},
			Connections: &model.Connections{
				Max: 10, ConnectTimeout: 3 * time.Second, MaxLifetime: time.Hour, Idle: 6 * time.Second, KeepaliveTime: 2 * time.Hour, KeepaliveEvery: 75 * time.Second, KeepaliveCount: 3,
				MaxPending: 1, MaxRequests: 2, MaxRequestsPerTCP: 3, MaxRetries: 4, HTTP2: model.HTTP2AsClient,
			},
			Outlier: &model.OutlierDetection{
				Consecutive5xx: ptr(uint32(0)), ConsecutiveGateway: ptr(uint32(5)), ConsecutiveLocal: ptr(uint32(6)), SplitLocal: true,
				Interval: time.Second, BaseEjection: 2 * time.Second, MaxEjected: 50, MinHealthy: 20,
			},
			TLS:           &model.ClientTLS{Mode: model.TLSMutual, Credential: &model.ObjectName{Name: "client"}, SNI: "in.example", SANs: []string{"a"}},
			ProxyProtocol: 2,
		},
		Ports: []model.PortPolicy{
			{Port: 80, Policy: model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{Balance: model.RoundRobin}}},
			{Port: 443, Policy: model.TrafficPolicy{TLS: &model.ClientTLS{Mode: model.TLSMesh}}},
		},
		Subsets: []model.Subset{
			{Name: "v1", Labels: "version=v1", Policy: model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{}},
				Ports:  []model.PortPolicy{{Port: 80, Policy: model.TrafficPolicy{Connections: &model.Connections{HTTP2: model.HTTP2Always}}}},
				Origin: at("DestinationRule", "web", "spec.subsets[0]")},
			{Name: "all", Origin: at("DestinationRule", "web", "spec.subsets[1]")},
		},
		Seniority: model.Seniority{Kind: "DestinationRule", Name: model.ObjectName(shop("web"))}, Origin: at("DestinationRule", "web", ""),
	}, w.lowered.Policies.Read(shop("web")))
}

// Ways to hash and to balance, each the only one of a rule.
func TestLoadBalancers(t *testing.T) {
	for spec, want := range map[string]model.LoadBalancer{
		"{}":                      {},
		"{simple: LEAST_CONN}":    {},
		"{simple: RANDOM}":        {Balance: model.Random},
		"{simple: PASSTHROUGH}":   {Balance: model.Passthrough},
		"{simple: ROUND_ROBIN}":   {Balance: model.RoundRobin},
		"{simple: LEAST_REQUEST}": {},
		"{consistentHash: {httpHeaderName: X-User}}":                                       {Balance: model.RingHash, Hash: []model.HashOn{{Header: "x-user"}}},
		"{consistentHash: {useSourceIp: true, minimumRingSize: 7}}":                        {Balance: model.RingHash, MinRing: 7, Hash: []model.HashOn{{SourceIP: true}}},
		"{consistentHash: {httpQueryParameterName: q, ringHash: {minimumRingSize: 2048}}}": {Balance: model.RingHash, MinRing: 2048, Hash: []model.HashOn{{Query: "q"}}},
		"{consistentHash: {httpCookie: {name: a}}}":                                        {Balance: model.RingHash, Hash: []model.HashOn{{Cookie: &model.HashCookie{Name: "a"}}}},
		"{warmupDurationSecs: 5s}":                                                         {Warmup: 5 * time.Second},
	} {
		w := newWorld(t)
		w.apply("kind: DestinationRule\nmetadata: {namespace: shop, name: x}\nspec: {host: a, trafficPolicy: {loadBalancer: " + spec + "}}")
		w.wantNoFindings()
		wantEqual(t, &want, w.lowered.Policies.Read(shop("x")).Policy.LoadBalancer)
	}
}

// rule declares a DestinationRule with one subset of its own name.
func (w *world) rule(namespace, name, host, more string) {
	w.t.Helper()
	w.apply("kind: DestinationRule\nmetadata: {namespace: " + namespace + ", name: " + name + "}\nspec: {host: '" + host + "', subsets: [{name: " + name + "}]" + more + "}")
}

func (w *world) policiesFor(host, namespace string) (names []string) {
	for _, p := range ask(w, func(r *derive.Reader) []*model.DestinationPolicy { return w.lowered.PoliciesFor(r, host, namespace) }) {
		names = append(names, p.Name.String())
	}
	return names
}

func TestWhoseRuleHolds(t *testing.T) {
	const web = "web.shop.svc.cluster.local"
	w := newWorld(t)
	w.rule("istio-system", "all", "*.local", "")
	wantEqual(t, []string{"istio-system/all"}, w.policiesFor(web, "client"))
	w.rule("shop", "hidden", "web", ", exportTo: [.]")
	wantEqual(t, []string{"istio-system/all"}, w.policiesFor(web, "client"))
	w.rule("shop", "some", "web", ", exportTo: [elsewhere]")
	wantEqual(t, []string{"shop/hidden"}, w.policiesFor(web, "shop"))
	wantEqual(t, []string{"shop/some"}, w.policiesFor(web, "elsewhere"))
	wantEqual(t, []string{"istio-system/all"}, w.policiesFor(web, "client"))
	w.rule("client", "wide", "*.shop.svc.cluster.local", "")
	wantEqual(t, []string{"client/wide"}, w.policiesFor(web, "client"))
	w.rule("client", "wider", "*.local", "")
	wantEqual(t, []string{"client/wide"}, w.policiesFor(web, "client"))
	w.rule("client", "exact", web, ", exportTo: [.]")
	wantEqual(t, []string{"client/exact"}, w.policiesFor(web, "client"))
	w.rule("client", "app", web, ", workloadSelector: {matchLabels: {app: a}}")
	wantEqual(t, []string{"client/app", "client/exact"}, w.policiesFor(web, "client"))
	wantEqual(t, []string{"istio-system/all"}, w.policiesFor("db.other.svc.cluster.local", "shop"))
	wantEqual(t, []string(nil), w.policiesFor("www.example.org", "shop"))
	w.wantNoFindings()
}

// The root namespace is a namespace like others to its own clients, once what it says to everybody is left to the end.
func TestRulesOfTheRootNamespace(t *testing.T) {
	const web = "web.shop.svc.cluster.local"
	w := newWorld(t)
	w.rule("istio-system", "all", "*.local", "")
	w.rule("shop", "web", "web", "")
	wantEqual(t, []string{"shop/web"}, w.policiesFor(web, "istio-system"))
	w.rule("istio-system", "own", web, ", exportTo: [.]")
	wantEqual(t, []string{"istio-system/own"}, w.policiesFor(web, "istio-system"))
	wantEqual(t, []string{"shop/web"}, w.policiesFor(web, "client"))
}

// A host that is no Service belongs to the namespace that declares it.
func TestRulesForDeclaredHosts(t *testing.T) {
	w := newWorld(t)
	w.rule("outside", "api", "api.example.org", "")
	wantEqual(t, []string(nil), w.policiesFor("api.example.org", "client"))
	w.apply("kind: ServiceEntry\nmetadata: {namespace: outside, name: api}\nspec: {hosts: [api.example.org], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}")
	wantEqual(t, []string{"outside/api"}, w.policiesFor("api.example.org", "client"))
}

func TestRulesForOneHostAreMerged(t *testing.T) {
	w := newWorld(t)
	w.apply(`kind: DestinationRule
metadata: {namespace: shop, name: second, creationTimestamp: "2026-01-02T00:00:00Z"}
spec: {host: web, trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1, labels: {a: b}}, {name: v2}]}`)
	w.apply(`kind: DestinationRule
metadata: {namespace: shop, name: first, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {host: web.shop.svc.cluster.local, subsets: [{name: v1}]}`)
	w.apply(`kind: DestinationRule
metadata: {namespace: shop, name: third, creationTimestamp: "2026-01-03T00:00:00Z"}
spec: {host: web, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}`)
	got := ask(w, func(r *derive.Reader) []*model.DestinationPolicy {
		return w.lowered.PoliciesFor(r, "web.shop.svc.cluster.local", "shop")
	})
	wantEqual(t, []*model.DestinationPolicy{{
		Host: "web.shop.svc.cluster.local", Exported: []string{"*"}, Policy: model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{Balance: model.Random}},
		Subsets: []model.Subset{
			{Name: "v1", Origin: at("DestinationRule", "first", "spec.subsets[0]")}, {Name: "v2", Origin: at("DestinationRule", "second", "spec.subsets[1]")},
		},
		Seniority: model.Seniority{Created: 1767225600, Kind: "DestinationRule", Name: model.ObjectName(shop("first"))}, Origin: at("DestinationRule", "first", ""),
	}}, got)
	w.wantNoMoreThan(
		`error DestinationRule shop/second spec.subsets[0]: DestinationRule shop/first, which is older, has a subset "v1" for the same host; this one has no effect (doubled-subset)`,
		"warning DestinationRule shop/second spec.host: DestinationRule shop/first, which is older, is for the same host; the subsets of this one are added to its, and its trafficPolicy is used, as the older one has none (merged-rule)",
		"warning DestinationRule shop/third spec.host: DestinationRule shop/first, which is older, is for the same host; the subsets of this one are added to its, and its trafficPolicy has no effect (merged-rule)",
	)
}

func TestEntriesLowerWhole(t *testing.T) {
	w := newWorld(t)
	w.apply(`
kind: ServiceEntry
metadata: {namespace: shop, name: api}
spec:
  hosts: [API.example.org, "*.more.example.org"]
  addresses: [192.0.2.1, 2001:db8::/64]
  ports: [{number: 443, name: tls, protocol: https, targetPort: 8443}]
  location: MESH_INTERNAL
  resolution: DNS
  endpoints: [{address: a.example.org, ports: {tls: 9443}, labels: {v: "1"}, weight: 3, serviceAccount: sa}, {address: "2001:db8::1"}]
  subjectAltNames: [spiffe://x]
  exportTo: [.]
---
kind: WorkloadEntry
metadata: {namespace: shop, name: vm-2, labels: {app: web}}
spec: {address: 192.0.2.2, labels: {app: other, version: v1}, ports: {http: 8080, admin: 9}, serviceAccount: web, weight: 5}
---
kind: WorkloadEntry
metadata: {namespace: shop, name: vm-1}
spec: {address: vm.example.org, labels: {app: web}}
---
kind: WorkloadEntry
metadata: {namespace: other, name: vm-3}
spec: {address: 192.0.2.3, labels: {app: web}}`)
	w.wantNoFindings()
	entry := func(host, namespace string) *model.HostEntry {
		return ask(w, func(r *derive.Reader) *model.HostEntry { return w.lowered.EntryFor(r, host, namespace) })
	}
	want := &model.HostEntry{
		Hosts: []string{"api.example.org", "*.more.example.org"}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")},
		Ports: []model.EntryPort{{Name: "tls", Port: 443, Target: 8443, Protocol: "HTTPS", Origin: at("ServiceEntry", "api", "spec.ports[0]")}}, Resolution: model.ResolveDNS,
		Endpoints: []model.EntryEndpoint{
			{Host: "a.example.org", Ports: []model.EntryTarget{{Name: "tls", Port: 9443}}, Labels: "v=1", Weight: 3, ServiceAccount: "sa", Origin: at("ServiceEntry", "api", "spec.endpoints[0]")},
			{Addr: netip.MustParseAddr("2001:db8::1"), Origin: at("ServiceEntry", "api", "spec.endpoints[1]")},
		},
		SANs: []string{"spiffe://x"}, Exported: []string{"shop"}, Seniority: model.Seniority{Kind: "ServiceEntry", Name: model.ObjectName(shop("api"))}, Origin: at("ServiceEntry", "api", ""),
	}
	wantEqual(t, want, entry("api.example.org", "shop"))
	wantEqual(t, want, entry("a.b.more.example.org", "shop"))
	wantEqual(t, (*model.HostEntry)(nil), entry("api.example.org", "client"))
	wantEqual(t, (*model.HostEntry)(nil), entry("more.example.org", "shop"))
	wantEqual(t, []*model.EntryEndpoint{
		{Name: model.ObjectName(shop("vm-1")), Host: "vm.example.org", Labels: "app=web", Origin: at("WorkloadEntry", "vm-1", "")},
		{Name: model.ObjectName(shop("vm-2")), Addr: netip.MustParseAddr("192.0.2.2"), Ports: []model.EntryTarget{{Name: "admin", Port: 9}, {Name: "http", Port: 8080}},
			Labels: "app=web,version=v1", ServiceAccount: "web", Weight: 5, Origin: at("WorkloadEntry", "vm-2", "")},
	}, ask(w, func(r *derive.Reader) []*model.EntryEndpoint {
		return w.lowered.WorkloadEndpoints(r, "shop", "app=web")
	}))
	if all := ask(w, func(r *derive.Reader) []*model.EntryEndpoint { return w.lowered.WorkloadEndpoints(r, "shop", "") }); all != nil {
		t.Errorf("no selector selects %v", all)
	}
}

func TestWhoseEntryHolds(t *testing.T) {
	w := newWorld(t)
	for _, e := range []string{"{namespace: a, name: old}", "{namespace: b, name: young}"} {
		w.apply("kind: ServiceEntry\nmetadata: " + e + "\nspec: {hosts: [api.example.org], resolution: DNS}")
	}
	for client, want := range map[string]string{"a": "a/old", "b": "b/young", "c": "a/old"} {
		if got := ask(w, func(r *derive.Reader) *model.HostEntry { return w.lowered.EntryFor(r, "api.example.org", client) }).Name.String(); got != want {
			t.Errorf("%s sees %s, want %s", client, got, want)
		}
	}
}
