package istio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

func (w *world) peer(namespace string, labels model.Labels) *model.PeerAuthentication {
	w.t.Helper()
	return ask(w, func(r *derive.Reader) *model.PeerAuthentication {
		return w.lowered.PeerAuthenticationFor(r, namespace, labels)
	})
}

// peers is PeerAuthentications, "NAMESPACE/NAME CREATED SPEC" each, CREATED a second of a day long ago.
func peers(lines ...string) string {
	var out []string
	for _, l := range lines {
		f := strings.SplitN(l, " ", 3)
		ns, name, _ := strings.Cut(f[0], "/")
		out = append(out, fmt.Sprintf("kind: PeerAuthentication\nmetadata: {namespace: %s, name: %s, creationTimestamp: '2020-01-01T00:00:0%sZ'}\nspec: %s", ns, name, f[1], f[2]))
	}
	return strings.Join(out, "\n---\n")
}

func TestWhichPeerAuthenticationHolds(t *testing.T) {
	port := func(p *model.PeerAuthentication, number uint16) string {
		mode, o := p.For(number)
		return mode.String() + " " + o.Name + " " + o.Field
	}
	for _, c := range []struct {
		name    string
		objects string
		want    string // of port 80 of app=web in shop
		found   []string
	}{
		{"nobody says anything", peers("other/a 1 {mtls: {mode: STRICT}}"), "PERMISSIVE  ", nil},
		{"the mesh", peers("istio-system/mesh 1 {mtls: {mode: STRICT}}"), "STRICT mesh spec.mtls", nil},
		{"the mesh says nothing", peers("istio-system/mesh 1 {}"), "PERMISSIVE  ", nil},
		{"the namespace goes before the mesh", peers("istio-system/mesh 1 {mtls: {mode: STRICT}}", "shop/ns 2 {mtls: {mode: DISABLE}}"), "DISABLE ns spec.mtls", nil},
		{"a namespace that says nothing", peers("istio-system/mesh 1 {mtls: {mode: STRICT}}", "shop/ns 2 {mtls: {mode: UNSET}}"), "STRICT mesh spec.mtls", nil},
		{"the workload goes before the namespace", peers("shop/ns 1 {mtls: {mode: STRICT}}", "shop/own 2 {selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}}"), "PERMISSIVE own spec.mtls", nil},
		{"a workload that says nothing", peers("shop/ns 1 {mtls: {mode: STRICT}}", "shop/own 2 {selector: {matchLabels: {app: web}}}"), "STRICT ns spec.mtls", nil},
		{"another workload", peers("shop/own 1 {selector: {matchLabels: {app: api}}, mtls: {mode: STRICT}}"), "PERMISSIVE  ", nil},
		{"a port", peers("shop/own 1 {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}}}"), "DISABLE own spec.portLevelMtls[80]", nil},
		{"a port of a policy that leaves the rest to others", peers("shop/own 1 {selector: {matchLabels: {app: web}}, portLevelMtls: {80: {mode: STRICT}}}"), "STRICT own spec.portLevelMtls[80]", nil},
		{"another port", peers("shop/own 1 {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {81: {mode: DISABLE}}}"), "STRICT own spec.mtls", nil},
		{"a port that says nothing", peers("shop/own 1 {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {80: {}}}"), "STRICT own spec.mtls", nil},
		{"of two for a namespace the older", peers("shop/a 2 {mtls: {mode: STRICT}}", "shop/b 1 {mtls: {mode: DISABLE}}"), "DISABLE b spec.mtls", []string{
			"error PeerAuthentication shop/a spec: PeerAuthentication shop/b, which is older, is for the whole namespace too; this one has no effect (older-policy)"}},
		{"of two for the mesh the older", peers("istio-system/a 1 {mtls: {mode: STRICT}}", "istio-system/b 2 {mtls: {mode: DISABLE}}"), "STRICT a spec.mtls", []string{
			"error PeerAuthentication istio-system/b spec: PeerAuthentication istio-system/a, which is older, is for the whole namespace too; this one has no effect (older-policy)"}},
		{"of two for a workload the older, with all that it says", peers(
			"shop/a 2 {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: STRICT}}}", "shop/b 1 {selector: {matchLabels: {v: '1'}}, portLevelMtls: {81: {}}}"), "PERMISSIVE  ", []string{
			"warning PeerAuthentication shop/a spec.selector: PeerAuthentication shop/b, which is older, picks some of the same workloads; this one has no effect on them (older-policy)"}},
		{"a port without a selector", peers("shop/ns 1 {mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}}}"), "STRICT ns spec.mtls", []string{
			"error PeerAuthentication shop/ns spec.portLevelMtls: has an effect only beside a selector, whose workloads' ports are meant (no-effect)"}},
		{"a port that is none", peers("shop/own 1 {selector: {matchLabels: {app: web}}, portLevelMtls: {0: {mode: STRICT}, 80: {mode: STRICT}, 70000: {mode: STRICT}}}"), "STRICT own spec.portLevelMtls[80]", []string{
			"error PeerAuthentication shop/own spec.portLevelMtls[0]: 0 is no port number (invalid-port)", "error PeerAuthentication shop/own spec.portLevelMtls[70000]: 70000 is no port number (invalid-port)"}},
		{"a selector in the root namespace", peers("istio-system/mesh 1 {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}"), "PERMISSIVE  ", []string{
			"error PeerAuthentication istio-system/mesh spec.selector: what namespace istio-system says is for the whole mesh, without a selector; the policy has no effect (no-effect)"}},
		{"a selector of nothing", peers("shop/ns 1 {selector: {}, mtls: {mode: STRICT}}"), "STRICT ns spec.mtls", []string{
			"warning PeerAuthentication shop/ns spec.selector: without labels it picks every workload (no-effect)"}},
		{"a selector that can pick nothing", peers("shop/ns 1 {selector: {matchLabels: {'a b': c}}, mtls: {mode: STRICT}}"), "PERMISSIVE  ", []string{
			`error PeerAuthentication shop/ns spec.selector.matchLabels[a b]: "a b" is no key of a label: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') (invalid-selector)`}},
		{"a mode of tomorrow", peers("shop/ns 1 {mtls: {mode: 9}}"), "STRICT ns spec.mtls", []string{
			"error PeerAuthentication shop/ns spec.mtls.mode: 9 is no mode that is known; STRICT is used (invalid-value)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(c.objects)
			wantEqual(t, c.want, port(w.peer("shop", "app=web,v=1"), 80))
			w.wantNoMoreThan(c.found...)
		})
	}
}

// What is said for the root namespace itself is what is said for the mesh.
func TestPeerAuthenticationOfTheRootNamespace(t *testing.T) {
	w := newWorld(t)
	if p := w.peer("istio-system", "app=web"); p != nil {
		t.Errorf("%+v", p)
	}
	w.apply(peers("istio-system/mesh 1 {mtls: {mode: STRICT}}"))
	if p := w.peer("istio-system", "app=web"); p == nil || p.Mode != model.MTLSStrict {
		t.Errorf("%+v", p)
	}
}

// A policy for some workloads reaches only them.
func TestAPeerAuthenticationReachesItsWorkloadsOnly(t *testing.T) {
	w := newWorld(t)
	told := map[workloadKey]int{}
	feed := w.db.NewFeed()
	for _, k := range []workloadKey{{"shop", "app=web"}, {"shop", "app=api"}, {"other", "app=web"}} {
		defer w.lowered.peer.Subscribe(feed, k, func(d derive.Delta[workloadKey, *model.PeerAuthentication]) { told[d.Key]++ })()
	}
	feed.Drain()
	clear(told)
	w.apply(peers("shop/own 1 {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}"))
	feed.Drain()
	wantEqual(t, map[workloadKey]int{{"shop", "app=web"}: 1}, told)
	w.apply(peers("shop/own 1 {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {80: {}}}"))
	feed.Drain()
	wantEqual(t, map[workloadKey]int{{"shop", "app=web"}: 1}, told)
}
