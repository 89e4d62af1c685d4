package ingress

import (
	"regexp"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// Whatever an Ingress says, it is lowered, and what becomes a pattern is one.
func FuzzIngress(f *testing.F) {
	f.Add("a.example", "/x(/|$)(.*)", "rewrite-target", "/$2")
	f.Add("*.a.example", "/", "use-regex", "true")
	f.Add("", "(", "use-regex", "true")
	f.Add("a", "/", "temporal-redirect", "https://[::1")
	f.Add("a", "/", "proxy-read-timeout", "999999999999999999999")
	f.Add("a", "/", "cors-allow-origin", "https://*.a.example, *")
	f.Add("a", "/", "canary-by-header-pattern", "(")
	f.Add("a", `/\Q`, "rewrite-target", `\$1`)
	f.Fuzz(func(t *testing.T, host, path, annotation, value string) {
		s := store.New(nil)
		tables := kube.NewTables(s)
		l := Define(s.DB(), Objects{Ingresses: tables.Ingresses, Classes: tables.IngressClasses}, Options{Domain: "cluster.local", Folder: true})
		in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "i", Annotations: map[string]string{
			prefix + "enable-cors": "true", prefix + "canary-by-header": "x", prefix + annotation: value,
		}}}
		in.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: "s"}}
		in.Spec.Rules = []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{
			{Path: path, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}}},
		}}}}}
		s.Source("test").Commit(func(tx *store.Tx) { tables.Ingresses.Put(tx, in) })
		l.gateway.Read(store.Key{Namespace: "shop", Name: "i"})
		for _, set := range l.sets.Read(store.Key{Namespace: "shop", Name: "i"}) {
			for _, route := range set.HTTP {
				check(t, route)
			}
		}
		for _, q := range s.DB().Stats().Queries {
			if q.Panics > 0 {
				t.Errorf("%s has panicked", q.Name)
			}
		}
	})
}

func check(t *testing.T, route model.Route) {
	patterns := []string{}
	if route.Rewrite != nil {
		patterns = append(patterns, route.Rewrite.Regex)
	}
	for _, m := range route.Matches {
		for _, s := range append([]model.StringMatch{m.Path, m.Authority}, headerMatches(m)...) {
			if s.Kind == model.MatchRegex {
				patterns = append(patterns, s.Value)
			}
		}
	}
	if route.CORS != nil {
		for _, o := range route.CORS.Origins {
			if o.Kind == model.MatchRegex {
				patterns = append(patterns, o.Value)
			}
		}
	}
	for _, p := range patterns {
		if _, err := regexp.Compile(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func headerMatches(m model.Match) (out []model.StringMatch) {
	for _, h := range m.Headers {
		out = append(out, h.StringMatch)
	}
	return out
}
