package admission

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/finding"
)

const (
	// lookAgain is how often the configurations are read though nobody said that they changed; soon is the same when something is to be done.
	lookAgain = 10 * time.Minute
	soon      = 5 * time.Second
	// pause is the least time between two looks, however often somebody changes something.
	pause = time.Second
)

// KeeperOptions are what a [Keeper] is made of. All must be given.
type KeeperOptions struct {
	Client   kubernetes.Interface
	Service  Service
	Excluded []string      // namespaces that are never asked about
	Roots    func() []byte // the certificates that the endpoint is known by, in PEM; nil: not known yet
	Writes   func() bool   // whether this replica is the one that writes
	Log      *slog.Logger
}

// Keeper keeps the MutatingWebhookConfiguration as it has to be, whatever somebody made of it: with the certificates of the day, and with the label
// istio-injection only as long as nobody else answers it. Its methods are safe for concurrent use.
type Keeper struct {
	o KeeperOptions

	mu      sync.Mutex
	others  []string // configurations that answer istio-injection
	missing bool     // ours is not there
	err     error    // of the last look
	kept    bool     // ours is as it has to be
	looked  time.Time
	bundle  []byte // the certificates that ours names
}

// NewKeeper makes a keeper that waits to be run.
func NewKeeper(o KeeperOptions) *Keeper { return &Keeper{o: o} }

// AnswersDefault tells whether nobody else injects by default. Before the first look it is true.
func (k *Keeper) AnswersDefault() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.others) == 0
}

// Published gives the certificates that the configuration names, as last seen.
func (k *Keeper) Published() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.bundle
}

// Run looks after the configuration until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		version, settled := k.look(ctx)
		k.await(ctx, version, settled)
	}
}

// await returns when something may have changed.
func (k *Keeper) await(ctx context.Context, version string, settled bool) {
	least := time.NewTimer(pause)
	defer least.Stop()
	limit := soon
	if settled {
		limit = lookAgain
	}
	again, stop := context.WithTimeout(ctx, limit)
	defer stop()
	if version != "" {
		k.watch(again, version)
	} else {
		<-again.Done()
	}
	select {
	case <-least.C:
	case <-ctx.Done():
	}
}

// watch returns when a configuration is not any more what it was at a version, or when nobody can say.
func (k *Keeper) watch(ctx context.Context, version string) {
	seconds := int64(lookAgain / time.Second)
	w, err := k.o.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Watch(ctx, metav1.ListOptions{ResourceVersion: version, TimeoutSeconds: &seconds})
	if err != nil {
		select { // not to be tried at once: the API server is away, say
		case <-time.After(soon):
		case <-ctx.Done():
		}
		return
	}
	defer w.Stop()
	certificates := time.NewTicker(soon)
	defer certificates.Stop()
	before := k.o.Roots()
	for {
		select {
		case <-w.ResultChan():
			return
		case <-certificates.C:
			if !bytes.Equal(before, k.o.Roots()) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// look reads all configurations, and puts ours right if it is for this replica to do. It gives the version that was read, "" for none, and whether
// nothing is left to be done.
func (k *Keeper) look(ctx context.Context) (version string, settled bool) {
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	list, err := k.o.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		k.mu.Lock()
		k.err, k.kept = fmt.Errorf("list MutatingWebhookConfigurations: %w", err), false
		k.mu.Unlock()
		return "", false
	}
	var ours *admissionv1.MutatingWebhookConfiguration
	var others []string
	for i := range list.Items {
		switch c := &list.Items[i]; {
		case c.Name == Name:
			ours = c
		case answersDefault(c):
			others = append(others, c.Name)
		}
	}
	slices.Sort(others)
	k.mu.Lock()
	if !slices.Equal(others, k.others) {
		k.o.Log.Info("who else injects sidecars by default", "configurations", others)
	}
	k.others, k.missing, k.looked = others, ours == nil, time.Now()
	k.mu.Unlock()
	kept, bundle, err := k.keep(ctx, ours, len(others) == 0)
	k.mu.Lock()
	k.kept, k.bundle, k.err = kept, bundle, err
	k.mu.Unlock()
	return list.ResourceVersion, err == nil && (kept || ours == nil)
}

// keep puts our configuration right, and tells whether it is, and which certificates it names.
func (k *Keeper) keep(ctx context.Context, ours *admissionv1.MutatingWebhookConfiguration, byDefault bool) (kept bool, bundle []byte, err error) {
	if ours == nil {
		return false, nil, nil
	}
	if len(ours.Webhooks) > 0 {
		bundle = ours.Webhooks[0].ClientConfig.CABundle
	}
	roots := k.o.Roots()
	if len(roots) == 0 {
		return false, bundle, nil
	}
	want := Webhooks(k.o.Service, k.o.Excluded, byDefault, roots)
	if equality.Semantic.DeepEqual(ours.Webhooks, want) {
		return true, bundle, nil
	}
	if !k.o.Writes() {
		return false, bundle, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": ours.ResourceVersion}, "webhooks": want})
	if err != nil {
		return false, bundle, err
	}
	_, err = k.o.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(ctx, Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "weft-control"})
	switch {
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err): // the next look says what is there
		return false, bundle, nil
	case err != nil:
		return false, bundle, fmt.Errorf("MutatingWebhookConfiguration %s: %w", Name, err)
	}
	k.o.Log.Info("the webhook's configuration is put right", "name", Name, "byDefault", byDefault)
	return true, roots, nil
}

// Status is how the configuration is, for a status page.
type Status struct {
	Kept   bool // it is as it has to be
	Others []string
	Looked time.Time
	Error  error
}

// Status tells how the configuration is.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return Status{Kept: k.kept, Others: slices.Clone(k.others), Looked: k.looked, Error: k.err}
}

// Findings says what keeps sidecars from Pods that want them.
func (k *Keeper) Findings() (out []finding.Finding) {
	k.mu.Lock()
	defer k.mu.Unlock()
	object := func(name string) finding.Object {
		return finding.Object{Kind: "MutatingWebhookConfiguration", Name: name}
	}
	for _, name := range k.others {
		out = append(out, finding.Finding{
			Object: object(name), Severity: finding.Warning, Code: "another-injector",
			Message: "it injects where a namespace is labelled istio-injection: enabled, so weft injects only what is labelled istio.io/rev: weft",
		})
	}
	if k.missing && !k.looked.IsZero() {
		out = append(out, finding.Finding{
			Object: object(Name), Severity: finding.Warning, Code: "no-webhook", Message: "it is not there, so no Pod gets a sidecar; weft install makes it",
		})
	}
	if k.err != nil {
		out = append(out, finding.Finding{Object: object(Name), Severity: finding.Error, Code: "webhook-not-kept", Message: cmp.Or(errors.Unwrap(k.err), k.err).Error()})
	}
	return out
}
