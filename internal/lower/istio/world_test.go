package istio

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/jwks"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// world is a store with the lowered queries over it.
type world struct {
	t       testing.TB
	src     *store.Source
	db      *derive.DB
	tables  *kube.Tables
	keySets *store.Table[model.KeySet]
	lowered *Lowered
	asked   int
}

func newWorld(t testing.TB) *world {
	s := store.New(nil)
	tables, keySets := kube.NewTables(s), jwks.NewTable(s)
	w := &world{t: t, src: s.Source("test"), db: s.DB(), tables: tables, keySets: keySets}
	w.lowered = Define(s.DB(), Objects{
		Gateways: tables.Gateways, VirtualServices: tables.VirtualServices, DestinationRules: tables.DestinationRules,
		ServiceEntries: tables.ServiceEntries, WorkloadEntries: tables.WorkloadEntries,
		PeerAuthentications: tables.PeerAuthentications, AuthorizationPolicies: tables.AuthorizationPolicies,
		RequestAuthentications: tables.RequestAuthentications, KeySets: keySets,
	}, Options{})
	w.lowered.Tell()
	return w
}

// apply puts the objects of a YAML text.
func (w *world) apply(text string) {
	w.t.Helper()
	for _, doc := range strings.Split(text, "\n---\n") {
		var head metav1.TypeMeta
		w.read(doc, &head)
		switch head.Kind {
		case "Gateway":
			put(w, w.tables.Gateways, doc)
		case "VirtualService":
			put(w, w.tables.VirtualServices, doc)
		case "DestinationRule":
			put(w, w.tables.DestinationRules, doc)
		case "ServiceEntry":
			put(w, w.tables.ServiceEntries, doc)
		case "WorkloadEntry":
			put(w, w.tables.WorkloadEntries, doc)
		case "PeerAuthentication":
			put(w, w.tables.PeerAuthentications, doc)
		case "RequestAuthentication":
			put(w, w.tables.RequestAuthentications, doc)
		case "AuthorizationPolicy":
			put(w, w.tables.AuthorizationPolicies, doc)
		default:
			w.t.Fatalf("kind %q?", head.Kind)
		}
	}
}

func put[T any](w *world, table *store.Table[T], doc string) {
	w.t.Helper()
	o := new(T)
	w.read(doc, o)
	w.src.Commit(func(tx *store.Tx) { table.Put(tx, o) })
}

func (w *world) read(doc string, into any) {
	w.t.Helper()
	if err := yaml.Unmarshal([]byte(doc), into); err != nil {
		w.t.Fatalf("%v in\n%s", err, doc)
	}
}

func (w *world) findings() (out []string) {
	for _, f := range w.db.AllFindings() {
		out = append(out, f.String())
	}
	return out
}

// wantNoFindings fails the test if anything is found.
func (w *world) wantNoFindings() {
	w.t.Helper()
	if f := w.findings(); f != nil {
		w.t.Errorf("findings: %q", f)
	}
}

// wantNoMoreThan fails the test if anything else is found.
func (w *world) wantNoMoreThan(findings ...string) {
	w.t.Helper()
	if d := cmp.Diff(findings, w.findings()); d != "" {
		w.t.Error("(-want +got)\n" + d)
	}
}

// ask runs a function inside a query, as compose does.
func ask[V any](w *world, fn func(*derive.Reader) V) V {
	w.t.Helper()
	w.asked++
	return derive.Define(w.db, "ask "+strconv.Itoa(w.asked), nil, func(r *derive.Reader, _ struct{}) V { return fn(r) }).Read(struct{}{})
}

func at(kind, name, field string) model.Origin {
	return model.Origin{Object: finding.Object{Kind: kind, Namespace: "shop", Name: name}, Field: field}
}

func shop(name string) store.Key { return store.Key{Namespace: "shop", Name: name} }

func (w *world) routes(name string) *model.RouteSet { return w.lowered.RouteSets.Read(shop(name)) }

// virtualService is one of namespace shop, bound to Gateway public, with this spec.http.
func virtualService(http string) string {
	return `
kind: Gateway
metadata: {namespace: shop, name: public}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
kind: VirtualService
metadata: {namespace: shop, name: web}
spec:
  hosts: [web.example.org]
  gateways: [public]
  http: ` + http
}

var values = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func wantEqual(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, values); d != "" {
		t.Error("(-want +got)\n" + d)
	}
}
