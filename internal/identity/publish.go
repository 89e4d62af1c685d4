package identity

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// Where Pods find the roots, named as Istio's.
const (
	RootConfigMap = "istio-ca-root-cert"
	RootKey       = "root-cert.pem"

	istioLabel     = "istio.io/config" // on what Istio's own control plane publishes
	managedByLabel = "app.kubernetes.io/managed-by"
)

// Publish puts the roots where the Pods of a namespace find them.
func (ca *CA) Publish(ctx context.Context, client kubernetes.Interface, namespace string) error {
	maps := client.CoreV1().ConfigMaps(namespace)
	want := map[string]string{RootKey: string(ca.roots)}
	m, err := maps.Get(ctx, RootConfigMap, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = maps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: RootConfigMap, Labels: map[string]string{managedByLabel: "weft"}}, Data: want,
		}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			err = nil // another replica has the same to say
		}
	case err == nil && m.Data[RootKey] != want[RootKey]:
		if m.Labels[istioLabel] != "" {
			return fmt.Errorf("ConfigMap %s/%s: %w", namespace, RootConfigMap, errIstios)
		}
		m = m.DeepCopy()
		m.Data = want
		_, err = maps.Update(ctx, m, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("ConfigMap %s/%s: %w", namespace, RootConfigMap, err)
	}
	return nil
}

var errIstios = fmt.Errorf("it is that of Istio's control plane (label %s), with other roots; share one authority by a Secret %s, or delete it when Istio is gone", istioLabel, OperatorSecretName)

// unpublished are namespaces whose Pods are never in a mesh: those of Kubernetes itself.
func unpublished(namespace string) bool {
	return slices.Contains([]string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}, namespace)
}

// Publisher keeps the roots of an authority in every namespace, and puts right what somebody edits or deletes. One replica at a time runs it.
type Publisher struct {
	client    kubernetes.Interface
	authority *Authority
	log       *slog.Logger
}

// NewPublisher makes one.
func NewPublisher(client kubernetes.Interface, authority *Authority, log *slog.Logger) *Publisher {
	return &Publisher{client, authority, log}
}

// Run publishes until ctx ends.
func (p *Publisher) Run(ctx context.Context) {
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, time.Minute))
	namespaces, watchNamespaces := p.namespaces(queue)
	watchMaps := p.maps(queue)
	var running sync.WaitGroup
	running.Go(func() { watchNamespaces(ctx) })
	running.Go(func() { watchMaps(ctx) })
	running.Go(func() { p.followAuthority(ctx, queue, namespaces) })
	running.Go(func() { p.work(ctx, queue, namespaces) })
	<-ctx.Done()
	queue.ShutDown()
	running.Wait()
}

// followAuthority has all namespaces looked at when the roots change.
func (p *Publisher) followAuthority(ctx context.Context, queue workqueue.TypedRateLimitingInterface[string], namespaces cache.Store) {
	for {
		changed := p.authority.Changed()
		for _, name := range namespaces.ListKeys() {
			queue.Add(name)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func (p *Publisher) work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[string], namespaces cache.Store) {
	for {
		name, ended := queue.Get()
		if ended {
			return
		}
		err := p.publish(ctx, name, namespaces)
		if err == nil || ctx.Err() != nil {
			queue.Forget(name)
		} else {
			if queue.NumRequeues(name) == 0 {
				p.log.Warn("the roots of the mesh are not published", "namespace", name, "error", err)
			}
			queue.AddRateLimited(name)
		}
		queue.Done(name)
	}
}

func (p *Publisher) publish(ctx context.Context, name string, namespaces cache.Store) error {
	o, _, err := namespaces.GetByKey(name)
	ns, known := o.(*corev1.Namespace)
	ca := p.authority.CA()
	if err != nil || !known || unpublished(name) || ns.DeletionTimestamp != nil || ca == nil {
		return err // its being known, or the authority's, has it looked at again
	}
	try, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return ca.Publish(try, p.client, name)
}

// namespaces watches all namespaces: each that is new or about to go is looked at.
func (p *Publisher) namespaces(queue workqueue.TypedRateLimitingInterface[string]) (cache.Store, func(context.Context)) {
	all := p.client.CoreV1().Namespaces()
	return p.watched(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return all.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return all.Watch(ctx, o)
		},
	}, &corev1.Namespace{}, func(o metav1.Object) {
		queue.Add(o.GetName())
	})
}

// maps watches what is published: each that changes is looked at.
func (p *Publisher) maps(queue workqueue.TypedRateLimitingInterface[string]) func(context.Context) {
	named := func(o metav1.ListOptions) metav1.ListOptions {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, RootConfigMap).String()
		return o
	}
	all := p.client.CoreV1().ConfigMaps(metav1.NamespaceAll)
	_, run := p.watched(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return all.List(ctx, named(o))
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return all.Watch(ctx, named(o))
		},
	}, &corev1.ConfigMap{}, func(o metav1.Object) {
		if o.GetName() == RootConfigMap {
			queue.Add(o.GetNamespace())
		}
	})
	return run
}

// watched follows objects of a kind and tells of each that came, changed or went. Only metadata is kept of it.
func (p *Publisher) watched(lw *cache.ListWatch, kind runtime.Object, tell func(metav1.Object)) (cache.Store, func(context.Context)) {
	told := func(o any) {
		if gone, is := o.(cache.DeletedFinalStateUnknown); is {
			o = gone.Obj
		}
		if m, is := o.(metav1.Object); is {
			tell(m)
		}
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(lw, p.client), ObjectType: kind, Handler: cache.ResourceEventHandlerFuncs{AddFunc: told, UpdateFunc: func(_, o any) { told(o) }, DeleteFunc: told},
		Transform: func(o any) (any, error) {
			switch o := o.(type) {
			case *corev1.Namespace:
				return &corev1.Namespace{ObjectMeta: slim(o.ObjectMeta)}, nil
			case *corev1.ConfigMap:
				return &corev1.ConfigMap{ObjectMeta: slim(o.ObjectMeta)}, nil
			}
			return o, nil
		},
	})
	return store, func(ctx context.Context) { informer.RunWithContext(ctx) }
}

func slim(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, DeletionTimestamp: m.DeletionTimestamp}
}
