package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/weftmesh/weft/internal/store"
)

// watcher keeps one kind alike. The protocol (lists that are watches, bookmarks, what to do when history is gone) is client-go's
// Reflector; when to try again, and what a missing kind means, is decided here.
type watcher struct {
	kind    *Kind
	log     *slog.Logger
	src     *store.Source
	commits *committer
	pace    *pace
	clients []rest.Interface // one for each of kind.versions
	state   state
	held    map[store.Key]struct{} // what the table has from us; only the goroutine of run touches it
}

func newWatcher(a *APIServer, cfg *rest.Config, client *http.Client, k *Kind) (*watcher, error) {
	w := &watcher{
		kind: k, log: a.log.With("kind", k.name), src: a.src, commits: &a.commits, pace: &a.pace,
		state: state{s: KindStatus{Kind: k.name, Source: a.src.Name()}},
		held:  map[store.Key]struct{}{},
	}
	for _, gv := range k.versions {
		c := rest.CopyConfig(cfg)
		c.GroupVersion = &gv
		c.APIPath = "/apis"
		if gv.Group == "" {
			c.APIPath = "/api"
		}
		c.NegotiatedSerializer = serializer.NewCodecFactory(k.scheme).WithoutConversion()
		rc, err := rest.RESTClientForConfigAndClient(c, client)
		if err != nil {
			return nil, fmt.Errorf("client of the API server for %s in %s: %w", k.name, gv, err)
		}
		w.clients = append(w.clients, rc)
	}
	return w, nil
}

func (w *watcher) run(ctx context.Context) {
	retry := w.pace.retry
	for ctx.Err() == nil {
		began := time.Now()
		err := w.anyVersion(ctx)
		switch {
		case ctx.Err() != nil:
		case w.kind.optional && apierrors.IsNotFound(err):
			w.absent()
			retry.reset()
			sleep(ctx, w.pace.probe)
		default:
			if err != nil {
				w.failed(err)
			}
			if time.Since(began) > retry.max { // it worked for a while
				retry.reset()
			}
			retry.wait(ctx)
		}
	}
}

// anyVersion lists and watches the first version that is served. The error is that of the last version tried.
func (w *watcher) anyVersion(ctx context.Context) (err error) {
	for i, gv := range w.kind.versions {
		var r *cache.Reflector
		if r, err = w.reflector(w.clients[i], gv); err != nil {
			return err
		}
		if err = r.ListAndWatchWithContext(ctx); !apierrors.IsNotFound(err) {
			return err
		}
	}
	return err
}

func (w *watcher) reflector(client rest.Interface, gv schema.GroupVersion) (*cache.Reflector, error) {
	example, err := w.kind.newObject(gv)
	if err != nil {
		return nil, err
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := w.kind.newList(gv)
			if err != nil {
				return nil, err
			}
			w.kind.limit(&o)
			err = w.request(client, o).Do(ctx).Into(list)
			if err == nil {
				w.works()
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w.kind.limit(&o)
			o.Watch = true
			return w.watch(ctx, client, o)
		},
	}
	return cache.NewReflectorWithOptions(lw, example, &rows{w: w}, cache.ReflectorOptions{Name: w.kind.name, TypeDescription: w.kind.name}), nil
}

func (w *watcher) request(client rest.Interface, o metav1.ListOptions) *rest.Request {
	r := client.Get().Resource(w.kind.resource).SpecificallyVersionedParams(&o, metav1.ParameterCodec, metav1.Unversioned)
	if w.kind.namespaced && w.kind.selection.Namespace != "" {
		r = r.Namespace(w.kind.selection.Namespace)
	}
	if o.TimeoutSeconds != nil {
		r = r.Timeout(time.Duration(*o.TimeoutSeconds) * time.Second)
	}
	return r
}

// watch opens a watch. While there is no API server to answer, it tries again from the same resourceVersion: what history the server still
// has when it is back need not be listed.
func (w *watcher) watch(ctx context.Context, client rest.Interface, o metav1.ListOptions) (watch.Interface, error) {
	retry := w.pace.retry
	for {
		stream, err := w.request(client, o).Watch(ctx)
		if err == nil {
			w.works()
			return stream, nil
		}
		if answered(err) || ctx.Err() != nil {
			return nil, err
		}
		w.failed(err)
		if !retry.wait(ctx) {
			return nil, err
		}
	}
}

// answered tells whether an error is the server's verdict on the request, so that the same request would get it again.
func answered(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && !apierrors.IsTooManyRequests(err) && !apierrors.IsServiceUnavailable(err)
}

func (w *watcher) works() {
	if w.state.connected(true, nil) {
		w.log.Info("watching")
	}
	w.state.change(func(s *KindStatus) { s.Absent = false })
}

func (w *watcher) failed(err error) {
	if w.state.connected(false, err) {
		w.log.Warn("not watching, objects stay as they are", "err", err)
	} else {
		w.log.Debug("still not watching", "err", err)
	}
}

// absent notes that the kind is not installed: there are no objects, and that is all there is to know.
func (w *watcher) absent() {
	news := false
	w.state.change(func(s *KindStatus) {
		if news = !s.Absent; news {
			s.Absent, s.Connected, s.Since = true, false, time.Now()
		}
	})
	if news {
		w.log.Info("kind is not installed, asking again until it is", "every", w.pace.probe)
		w.replace(nil, "")
	}
}

// replace commits objects as all there are of the kind.
func (w *watcher) replace(objects []Object, version string) {
	clear(w.held)
	for _, o := range objects {
		w.held[keyOf(o)] = struct{}{}
	}
	w.arrived(0)
	w.commits.send(change{
		apply:    func(tx *store.Tx) { w.kind.replace(tx, slices.Values(objects)) },
		position: w.position(version),
		after: func() {
			w.src.MarkSynced(w.kind.name)
			w.state.change(func(s *KindStatus) { s.Synced = true })
		},
	})
}

func (w *watcher) position(version string) string {
	if version == "" {
		return ""
	}
	return w.kind.name + " resourceVersion " + version
}

// arrived notes that the server told us something.
func (w *watcher) arrived(events int) {
	n := len(w.held)
	w.state.change(func(s *KindStatus) {
		s.Objects, s.LastEvent = n, time.Now()
		s.Events += uint64(events)
	})
}

// rows is the store that the Reflector fills. It is called by the goroutine of watcher.run only.
type rows struct{ w *watcher }

var (
	_ cache.ReflectorStore         = (*rows)(nil)
	_ cache.ResourceVersionUpdater = (*rows)(nil)
)

func (r *rows) Add(obj any) error { return r.put(obj) }

func (r *rows) Update(obj any) error { return r.put(obj) }

// put takes an object that came or changed. One that cannot be used any more is not kept as it was: what it was is not what is declared.
func (r *rows) put(obj any) error {
	o, err := r.w.adopt(obj)
	if err != nil {
		if m, ok := obj.(metav1.Object); ok {
			r.drop(keyOf(m), m.GetResourceVersion())
		}
		return err
	}
	r.w.held[keyOf(o)] = struct{}{}
	r.w.arrived(1)
	r.w.commits.send(change{
		apply:    func(tx *store.Tx) { r.w.kind.put(tx, o) },
		position: r.w.position(o.GetResourceVersion()),
	})
	return nil
}

func (r *rows) Delete(obj any) error {
	o, err := r.w.adopt(obj)
	if err != nil {
		return err
	}
	r.drop(keyOf(o), o.GetResourceVersion())
	return nil
}

func (r *rows) drop(k store.Key, version string) {
	delete(r.w.held, k)
	r.w.arrived(1)
	r.w.commits.send(change{
		apply:    func(tx *store.Tx) { r.w.kind.remove(tx, k) },
		position: r.w.position(version),
	})
}

// Replace takes a whole list. An object that cannot be used costs only itself.
func (r *rows) Replace(list []any, version string) error {
	objects := make([]Object, 0, len(list))
	for _, obj := range list {
		if o, err := r.w.adopt(obj); err == nil {
			objects = append(objects, o)
		}
	}
	r.w.replace(objects, version)
	return nil
}

// Resync does nothing: nobody reads a table twice for want of news.
func (r *rows) Resync() error { return nil }

// UpdateResourceVersion is called for bookmarks too.
func (r *rows) UpdateResourceVersion(string) { r.w.arrived(0) }

func (w *watcher) adopt(obj any) (Object, error) {
	ro, ok := obj.(runtime.Object)
	if !ok {
		return nil, fmt.Errorf("%s: got a %T, which is no object", w.kind.name, obj)
	}
	o, err := w.kind.adopt(ro)
	if err == nil && o.GetName() == "" {
		err = fmt.Errorf("%s: an object without a name", w.kind.name)
	}
	if err != nil {
		w.log.Warn("object cannot be used", "err", err)
		w.state.change(func(s *KindStatus) { s.LastError = err.Error() })
	}
	return o, err
}
