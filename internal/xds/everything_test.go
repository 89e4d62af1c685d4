package xds

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

func ptr[V any](v V) *V { return &v }

func at(kind, field string) model.Origin {
	return model.Origin{Object: finding.Object{Kind: kind, Namespace: "shop", Name: "web"}, Field: field}
}

// everything puts a model in place in which all that can be said is said, also what must not get through.
func (w *world) everything(tx *store.Tx, a authority) {
	credential := model.ObjectName{Namespace: gateway.Namespace, Name: "web"}
	foreign := model.ObjectName{Namespace: "shop", Name: "web"}
	for _, n := range []model.ObjectName{credential, foreign} {
		w.put(tx, "secrets", n.String(), a.secret(n))
	}
	w.put(tx, "names", gateway.String(), []model.ObjectName{credential, foreign})

	var keys []compose.ClusterKey
	for i, p := range policies(credential) {
		k := key(fmt.Sprintf("p%02d", i))
		keys = append(keys, k)
		c := &model.Cluster{Destination: k.Destination, Policy: p, HTTP2: i%2 == 1, Host: model.ServiceName{Namespace: "shop", Name: "web"}, Service: at("Service", "spec.ports[0]"), Rule: at("DestinationRule", "spec.trafficPolicy")}
		if i%5 == 4 {
			c.ByDNS, c.Names = true, []model.NamedEndpoint{{Host: "127.0.0.1", Port: 81, Weight: 1 << 31}, {Host: "localhost", Port: 80}, {Host: "localhost", Port: 82, Weight: 1 << 31}}
		}
		w.put(tx, "clusters", clusterID(k), c)
		w.put(tx, "endpoints", clusterID(k), &model.ClusterEndpoints{Destination: k.Destination, Endpoints: []model.ClusterEndpoint{
			{Endpoint: model.Endpoint{AddrPort: netip.MustParseAddrPort("127.0.0.1:9"), Ready: true, Zone: "a"}, Weight: math.MaxUint32},
			{Endpoint: model.Endpoint{AddrPort: netip.MustParseAddrPort("127.0.0.2:9"), Ready: true, Zone: "a"}},
			{Endpoint: model.Endpoint{AddrPort: netip.MustParseAddrPort("[::1]:9"), Ready: true, Zone: "b"}},
		}})
	}
	w.put(tx, "keys", gateway.String(), keys)
	w.put(tx, "listeners", gateway.String(), allListeners(credential, foreign))
	w.put(tx, "tables", gateway.String()+" http.80", &model.RouteTable{Name: "http.80", Hosts: []*model.VirtualHost{
		{Name: "all:80", Domains: []string{"web.test", "*.web.test", "*"}, Routes: allRoutes(), Origin: at("VirtualService", "spec")},
		{Name: "secure:80", Domains: []string{"secure.test"}, RedirectHTTPS: true, Origin: at("Gateway", "spec.servers[0]")},
		{Name: "bad:80", Domains: []string{"no name"}},
	}})
}

func policies(credential model.ObjectName) []model.TrafficPolicy {
	lb := func(b model.LoadBalancer) model.TrafficPolicy { return model.TrafficPolicy{LoadBalancer: &b} }
	tls := func(c model.ClientTLS) model.TrafficPolicy { return model.TrafficPolicy{TLS: &c} }
	return []model.TrafficPolicy{
		{},
		lb(model.LoadBalancer{Balance: model.RoundRobin, Warmup: time.Minute}),
		lb(model.LoadBalancer{Balance: model.LeastRequest, Warmup: time.Minute}),
		lb(model.LoadBalancer{Balance: model.Random}),
		lb(model.LoadBalancer{Balance: model.RoundRobin}),
		lb(model.LoadBalancer{Balance: model.RingHash, MinRing: 1 << 40, Hash: []model.HashOn{{Header: "x-user"}, {Cookie: &model.HashCookie{Name: "c", Path: "/", TTL: ptr(time.Hour)}}, {SourceIP: true}, {Query: "q"}, {}}}),
		lb(model.LoadBalancer{Balance: model.Maglev, Hash: []model.HashOn{{SourceIP: true}}}),
		lb(model.LoadBalancer{Balance: model.Passthrough}),
		{Connections: &model.Connections{Max: 1, ConnectTimeout: time.Second, MaxLifetime: time.Hour, Idle: time.Minute, KeepaliveTime: time.Minute, KeepaliveEvery: time.Second, KeepaliveCount: 3, MaxPending: 1, MaxRequests: 2, MaxRequestsPerTCP: 3, MaxRetries: 4, HTTP2: model.HTTP2Always}},
		{Connections: &model.Connections{HTTP2: model.HTTP2AsClient}},
		{Outlier: &model.OutlierDetection{Consecutive5xx: ptr(uint32(7)), ConsecutiveGateway: ptr(uint32(3)), ConsecutiveLocal: ptr(uint32(2)), SplitLocal: true, Interval: time.Second, BaseEjection: time.Hour, MaxEjected: 100, MinHealthy: 50}},
		{Outlier: &model.OutlierDetection{Consecutive5xx: ptr(uint32(0))}},
		tls(model.ClientTLS{Mode: model.TLSSimple, Credential: &credential, SNI: "web.test", SANs: []string{"web.test", "spiffe://a/b"}}),
		tls(model.ClientTLS{Mode: model.TLSMutual, Credential: &credential}),
		tls(model.ClientTLS{Mode: model.TLSSimple}),
		tls(model.ClientTLS{Mode: model.TLSSimple, Insecure: true, SNI: "x"}),
		{TLS: &model.ClientTLS{Mode: model.TLSSimple}, ProxyProtocol: 2, Connections: &model.Connections{HTTP2: model.HTTP2AsClient}},
		{ProxyProtocol: 1},
	}
}

func allListeners(credential, foreign model.ObjectName) []model.Listener {
	gw := at("Gateway", "spec.servers[0]")
	to := func(n int) (out []model.Weighted) {
		for i := range n {
			out = append(out, model.Weighted{Destination: destination(fmt.Sprintf("p%02d", i)), Weight: uint32(i)})
		}
		return out
	}
	server := &model.ServerTLS{Credentials: []model.ObjectName{credential}}
	return []model.Listener{
		{Port: 80, Origin: gw, Chains: []model.Chain{{Name: "http", Table: "http.80", Origin: gw}}},
		{Port: 81, Origin: gw, Chains: []model.Chain{
			{Name: "a", SNI: []string{"a.test", "*.a.test"}, Encrypted: true, TLS: server, Table: "http.80", Origin: gw},
			{Name: "b", SNI: []string{"b.test", "a.test"}, Encrypted: true, Table: "http.80", Origin: gw, TLS: &model.ServerTLS{
				Credentials: []model.ObjectName{foreign}, ClientCA: &foreign, ClientSANs: []string{"client.test"}, MinVersion: model.TLS12, MaxVersion: model.TLS12, CipherSuites: []string{"ECDHE-ECDSA-AES128-GCM-SHA256"},
			}},
			{Name: "c", SNI: []string{"c.test"}, Encrypted: true, To: to(3), Origin: gw},
			{Name: "d", SNI: []string{"a.test"}, Encrypted: true, To: to(1), Origin: gw},
			{Name: "e", SNI: []string{"*", "x.*", "y z"}, Encrypted: true, To: to(1), Origin: gw},
			{Name: "f", Encrypted: true, TLS: &model.ServerTLS{Credentials: []model.ObjectName{credential}, ClientCA: &credential, ClientOptional: true}, To: to(2), Origin: gw},
			{Name: "g", Encrypted: true, To: to(2), Origin: gw},
			{Name: "h", Table: "http.80", Origin: gw},
		}},
		{Port: 82, Chains: []model.Chain{{Name: "tcp", To: to(1)}}},
		{Port: 83, Chains: []model.Chain{{Name: "nowhere"}}},
		{Port: 84, Chains: []model.Chain{{Name: "no certificate", TLS: &model.ServerTLS{}, Encrypted: true, Table: "http.80"}}},
		{Port: 85, Chains: []model.Chain{{Name: "no weight", To: []model.Weighted{{}, {}}}}},
	}
}

func allRoutes() []model.Route {
	vs := at("VirtualService", "spec.http[0]")
	dst := []model.Weighted{{Destination: destination("p00")}}
	one := func(edit func(*model.Route)) model.Route {
		r := model.Route{Name: "r", To: dst, Origin: vs}
		edit(&r)
		return r
	}
	match := func(m ...model.Match) model.Route { return one(func(r *model.Route) { r.Matches = m }) }
	text := func(k model.MatchKind, v string, fold bool) model.StringMatch {
		return model.StringMatch{Kind: k, Value: v, IgnoreCase: fold}
	}
	var out []model.Route
	for _, k := range []model.MatchKind{model.MatchAny, model.MatchExact, model.MatchPrefix, model.MatchRegex, model.MatchPresent, model.MatchSegments} {
		for _, v := range []string{"", "/", "/a", "/a/", "/a?b", "[", "(a+)+", "a\nb"} {
			m := text(k, v, len(v) > 2)
			out = append(out, match(model.Match{Path: m}, model.Match{Name: "m", Headers: []model.NamedMatch{{Name: "x-h", StringMatch: m}, {Name: "x-i", StringMatch: m, Invert: true}}}),
				match(model.Match{Query: []model.NamedMatch{{Name: "q", StringMatch: m}}}), match(model.Match{Method: m}), match(model.Match{Scheme: m, Authority: m}))
		}
	}
	for _, r := range []model.Redirect{
		{}, {Status: 301, Scheme: "https"}, {Status: 302, Authority: "x.test", Port: 8443}, {Status: 303, Path: "/p"}, {Status: 307, HasPrefix: true}, {Status: 308, HasPrefix: true, Prefix: "/p"},
		{Path: "/a\r\nx: y"}, {Authority: "a b"},
	} {
		out = append(out, model.Route{Redirect: &r, Origin: vs})
	}
	for _, w := range []model.Rewrite{
		{Authority: "x.test"}, {HasPrefix: true}, {HasPrefix: true, Prefix: "/p"}, {Regex: "/(.*)/b", Substitution: `/\1`}, {Regex: "/(.*)/b", Substitution: `/\2`},
		{Regex: "[", Substitution: "x"}, {Regex: "x", Substitution: `\`}, {Regex: "x", Substitution: `\\\x`}, {Path: `/whole\1`}, {HasPrefix: true, Prefix: "/\x00"},
	} {
		out = append(out, one(func(r *model.Route) { r.Rewrite = &w }))
	}
	for _, r := range []model.Retry{
		{}, {Attempts: 3, PerTry: time.Second, On: "5xx, 418,reset,retriable-status-codes", Backoff: time.Microsecond}, {Attempts: 1, IgnorePrior: true, Backoff: time.Minute}, {Attempts: 1, On: "nonsense,,99999"},
	} {
		out = append(out, one(func(x *model.Route) { x.Retry = &r }))
	}
	for _, f := range []model.Fault{
		{Delay: time.Second, DelayShare: 10}, {AbortStatus: 503, AbortShare: 0.001}, {AbortGRPC: ptr(uint32(14)), AbortShare: 100}, {AbortStatus: 99, AbortShare: 1}, {Delay: 1, DelayShare: 1000},
	} {
		out = append(out, one(func(x *model.Route) { x.Fault = &f }))
	}
	for _, c := range []model.CORS{
		{}, {Origins: []model.StringMatch{text(model.MatchExact, "https://a", false), text(model.MatchPrefix, "", false), text(model.MatchRegex, ".*", true)}, Methods: []string{"GET"}, Headers: []string{"x"}, Expose: []string{"y"}, MaxAge: time.Millisecond, Credentials: ptr(true), ForwardOthers: true},
		{Origins: []model.StringMatch{text(model.MatchRegex, "[", false)}},
	} {
		out = append(out, one(func(x *model.Route) { x.CORS = &c }))
	}
	ops := model.HeaderOps{Remove: []string{"x-gone", "host", ":path", "b d"}, Set: []model.HeaderValue{{Name: "host", Value: "x.test"}, {Name: "x-set", Value: "100% %REQ(x-a?:path)% %NOPE% %% %PROTOCOL% %REQ(%"}, {Name: ":path", Value: "/"}, {Name: "x y", Value: "z"}},
		Add: []model.HeaderValue{{Name: "x-add", Value: "a\r\nb: c\x00"}, {Name: "x-m", Value: "%METADATA(ROUTE:weft:origin)% %REQ(a?b?c)% %START_TIME%% %BYTES_SENT:5%"}, {Name: "x-empty"}}}
	out = append(out,
		one(func(r *model.Route) { r.Request, r.Response = ops, ops }),
		one(func(r *model.Route) {
			r.To = []model.Weighted{{Destination: destination("p01"), Weight: 4294967295, Request: ops}, {Destination: destination("p02"), Weight: 4294967295, Response: ops}, {Destination: destination("p05")}}
		}),
		one(func(r *model.Route) { r.To = []model.Weighted{{}, {}} }),
		one(func(r *model.Route) { r.To = []model.Weighted{{Destination: destination("p05"), Request: ops}} }),
		one(func(r *model.Route) { r.Timeout = time.Second }),
		one(func(r *model.Route) {
			r.Mirrors = []model.Mirror{{Destination: destination("p00"), Share: 12.5}, {Destination: destination("p01"), Share: 200}, {Destination: destination("p02")}}
		}),
		model.Route{Respond: &model.DirectResponse{Status: 418, Body: "teapot"}, Origin: vs},
		model.Route{Respond: &model.DirectResponse{Status: 5}, Origin: vs},
		model.Route{Respond: &model.DirectResponse{Status: 200, Body: string(make([]byte, 2<<20))}, Origin: vs},
		model.Route{Respond: &model.DirectResponse{Status: 200, Body: string(make([]byte, 100_000))}, Origin: vs},
		model.Route{Origin: vs},
	)
	return out
}
