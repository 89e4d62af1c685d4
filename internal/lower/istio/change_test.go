package istio

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// runs counts what was computed since it was last asked, by query.
func (w *world) runs() (out map[string]uint64) {
	out = map[string]uint64{}
	for _, q := range w.db.Stats().Queries {
		out[q.Name] = q.Runs
	}
	return out
}

// An edit of what means nothing computes nothing, and an edit of one VirtualService leaves the others and the other gateways alone.
func TestAnEditCostsWhatDependsOnIt(t *testing.T) {
	w := newWorld(t)
	const gateways, each = 3, 50
	routes := func(gateway, n int, meta, path string) string {
		return fmt.Sprintf("kind: VirtualService\nmetadata: {namespace: shop, name: v%d-%d%s}\nspec: {hosts: [h%d.example], gateways: [g%d], http: [{match: [{uri: {prefix: %s}}], route: [{destination: {host: a}}]}]}",
			gateway, n, meta, n, gateway, path)
	}
	followed := derive.Define(w.db, "carrier", nil, func(r *derive.Reader, g model.GatewayName) int { return len(w.lowered.RouteSetsFor(r, g)) })
	name := func(g int) model.GatewayName {
		return model.GatewayName{Kind: "Gateway", Name: model.ObjectName{Namespace: "shop", Name: fmt.Sprintf("g%d", g)}}
	}
	told := map[model.GatewayName]int{}
	feed := w.db.NewFeed()
	for g := range gateways {
		w.apply(fmt.Sprintf("kind: Gateway\nmetadata: {namespace: shop, name: g%d}\nspec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}", g))
		for n := range each {
			w.apply(routes(g, n, "", "/a"))
		}
		defer followed.Subscribe(feed, name(g), func(d derive.Delta[model.GatewayName, int]) { told[d.Key]++ })()
	}
	change := func(what, object string, want map[string]uint64) {
		t.Helper()
		feed.Drain()
		clear(told)
		before := w.runs()
		w.apply(object)
		feed.Drain()
		got := map[string]uint64{}
		for q, n := range w.runs() {
			if n != before[q] {
				got[q] = n - before[q]
			}
		}
		t.Logf("%s: %v", what, got)
		wantEqual(t, want, got)
	}
	change("a new version of the same", routes(1, 7, `, resourceVersion: "9", generation: 9`, "/a"), map[string]uint64{})
	change("an annotation", routes(1, 7, `, annotations: {a: b}`, "/a"), map[string]uint64{"lower/istio/routes": 1, "lower/istio/bound to gateway": 1})
	if len(told) != 0 {
		t.Errorf("told %v", told)
	}
	change("another path", routes(1, 7, "", "/b"), map[string]uint64{"lower/istio/routes": 1, "lower/istio/bound to gateway": 1, "carrier": 1})
	if told[name(1)] != 1 || len(told) != 1 {
		t.Errorf("told %v", told)
	}
}

// A WorkloadEntry that comes costs its own namespace only, and a Gateway that changes nothing of what routes ask costs no route.
func TestFactsOfOthersAreReadAsFacts(t *testing.T) {
	w := newWorld(t)
	w.apply(virtualService("[{directResponse: {status: 200}}]"))
	before := w.runs()
	w.apply("kind: Gateway\nmetadata: {namespace: shop, name: public}\nspec: {servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: ['*']}]}")
	if after := w.runs(); after["lower/istio/routes"] != before["lower/istio/routes"] {
		t.Error("routes are lowered anew for a port of their gateway")
	}
}

// Whatever a spec holds, lowering it is over without a panic, and says the same twice.
func TestRandomSpecs(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		objects := map[string]proto.Message{
			"Gateway": &networking.Gateway{}, "VirtualService": &networking.VirtualService{}, "DestinationRule": &networking.DestinationRule{},
			"ServiceEntry": &networking.ServiceEntry{}, "WorkloadEntry": &networking.WorkloadEntry{},
			"PeerAuthentication": &security.PeerAuthentication{}, "AuthorizationPolicy": &security.AuthorizationPolicy{}, "RequestAuthentication": &security.RequestAuthentication{},
		}
		for _, kind := range slices.Sorted(maps.Keys(objects)) {
			fill(r, objects[kind].ProtoReflect(), 5)
		}
		var first []string
		for range 2 {
			w := newWorld(t)
			w.src.Commit(func(tx *store.Tx) {
				for i := range 3 {
					name := fmt.Sprintf("x%d", i)
					putSpec(tx, w.tables, name, objects)
				}
			})
			w.peer("shop", "a=a")
			ask(w, func(r *derive.Reader) int {
				return len(w.lowered.GatewaysFor(r, model.Fleet{})) + len(w.lowered.RouteSetsFor(r, public)) + len(w.lowered.PoliciesFor(r, "a.shop.svc.cluster.local", "shop")) +
					len(w.lowered.GuardFor(r, "shop", "a=a").Authorizations) + len(w.lowered.GuardFor(r, "shop", "a=a").Authentications)
			})
			found := w.findings()
			for _, q := range w.db.Stats().Queries {
				if q.Panics > 0 {
					t.Fatalf("seed %d: %s panicked: %q", seed, q.Name, found)
				}
			}
			for _, f := range w.db.AllFindings() {
				if f.Code == "" || f.Object.Namespace != "shop" {
					t.Fatalf("seed %d: %v", seed, f)
				}
			}
			if first == nil {
				first = found
			} else {
				wantEqual(t, first, found)
			}
		}
	}
}

func putSpec(tx *store.Tx, tables *kube.Tables, name string, specs map[string]proto.Message) {
	g, v, d := &networkingv1.Gateway{}, &networkingv1.VirtualService{}, &networkingv1.DestinationRule{}
	s, e := &networkingv1.ServiceEntry{}, &networkingv1.WorkloadEntry{}
	proto.Merge(&g.Spec, specs["Gateway"])
	proto.Merge(&v.Spec, specs["VirtualService"])
	proto.Merge(&d.Spec, specs["DestinationRule"])
	proto.Merge(&s.Spec, specs["ServiceEntry"])
	proto.Merge(&e.Spec, specs["WorkloadEntry"])
	g.Namespace, v.Namespace, d.Namespace, s.Namespace, e.Namespace = "shop", "shop", "shop", "shop", "shop"
	g.Name, v.Name, d.Name, s.Name, e.Name = name, name, name, name, name
	tables.Gateways.Put(tx, g)
	tables.VirtualServices.Put(tx, v)
	tables.DestinationRules.Put(tx, d)
	tables.ServiceEntries.Put(tx, s)
	tables.WorkloadEntries.Put(tx, e)
	p, a, q := &securityv1.PeerAuthentication{}, &securityv1.AuthorizationPolicy{}, &securityv1.RequestAuthentication{}
	proto.Merge(&p.Spec, specs["PeerAuthentication"])
	proto.Merge(&a.Spec, specs["AuthorizationPolicy"])
	proto.Merge(&q.Spec, specs["RequestAuthentication"])
	p.Namespace, a.Namespace, q.Namespace = "shop", "shop", "shop"
	p.Name, a.Name, q.Name = name, name, name
	tables.PeerAuthentications.Put(tx, p)
	tables.AuthorizationPolicies.Put(tx, a)
	tables.RequestAuthentications.Put(tx, q)
}

// texts are what fields may hold: good, bad and worse.
var texts = []string{
	"", "a", "*", "*.example.org", "web", "web.shop.svc.cluster.local", "shop", ".", "~", "x0", "x1", "shop/public", "mesh", "a/b/c", "192.0.2.1", "::1", "/", "/a",
	"[", "(a|b)*", "HTTP", "HTTPS", "TLS", "TCP", "GRPC", "GET", "5xx,503,,x", "%", "%%", "%A(", "%REQ(:path)%", "Host", ":authority", "x-a", "kubernetes://a/b", "\x00", "é", "unix:///x",
}

// fill sets about half of a message's fields.
func fill(r *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if r.IntN(2) == 0 || depth == 0 && f.Message() != nil {
			continue
		}
		switch {
		case f.IsList():
			l := m.Mutable(f).List()
			for range r.IntN(3) {
				if f.Message() != nil {
					e := l.NewElement()
					fill(r, e.Message(), depth-1)
					l.Append(e)
				} else {
					l.Append(scalar(r, f))
				}
			}
		case f.IsMap():
			entries := m.Mutable(f).Map()
			for range r.IntN(3) {
				v := entries.NewValue()
				if f.MapValue().Message() != nil {
					fill(r, v.Message(), depth-1)
				} else {
					v = scalar(r, f.MapValue())
				}
				entries.Set(scalar(r, f.MapKey()).MapKey(), v)
			}
		case f.Message() != nil:
			fill(r, m.Mutable(f).Message(), depth-1)
		default:
			m.Set(f, scalar(r, f))
		}
	}
}

func scalar(r *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	numbers := []int64{0, 1, -1, 80, 443, 200, 503, 99999, 1 << 30, -1 << 31, 1<<31 - 1}
	n := numbers[r.IntN(len(numbers))]
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(texts[r.IntN(len(texts))])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(texts[r.IntN(len(texts))]))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(r.IntN(2) == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(r.IntN(f.Enum().Values().Len() + 1)))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(n << r.IntN(30))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n) / 3)
	}
	panic(f.Kind())
}

// A VirtualService as large as an API server takes is lowered like any other.
func TestLargeVirtualService(t *testing.T) {
	const rules = 10_000
	v := &networkingv1.VirtualService{}
	v.Namespace, v.Name = "shop", "large"
	v.Spec.Hosts = []string{"large.example"}
	for i := range rules {
		v.Spec.Http = append(v.Spec.Http, &networking.HTTPRoute{
			Match: []*networking.HTTPMatchRequest{{Uri: &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: fmt.Sprintf("/%0100d", i)}}}},
			Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "web", Port: &networking.PortSelector{Number: 8080}}}},
		})
	}
	if size := proto.Size(&v.Spec); size < 1_000_000 {
		t.Fatalf("%d bytes are not large", size)
	}
	w := newWorld(t)
	w.src.Commit(func(tx *store.Tx) { w.tables.VirtualServices.Put(tx, v) })
	w.wantNoFindings()
	if got := w.routes("large").HTTP; len(got) != rules || got[rules-1].Origin.Field != "spec.http[9999]" {
		t.Errorf("%d rules, the last from %v", len(got), got[len(got)-1].Origin)
	}
}
