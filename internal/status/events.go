package status

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/finding"
)

// EventsOptions are what [Events] are made of. Client must be given; the other zero values have the defaults that are named.
type EventsOptions struct {
	Client   kubernetes.Interface
	Instance string // the Pod's name: the reporting instance

	PerSecond float64 // Events written; 0 is 2
	Burst     int     // how many at once before that; 0 is 50

	// RetryMin and RetryMax bound the time to the next try while the API server cannot be reached, which doubles each time; 0 is 1 s and 1 min.
	RetryMin, RetryMax time.Duration

	Log        *slog.Logger          // nil: slog.Default
	Registerer prometheus.Registerer // nil: no metrics
}

// Events writes one Kubernetes Event for each finding of severity warning or worse on a Service, an EndpointSlice or a Node, when it appears
// and not again while it stands, also when another process takes over. Its methods are safe for concurrent use.
type Events struct {
	o       EventsOptions
	limiter *rate.Limiter
	results *prometheus.CounterVec
	wake    chan struct{}

	mu       sync.Mutex
	standing map[finding.Object]map[finding.Finding]*telling
	queue    []finding.Finding // to be told, or gone since
	running  bool
}

// telling is what has been said of a finding.
type telling struct {
	told  bool
	fresh bool // it appeared while this process was the one to tell, so nobody else can have told it
}

// NewEvents makes Events that wait to be run. The error is about metrics that cannot be registered.
func NewEvents(o EventsOptions) (*Events, error) {
	o.PerSecond = cmp.Or(o.PerSecond, 2)
	o.Burst = cmp.Or(o.Burst, 50)
	o.RetryMin = cmp.Or(o.RetryMin, time.Second)
	o.RetryMax = cmp.Or(o.RetryMax, time.Minute)
	o.Log = cmp.Or(o.Log, slog.Default())
	e := &Events{
		o: o, limiter: rate.NewLimiter(rate.Limit(o.PerSecond), o.Burst), wake: make(chan struct{}, 1),
		standing: map[finding.Object]map[finding.Finding]*telling{},
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weft_status_events_total",
			Help: "Findings that were to be told as Events, by result: created, repeated (an earlier Event counts one more), standing (told already), gone (the object is), refused.",
		}, []string{"result"}),
	}
	for _, r := range []eventResult{eventCreated, eventRepeated, eventStanding, eventGone, eventRefused} {
		e.results.WithLabelValues(string(r))
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(e.results); err != nil {
			return nil, fmt.Errorf("status: register metrics: %w", err)
		}
	}
	return e, nil
}

// Set says which findings an object has now. It never waits.
func (e *Events) Set(object finding.Object, findings []finding.Finding) {
	if _, known := reference(object); !known {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	was := e.standing[object]
	now := map[finding.Finding]*telling{}
	for _, f := range findings {
		if f.Object != object || f.Severity < finding.Warning || now[f] != nil {
			continue
		}
		if now[f] = was[f]; now[f] == nil {
			now[f] = &telling{fresh: e.running}
			e.enqueue(f)
		}
	}
	if len(now) == 0 {
		delete(e.standing, object)
		return
	}
	e.standing[object] = now
}

func (e *Events) enqueue(f finding.Finding) {
	if !e.running {
		return // Run begins with all that stand
	}
	e.queue = append(e.queue, f)
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Run writes Events until ctx ends, and returns when no request is in flight any more. It may be called again after that, but not twice at a time.
func (e *Events) Run(ctx context.Context) {
	e.begin()
	defer e.end()
	wait := e.o.RetryMin
	for ctx.Err() == nil {
		f, ok := e.next()
		if !ok {
			select {
			case <-ctx.Done():
			case <-e.wake:
			}
			continue
		}
		if e.limiter.Wait(ctx) != nil {
			return
		}
		err := e.tellOne(ctx, f)
		if err == nil {
			wait = e.o.RetryMin
			continue
		}
		e.o.Log.Debug("cannot write Event, trying again", "finding", f.String(), "error", err)
		e.mu.Lock()
		e.queue = append(e.queue, f)
		e.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			wait = min(2*wait, e.o.RetryMax)
		}
	}
}

func (e *Events) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = true
	for _, object := range slices.SortedFunc(maps.Keys(e.standing), finding.Object.Compare) {
		for _, f := range slices.SortedFunc(maps.Keys(e.standing[object]), finding.Compare) {
			if !e.standing[object][f].told {
				e.queue = append(e.queue, f)
			}
		}
	}
}

func (e *Events) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running, e.queue = false, nil
}

// next takes the first finding that still stands and has not been told.
func (e *Events) next() (f finding.Finding, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) > 0 {
		f, e.queue = e.queue[0], e.queue[1:]
		if t := e.standing[f.Object][f]; t != nil && !t.told {
			return f, true
		}
	}
	e.queue = nil
	return f, false
}

// tellOne writes the Event of a finding. An error is one that may pass.
func (e *Events) tellOne(ctx context.Context, f finding.Finding) error {
	e.mu.Lock()
	t := e.standing[f.Object][f]
	fresh := t != nil && t.fresh
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := e.write(ctx, f, fresh)
	if err != nil {
		if passing(err) {
			return err
		}
		e.o.Log.Warn("Event refused", "finding", f.String(), "error", err)
		r = eventRefused
	}
	e.results.WithLabelValues(string(r)).Inc()
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.standing[f.Object][f]; t != nil {
		t.told = true
	}
	return nil
}

// passing tells whether the same request may succeed later.
func passing(err error) bool {
	switch apierrors.ReasonForError(err) {
	case metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonBadRequest, metav1.StatusReasonNotFound,
		metav1.StatusReasonMethodNotAllowed, metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonGone:
		return false
	}
	return true
}
