package status

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	networkingclient "k8s.io/client-go/kubernetes/typed/networking/v1"
	"k8s.io/client-go/util/workqueue"

	"github.com/weftmesh/weft/internal/model"
)

// FieldManager is the name under which weft control writes; it shows in managedFields.
const FieldManager = "weft-control"

const (
	workers        = 4
	requestTimeout = 10 * time.Second
)

// WriterOptions are what a [Writer] is made of. Client or Ingresses, and Ours, must be given; the other zero values have the defaults that are named.
type WriterOptions struct {
	Client corev1client.ServicesGetter

	// Ingresses makes a Writer of the addresses of Ingresses instead of those of Services.
	Ingresses networkingclient.IngressesGetter

	// Ours tells whether an address in a status is weft's own, whoever wrote it.
	Ours func(netip.Addr) bool

	PerSecond float64 // writes of all Services together; 0 is 50
	Burst     int     // how many at once before that; 0 is 100

	// MinInterval is the least time between two writes of one Service, so that somebody who always writes something else there is not
	// answered as fast as it can; 0 is one second.
	MinInterval time.Duration

	// RetryMin and RetryMax bound the time to the next try after a failure, which doubles each time; 0 is 200 ms and 30 s.
	RetryMin, RetryMax time.Duration

	Log        *slog.Logger          // nil: slog.Default
	Registerer prometheus.Registerer // nil: no metrics
}

// Writer writes load-balancer addresses into the status of Services, or of Ingresses. Its methods are safe for concurrent use.
type Writer struct {
	o       WriterOptions
	limiter *rate.Limiter
	results *prometheus.CounterVec

	mu     sync.Mutex
	wanted map[model.ServiceName]Addresses // what differs from the objects, as far as is known
	recent map[model.ServiceName]time.Time // of the last write
	queue  workqueue.TypedRateLimitingInterface[model.ServiceName]
	status WriterStatus
}

// WriterStatus is how a Writer is doing.
type WriterStatus struct {
	Waiting     int       `json:"waiting"`               // Services that are to be written
	Written     uint64    `json:"written"`               // writes that changed something
	LastWrite   time.Time `json:"lastWrite,omitzero"`    // of those
	LastError   string    `json:"lastError,omitempty"`   // the last that went wrong; empty when a later write succeeded
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`  // when that was
	LastService string    `json:"lastService,omitempty"` // that was written last
}

// NewWriter makes a Writer that waits to be run. The error is about metrics that cannot be registered.
func NewWriter(o WriterOptions) (*Writer, error) {
	o.PerSecond = cmp.Or(o.PerSecond, 50)
	o.Burst = cmp.Or(o.Burst, 100)
	o.MinInterval = cmp.Or(o.MinInterval, time.Second)
	o.RetryMin = cmp.Or(o.RetryMin, 200*time.Millisecond)
	o.RetryMax = cmp.Or(o.RetryMax, 30*time.Second)
	o.Log = cmp.Or(o.Log, slog.Default())
	kind, name := "Services", "weft_status_writes_total"
	if o.Ingresses != nil {
		kind, name = "Ingresses", "weft_status_ingress_writes_total"
	}
	w := &Writer{
		o: o, limiter: rate.NewLimiter(rate.Limit(o.PerSecond), o.Burst),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name,
			Help: "Statuses of " + kind + " that were to be written, by result: written, unchanged (it was so already), gone, conflict (tried again), error (tried again).",
		}, []string{"result"}),
		wanted: map[model.ServiceName]Addresses{}, recent: map[model.ServiceName]time.Time{},
	}
	for _, result := range []result{written, unchanged, gone, conflict, failed} {
		w.results.WithLabelValues(string(result))
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(w.results); err != nil {
			return nil, fmt.Errorf("status: register metrics: %w", err)
		}
	}
	return w, nil
}

// Want says what the status of a Service should list, because it does not. The latest counts. It never waits.
func (w *Writer) Want(name model.ServiceName, a Addresses) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wanted[name] = a
	if w.queue != nil {
		w.queue.Add(name)
	}
}

// Settled says that the status of a Service is as it should be, or that it is nobody's business any more.
func (w *Writer) Settled(name model.ServiceName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.wanted, name)
}

// Status tells how the Writer is doing.
func (w *Writer) Status() WriterStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.Waiting = len(w.wanted)
	return s
}

// Run writes what is wanted until ctx ends, and returns when no request is in flight any more. It may be called again after that, but not
// twice at a time.
func (w *Writer) Run(ctx context.Context) {
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[model.ServiceName](w.o.RetryMin, w.o.RetryMax))
	w.mu.Lock()
	w.queue = queue
	for name := range w.wanted {
		queue.Add(name)
	}
	w.mu.Unlock()

	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				name, over := queue.Get()
				if over {
					return
				}
				w.process(ctx, queue, name)
				queue.Done(name)
			}
		})
	}
	<-ctx.Done()
	queue.ShutDown()
	wg.Wait()

	w.mu.Lock()
	w.queue = nil
	w.mu.Unlock()
}

func (w *Writer) process(ctx context.Context, queue workqueue.TypedRateLimitingInterface[model.ServiceName], name model.ServiceName) {
	w.mu.Lock()
	want, still := w.wanted[name]
	pause := time.Until(w.recent[name].Add(w.o.MinInterval))
	w.mu.Unlock()
	if !still || ctx.Err() != nil {
		queue.Forget(name)
		return
	}
	if pause > 0 {
		queue.AddAfter(name, pause)
		return
	}
	if w.limiter.Wait(ctx) != nil {
		return
	}
	result, err := w.write(ctx, name, want)
	if err != nil && ctx.Err() != nil {
		return // stays wanted
	}
	w.results.WithLabelValues(string(result)).Inc()
	if again := w.note(name, want, result, err); again {
		queue.AddRateLimited(name)
	} else {
		queue.Forget(name)
	}
}

// result is how an attempt to write ended.
type result string

const (
	written   result = "written"
	unchanged result = "unchanged"
	gone      result = "gone"
	conflict  result = "conflict"
	failed    result = "error"
)

func (w *Writer) write(ctx context.Context, name model.ServiceName, want Addresses) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var s subject = serviceObject{w.o.Client, name}
	if w.o.Ingresses != nil {
		s = ingressObject{w.o.Ingresses, name}
	}
	live, err := s.get(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return gone, nil
	case err != nil:
		return failed, fmt.Errorf("get %v: %w", s, err)
	case !live.asks && len(want.IPs) > 0:
		return unchanged, nil // it is not asked for any more, which has yet to be told to us
	}
	next, changed := ingress(live.entries, want, w.o.Ours)
	if !changed {
		return unchanged, nil
	}
	switch err = s.patch(ctx, live.meta, next); {
	case apierrors.IsConflict(err):
		return conflict, fmt.Errorf("write status.loadBalancer of %v: %w", s, err)
	case apierrors.IsNotFound(err):
		return gone, nil
	case err != nil:
		return failed, fmt.Errorf("write status.loadBalancer of %v: %w", s, err)
	}
	return written, nil
}

// note remembers how an attempt ended, and tells whether another is needed.
func (w *Writer) note(name model.ServiceName, want Addresses, r result, err error) (again bool) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		level := slog.LevelDebug
		if r == failed && w.status.LastError == "" { // when an API server is away, every Service fails
			level = slog.LevelWarn
		}
		w.o.Log.Log(context.Background(), level, "cannot write status, trying again", "object", name.String(), "error", err)
		if r == failed {
			w.status.LastError, w.status.LastErrorAt = err.Error(), now
		}
		return true
	}
	w.status.LastError, w.status.LastErrorAt = "", time.Time{}
	if r == written {
		w.status.LastWrite, w.status.LastService = now, name.String()
		w.status.Written++
		if len(w.recent) >= 1024 {
			maps.DeleteFunc(w.recent, func(_ model.ServiceName, t time.Time) bool { return now.Sub(t) > w.o.MinInterval })
		}
		w.recent[name] = now
		w.o.Log.Info("load-balancer addresses written", "object", name.String(), "addresses", want.IPs)
	}
	if now, still := w.wanted[name]; still && !now.equal(want) {
		return true
	}
	delete(w.wanted, name)
	return false
}
