package admission

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/weftmesh/weft/internal/inject"
)

var control = Service{Namespace: "weft-system", Name: "weft-control"}

// Who is asked about is who is injected: the API server by the selectors and package inject by its own reading come to the same.
func TestSelectorsAreInjectsOwn(t *testing.T) {
	c := testConfig()
	values := map[string][]string{
		inject.NamespaceLabel: {"", "enabled", "disabled"}, inject.RevisionLabel: {"", "weft", "default", "canary"}, inject.InjectLabel: {"", "true", "false"},
	}
	set := func(kv ...string) labels.Set {
		s := labels.Set{}
		for i := 0; i < len(kv); i += 2 {
			if kv[i+1] != "" {
				s[kv[i]] = kv[i+1]
			}
		}
		return s
	}
	matches := func(s *metav1.LabelSelector, l labels.Set) bool {
		sel, err := metav1.LabelSelectorAsSelector(s)
		if err != nil {
			t.Fatal(err)
		}
		return sel.Matches(l)
	}
	for _, byDefault := range []bool{true, false} {
		c.AnswersDefault = byDefault
		hooks := Webhooks(control, c.Excluded(), byDefault, nil)
		for _, name := range []string{"shop", "kube-system", "weft-system"} {
			for _, injection := range values[inject.NamespaceLabel] {
				for _, nsRevision := range values[inject.RevisionLabel] {
					for _, revision := range values[inject.RevisionLabel] {
						for _, own := range values[inject.InjectLabel] {
							ns := set("kubernetes.io/metadata.name", name, inject.NamespaceLabel, injection, inject.RevisionLabel, nsRevision)
							pod := set(inject.RevisionLabel, revision, inject.InjectLabel, own)
							asked := 0
							for _, h := range hooks {
								if matches(h.NamespaceSelector, ns) && matches(h.ObjectSelector, pod) {
									asked++
								}
							}
							p := testPod(pod)
							r, err := inject.Pod(p, inject.Namespace{Name: name, Labels: ns}, nil, c)
							if err != nil {
								t.Fatal(err)
							}
							if asked > 1 || (asked == 1) != (r.Reason == "") {
								t.Errorf("default %t, namespace %v, Pod %v: asked %d times, inject says %q", byDefault, ns, pod, asked, r.Reason)
							}
						}
					}
				}
			}
		}
	}
}

func TestConfigurationIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Configuration(control, testConfig().Excluded()))
		w.run()
		w.settle()
		if got := w.hooks(); len(got) != 6 || string(got[0].ClientConfig.CABundle) != "root 1" {
			t.Fatalf("at first: %d of %q", len(got), got[0].ClientConfig.CABundle)
		}
		if !w.keeper.Status().Kept || len(w.keeper.Findings()) > 0 {
			t.Errorf("%+v %v", w.keeper.Status(), w.keeper.Findings())
		}

		// Somebody edits it.
		edited := w.get()
		ignore := admissionv1.Ignore
		edited.Webhooks[0].FailurePolicy, edited.Webhooks[0].ClientConfig.CABundle = &ignore, []byte("other")
		edited.Webhooks = edited.Webhooks[:3]
		w.update(edited)
		w.settle()
		if d := cmp.Diff(Webhooks(control, testConfig().Excluded(), true, []byte("root 1")), w.hooks()); d != "" {
			t.Errorf("after an edit: %s", d)
		}

		// The authority gets a new certificate.
		root := []byte("root 1 root 2")
		w.roots.Store(&root)
		w.settle()
		if got := w.hooks()[5].ClientConfig.CABundle; string(got) != string(root) {
			t.Errorf("after a rotation: %q", got)
		}
	})
}

func TestOnlyOneReplicaWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Configuration(control, testConfig().Excluded()))
		w.writes.Store(false)
		w.run()
		w.settle()
		if got := w.hooks(); len(got[0].ClientConfig.CABundle) > 0 || w.keeper.Status().Kept {
			t.Errorf("written: %q", got[0].ClientConfig.CABundle)
		}
		w.writes.Store(true)
		w.settle()
		if got := w.hooks(); len(got[0].ClientConfig.CABundle) == 0 || !w.keeper.Status().Kept {
			t.Error("not written")
		}
	})
}

func TestAnotherInjector(t *testing.T) {
	istio := func(s *metav1.LabelSelector) *admissionv1.MutatingWebhookConfiguration {
		return &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "istio-sidecar-injector"}, Webhooks: []admissionv1.MutatingWebhook{{
			Name: "namespace.sidecar-injector.istio.io", NamespaceSelector: s,
			Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create}, Rule: admissionv1.Rule{Resources: []string{"pods"}}}},
		}}}
	}
	enabled := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: inject.NamespaceLabel, Operator: metav1.LabelSelectorOpIn, Values: []string{"enabled"}}}}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Configuration(control, testConfig().Excluded()))
		w.run()
		w.settle()
		if !w.keeper.AnswersDefault() {
			t.Error("weft does not inject by default")
		}
		w.create(istio(enabled))
		w.settle()
		if w.keeper.AnswersDefault() || len(w.hooks()) != 2 {
			t.Errorf("beside another: %d", len(w.hooks()))
		}
		if f := w.keeper.Findings(); len(f) != 1 || f[0].Code != "another-injector" || f[0].Object.Name != "istio-sidecar-injector" {
			t.Errorf("%v", f)
		}
		w.update(istio(&metav1.LabelSelector{MatchLabels: map[string]string{"istio.io/deactivated": "never-match"}}))
		w.settle()
		if !w.keeper.AnswersDefault() || len(w.hooks()) != 6 || len(w.keeper.Findings()) > 0 {
			t.Errorf("when the other is taken out of service: %d", len(w.hooks()))
		}
	})
}

func TestNoConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		w.settle()
		if f := w.keeper.Findings(); len(f) != 1 || f[0].Code != "no-webhook" {
			t.Errorf("%v", f)
		}
		w.create(Configuration(control, testConfig().Excluded()))
		w.run()
		w.settle()
		if f := w.keeper.Findings(); len(f) != 0 || !w.keeper.Status().Kept {
			t.Errorf("%v", f)
		}
	})
}

// world is an API server, as far as a keeper sees one, and a keeper.
type world struct {
	t      *testing.T
	client kubernetes.Interface
	keeper *Keeper
	roots  atomic.Pointer[[]byte]
	writes atomic.Bool
}

func newWorld(t *testing.T, objects ...*admissionv1.MutatingWebhookConfiguration) *world {
	w := &world{t: t, client: fake.NewClientset()}
	root := []byte("root 1")
	w.roots.Store(&root)
	w.writes.Store(true)
	for _, o := range objects {
		w.create(o)
	}
	w.keeper = NewKeeper(KeeperOptions{
		Client: w.client, Service: control, Excluded: testConfig().Excluded(), Log: slog.New(slog.DiscardHandler),
		Roots: func() []byte { return *w.roots.Load() }, Writes: w.writes.Load,
	})
	return w
}

// run starts the keeper, and stops it when the test ends.
func (w *world) run() {
	ctx, stop := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.keeper.Run(ctx) }()
	w.t.Cleanup(func() { stop(); <-done })
}

// settle lets the keeper see what there is.
func (w *world) settle() {
	time.Sleep(2 * lookAgain)
	synctest.Wait()
}

func (w *world) get() *admissionv1.MutatingWebhookConfiguration {
	w.t.Helper()
	c, err := w.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(w.t.Context(), Name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) hooks() []admissionv1.MutatingWebhook { return w.get().Webhooks }

func (w *world) create(c *admissionv1.MutatingWebhookConfiguration) {
	w.t.Helper()
	if _, err := w.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(w.t.Context(), c, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) update(c *admissionv1.MutatingWebhookConfiguration) {
	w.t.Helper()
	if _, err := w.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(w.t.Context(), c, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}
