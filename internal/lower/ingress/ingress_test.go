package ingress

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// world is a store with the lowered queries over it.
type world struct {
	t       *testing.T
	s       *store.Store
	src     *store.Source
	tables  *kube.Tables
	lowered *Lowered
	sets    *derive.Query[model.GatewayName, []*model.RouteSet]
	gws     *derive.Query[model.Fleet, []*model.Gateway]
}

func newWorld(t *testing.T, opt Options, objects string) *world {
	s := store.New(nil)
	w := &world{t: t, s: s, src: s.Source("test"), tables: kube.NewTables(s)}
	opt.Domain = "cluster.local"
	w.lowered = Define(s.DB(), Objects{Ingresses: w.tables.Ingresses, Classes: w.tables.IngressClasses}, opt)
	w.sets = derive.Define(s.DB(), "sets", nil, w.lowered.routeSets)
	w.gws = derive.Define(s.DB(), "gateways", nil, func(r *derive.Reader, f model.Fleet) []*model.Gateway { return w.lowered.GatewaysFor(r, f) })
	w.apply(objects)
	return w
}

func (l *Lowered) routeSets(r *derive.Reader, g model.GatewayName) []*model.RouteSet {
	return l.RouteSetsFor(r, g)
}

func (w *world) apply(text string) {
	w.t.Helper()
	for _, doc := range strings.Split(text, "\n---\n") {
		var head metav1.TypeMeta
		w.read(doc, &head)
		w.src.Commit(func(tx *store.Tx) {
			switch head.Kind {
			case "Ingress":
				o := new(networkingv1.Ingress)
				w.read(doc, o)
				if o.Namespace == "" {
					o.Namespace = "shop"
				}
				w.tables.Ingresses.Put(tx, o)
			case "IngressClass":
				o := new(networkingv1.IngressClass)
				w.read(doc, o)
				w.tables.IngressClasses.Put(tx, o)
			}
		})
	}
}

func (w *world) read(doc string, into any) {
	w.t.Helper()
	if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil && !strings.Contains(err.Error(), "unknown field") {
		w.t.Fatal(err)
	}
}

var fleet = model.Fleet{Namespace: "weft-system", Labels: "app=istio-ingressgateway,istio=ingressgateway"}

func (w *world) gateways() (out []string) {
	for _, g := range w.gws.Read(fleet) {
		out = append(out, g.Name.Name.String())
	}
	return out
}

// routes says in short what holds on an Ingress's gateway: "host path => destination".
func (w *world) routes(name string) (out []string) {
	for _, s := range w.sets.Read(model.GatewayName{Kind: Kind, Name: model.ObjectName{Namespace: "shop", Name: name}}) {
		for _, r := range s.HTTP {
			out = append(out, fmt.Sprint(s.Hosts[0], " ", describe(r)))
		}
	}
	return out
}

func describe(r model.Route) string {
	var b strings.Builder
	for _, m := range r.Matches {
		fmt.Fprintf(&b, "%v %s", m.Path.Kind, m.Path.Value)
		if m.Port != 0 {
			fmt.Fprintf(&b, " port %d", m.Port)
		}
		for _, h := range m.Headers {
			fmt.Fprintf(&b, " %s %v %s", h.Name, h.Kind, h.Value)
		}
	}
	if w := r.Rewrite; w != nil {
		fmt.Fprintf(&b, " rewrite%s", strings.Join([]string{"", w.Path, w.Regex, w.Substitution, w.Authority}, " "))
	}
	b.WriteString(" =>")
	if d := r.Redirect; d != nil {
		fmt.Fprintf(&b, " %d %s|%s|%s", d.Status, d.Scheme, d.Authority, d.Path)
	}
	for _, to := range r.To {
		fmt.Fprintf(&b, " %s:%d%s", strings.TrimSuffix(to.Host, ".svc.cluster.local"), to.Port, to.PortName)
		if to.Weight != 0 {
			fmt.Fprintf(&b, " %d", to.Weight)
		}
	}
	return b.String()
}

func (w *world) findings() (out []string) {
	for _, f := range w.s.DB().AllFindings() {
		out = append(out, f.String())
	}
	return out
}

func ingressOf(name, annotations, spec string) string {
	return "kind: Ingress\nmetadata: {name: " + name + ", annotations: {" + annotations + "}}\nspec: " + spec
}

const plain = "{rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}"

func TestClasses(t *testing.T) {
	const ours = "kind: IngressClass\nmetadata: {name: nginx}\nspec: {controller: weftmesh.github.io/ingress}"
	const theirs = "kind: IngressClass\nmetadata: {name: nginx}\nspec: {controller: k8s.io/ingress-nginx}"
	const isDefault = "kind: IngressClass\nmetadata: {name: d, annotations: {ingressclass.kubernetes.io/is-default-class: \"true\"}}\nspec: {controller: weftmesh.github.io/ingress}"
	classed := "{ingressClassName: nginx, " + plain[1:]
	for _, c := range []struct {
		name, ingress string
		classes       string
		opt           Options
		want          bool
	}{
		{"field, ours", ingressOf("i", "", classed), ours, Options{}, true},
		{"field, somebody else's", ingressOf("i", "", classed), theirs, Options{}, false},
		{"field, somebody else's in a folder", ingressOf("i", "", classed), theirs, Options{Folder: true}, false},
		{"field, not declared", ingressOf("i", "", classed), "", Options{}, false},
		{"field, not declared in a folder", ingressOf("i", "", classed), "", Options{Folder: true}, true},
		{"field, not declared in a folder that declares others", ingressOf("i", "", classed), isDefault, Options{Folder: true}, false},
		{"field, a name that is ours", ingressOf("i", "", classed), "", Options{ClassNames: []string{"nginx"}}, true},
		{"annotation, ours", ingressOf("i", "kubernetes.io/ingress.class: nginx", plain), ours, Options{}, true},
		{"annotation, not declared in a folder", ingressOf("i", "kubernetes.io/ingress.class: nginx", plain), "", Options{Folder: true}, true},
		{"the field goes before the annotation", ingressOf("i", "kubernetes.io/ingress.class: other", classed), ours, Options{}, true},
		{"no class, and ours is the default", ingressOf("i", "", plain), isDefault, Options{}, true},
		{"no class, and no default", ingressOf("i", "", plain), ours, Options{}, false},
		{"no class, in a folder", ingressOf("i", "", plain), "", Options{Folder: true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.opt, c.ingress)
			if c.classes != "" {
				w.apply(c.classes)
			}
			if got := len(w.gateways()) == 1; got != c.want {
				t.Errorf("ours: %v", got)
			}
			if got := len(w.routes("i")) > 0; got != c.want {
				t.Errorf("has routes: %v", got)
			}
		})
	}
}

func TestOtherFleetsCarryNoIngress(t *testing.T) {
	w := newWorld(t, Options{Folder: true}, ingressOf("i", "", plain))
	if got := w.gws.Read(model.Fleet{Namespace: "x", Labels: "app=other"}); len(got) != 0 {
		t.Error(got)
	}
}

func TestRoutes(t *testing.T) {
	to := func(name string) string { return "backend: {service: {name: " + name + ", port: {number: 80}}}" }
	rule := func(host, paths string) string { return "{host: '" + host + "', http: {paths: [" + paths + "]}}" }
	n := prefix
	for _, c := range []struct {
		name, annotations, spec string
		want, findings          []string
	}{
		{"path types", "", "{rules: [" + rule("A.example", "{path: /e, pathType: Exact, "+to("a")+"}, {path: /p/, pathType: Prefix, "+to("b")+"}, {path: /i, pathType: ImplementationSpecific, "+to("c")+"}, {"+to("d")+"}") + "]}",
			[]string{"a.example exact /e => a.shop:80", "a.example path prefix /p => b.shop:80", "a.example path prefix /i => c.shop:80", "a.example path prefix / => d.shop:80"}, nil},
		{"default backend", "", "{defaultBackend: {service: {name: rest, port: {name: http}}}, rules: [" + rule("a.example", "{path: /x, pathType: Prefix, "+to("a")+"}") + "]}",
			[]string{"* any  => rest.shop:0http", "a.example path prefix /x => a.shop:80", "a.example any  => rest.shop:0http"}, nil},
		{"what is wrong costs only itself", "", "{rules: [" + rule("a.example", "{path: x, pathType: Prefix, "+to("a")+"}, {path: /r, pathType: Prefix, backend: {resource: {kind: Bucket, name: files}}}, {path: /n, pathType: Prefix, backend: {service: {name: a}}}, {path: /ok, pathType: Prefix, "+to("a")+"}") + ", " + rule("a_b", "{path: /, "+to("a")+"}") + "]}",
			[]string{"a.example path prefix /r =>", "a.example path prefix /n =>", "a.example path prefix /ok => a.shop:80"}, []string{
				`error Ingress shop/i spec.rules: "a_b": `, `error Ingress shop/i spec.rules[0].http.paths[0].path: "x" does not begin`,
				"error Ingress shop/i spec.rules[0].http.paths[1].backend.resource: Bucket files", "error Ingress shop/i spec.rules[0].http.paths[2].backend.service.port: "}},
		{"rewrite", n + "rewrite-target: /", "{rules: [" + rule("a.example", "{path: /x, pathType: Prefix, "+to("a")+"}") + "]}",
			[]string{"a.example path prefix /x rewrite /    => a.shop:80"}, nil},
		{"rewrite with what was captured", n + "rewrite-target: /$2", "{rules: [" + rule("a.example", "{path: /x(/|$)(.*), pathType: ImplementationSpecific, "+to("a")+"}") + "]}",
			[]string{`a.example regex (?i)/x(/|$)(.*).* rewrite  ^(?i)/x(/|$)(.*).*$ /\2  => a.shop:80`}, nil},
		{"invalid pattern", n + "use-regex: 'true'", "{rules: [" + rule("a.example", "{path: '/x(', pathType: ImplementationSpecific, "+to("a")+"}, {path: /y, pathType: Prefix, "+to("a")+"}") + "]}",
			[]string{"a.example regex (?i)/y.* => a.shop:80"}, []string{"error Ingress shop/i spec.rules[0].http.paths[0].path: error parsing regexp"}},
		{"to https where there is a certificate", n + "ssl-redirect: 'true'", "{tls: [{hosts: [a.example], secretName: s}], rules: [" + rule("a.example", "{path: /, pathType: Prefix, "+to("a")+"}") + ", " + rule("b.example", "{path: /, pathType: Prefix, "+to("a")+"}") + "]}",
			[]string{"a.example path prefix / port 80 => 308 https||", "a.example path prefix / => a.shop:80", "b.example path prefix / => a.shop:80"}, nil},
		{"to https in any case", n + "force-ssl-redirect: 'true'", plain, []string{"* path prefix / port 80 => 308 https||", "* path prefix / => a.shop:80"}, nil},
		{"redirects", n + "permanent-redirect: 'https://b.example/new?x'," + n + "permanent-redirect-code: '308'", plain, []string{"* path prefix / => 308 https|b.example|/new?x"}, nil},
		{"temporal redirect", n + "temporal-redirect: 'https://b.example'", plain, []string{"* path prefix / => 302 https|b.example|/"}, nil},
		{"app-root", n + "app-root: /app", plain, []string{"* exact / => 302 ||/app", "* path prefix / => a.shop:80"}, nil},
		{"other host for the backend", n + "upstream-vhost: in.example", plain, []string{"* path prefix / rewrite    in.example => a.shop:80"}, nil},
		{"what has no effect is told", n + "whitelist-source-range: 10.0.0.0/8," + n + "proxy-body-size: 1m," + n + "proxy-buffering: 'on'," + n + "ssl-redirect: perhaps", plain,
			[]string{"* path prefix / => a.shop:80"}, []string{
				"error Ingress shop/i metadata.annotations[nginx.ingress.kubernetes.io/ssl-redirect]: \"perhaps\"", "error Ingress shop/i metadata.annotations[nginx.ingress.kubernetes.io/whitelist-source-range]: is not supported yet",
				"warning Ingress shop/i metadata.annotations[nginx.ingress.kubernetes.io/proxy-body-size]: is not", "info Ingress shop/i metadata.annotations[nginx.ingress.kubernetes.io/proxy-buffering]: is not"}},
		{"gRPC is for the Service to say", n + "backend-protocol: GRPC", plain, []string{"* path prefix / => a.shop:80"}, []string{"error Ingress shop/i metadata.annotations[nginx.ingress.kubernetes.io/backend-protocol]: GRPC"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, Options{Folder: true}, ingressOf("i", c.annotations, c.spec))
			w.gateways()
			if d := cmp.Diff(c.want, w.routes("i")); d != "" {
				t.Error("(-want +got)\n" + d)
			}
			got := w.findings()
			if len(got) != len(c.findings) {
				t.Fatalf("findings %q, want %q", got, c.findings)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], c.findings[i]) {
					t.Errorf("finding %q, want one that begins %q", got[i], c.findings[i])
				}
			}
		})
	}
}

func TestWildcardIsOneLabel(t *testing.T) {
	w := newWorld(t, Options{Folder: true}, ingressOf("i", "", "{rules: [{host: '*.a.example', "+plain[len("{rules: [{"):]))
	sets := w.sets.Read(model.GatewayName{Kind: Kind, Name: model.ObjectName{Namespace: "shop", Name: "i"}})
	if len(sets) != 1 || sets[0].HTTP[0].Matches[0].Authority.Value != `(?i)[^.]+\.a\.example(:\d+)?` {
		t.Errorf("%+v", sets)
	}
}

func TestTLS(t *testing.T) {
	w := newWorld(t, Options{Folder: true}, ingressOf("i", "", "{tls: [{hosts: [a.example, B.example], secretName: s}, {secretName: all}, {hosts: [c.example]}], rules: [{host: a.example, "+plain[len("{rules: [{"):]))
	got := w.gws.Read(fleet)
	if len(got) != 1 {
		t.Fatal(got)
	}
	var said []string
	for _, s := range got[0].Servers {
		line := fmt.Sprint(s.Name, " ", s.Port)
		for _, h := range s.Hosts {
			line += " " + h.Host
		}
		if s.TLS != nil {
			line += fmt.Sprint(" ", s.TLS.Credentials)
		}
		said = append(said, line+" "+s.Origin.Field)
	}
	want := []string{"http 80 a.example spec.rules", "https-0 443 a.example b.example [shop/s] spec.tls[0]", "https-1 443 a.example [shop/all] spec.tls[1]"}
	if d := cmp.Diff(want, said); d != "" {
		t.Error(d)
	}
	if f := w.findings(); len(f) != 1 || !strings.HasPrefix(f[0], "error Ingress shop/i spec.tls[2].secretName: ") {
		t.Error(f)
	}
}

// The paths of a host may be spread over Ingresses of which one has the certificate.
func TestIngressesShareTheirHosts(t *testing.T) {
	rule := func(path, to string) string {
		return "rules: [{host: a.example, http: {paths: [{path: " + path + ", pathType: Prefix, backend: {service: {name: " + to + ", port: {number: 80}}}}]}}]}"
	}
	w := newWorld(t, Options{Folder: true}, ingressOf("one", "", "{tls: [{hosts: [a.example], secretName: s}], "+rule("/", "a"))+"\n---\n"+ingressOf("two", "", "{"+rule("/two", "b")))
	if d := cmp.Diff([]string{"a.example path prefix / => a.shop:80", "a.example path prefix /two => b.shop:80"}, w.routes("one")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"a.example path prefix /two => b.shop:80"}, w.routes("two")); d != "" {
		t.Error(d)
	}
}

func TestCanary(t *testing.T) {
	canary := func(a string) string {
		return "\n---\n" + ingressOf("c", prefix+"canary: 'true',"+a, strings.ReplaceAll(plain, "name: a", "name: b"))
	}
	const main = "* path prefix / => a.shop:80"
	for _, c := range []struct {
		name, annotations string
		main, canary      []string
	}{
		{"weight", prefix + "canary-weight: '20'", []string{"* path prefix / => a.shop:80 80 b.shop:80 20"}, nil},
		{"header", prefix + "canary-by-header: X-New", []string{main}, []string{"* path prefix / x-new exact always => b.shop:80"}},
		{"value of a header", prefix + "canary-by-header: X-New," + prefix + "canary-by-header-value: me", []string{main}, []string{"* path prefix / x-new exact me => b.shop:80"}},
		{"cookie", prefix + "canary-by-cookie: new", []string{main}, []string{"* path prefix / cookie regex (.*;\\s*)?new=always(;.*)? => b.shop:80"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, Options{Folder: true}, ingressOf("m", "", plain)+canary(c.annotations))
			if d := cmp.Diff(c.main, w.routes("m")); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(c.canary, w.routes("c")); d != "" {
				t.Error(d)
			}
		})
	}
}
