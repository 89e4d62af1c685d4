package kube

import (
	"context"
	"fmt"
	"log/slog"

	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/weftmesh/weft/internal/store"
)

// ProbeInterval is how often an API server is asked for an optional kind that it does not know.
const ProbeInterval = 5 * time.Second

// APIServer lists and watches kinds and keeps their tables alike. Make it with [NewAPIServer] and run it once.
type APIServer struct {
	src      *store.Source
	log      *slog.Logger
	watchers []*watcher
	commits  committer
	pace     pace
}

// pace is how long things wait. Tests make it short.
type pace struct {
	retry pause         // after a failure
	probe time.Duration // for a kind that is not installed
}

// NewAPIServer makes a source of these kinds. It says at once that they are expected, so that the store is not synced before their first
// lists are in; nothing is asked before Run.
func NewAPIServer(cfg *rest.Config, src *store.Source, log *slog.Logger, kinds ...*Kind) (*APIServer, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	a := &APIServer{src: src, log: log, pace: pace{
		retry: pause{min: 200 * time.Millisecond, max: 5 * time.Second},
		probe: ProbeInterval,
	}}
	a.commits.init(src)
	for _, k := range kinds {
		w, err := newWatcher(a, cfg, client, k)
		if err != nil {
			return nil, err
		}
		a.watchers = append(a.watchers, w)
		src.Expect(k.name)
	}
	return a, nil
}

// Run watches until ctx ends, then waits for everything it started. Failures are retried for ever, at most [ProbeInterval] apart; the
// tables keep what they have meanwhile, and a list that comes after a failure changes only what differs.
func (a *APIServer) Run(ctx context.Context) {
	// What client-go has to say goes to our log, less loudly than it would: failures are told by us, once.
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(quiet{a.log.Handler()}))
	var watching, committing sync.WaitGroup
	committing.Go(a.commits.run)
	for _, w := range a.watchers {
		watching.Go(func() { w.run(ctx) })
	}
	watching.Wait()
	a.commits.close()
	committing.Wait()
}

// Status gives the state of every kind, in the order they were given to NewAPIServer.
func (a *APIServer) Status() []KindStatus {
	out := make([]KindStatus, len(a.watchers))
	for i, w := range a.watchers {
		out[i] = w.state.get()
	}
	return out
}

// quiet makes everything a debug message.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(as []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(as)} }
func (q quiet) WithGroup(name string) slog.Handler    { return quiet{q.Handler.WithGroup(name)} }
