package jwks

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// When keys are fetched again.
const (
	refreshEvery = 20 * time.Minute
	firstRetry   = time.Second // after a failure; twice as long after each further one,
	lastRetry    = time.Minute // up to this
	firstPass    = 10 * time.Second
	atOnce       = 8 // attempts
)

// Fetcher keeps the keys that are asked for. All fields are needed.
type Fetcher struct {
	Client *http.Client
	Store  *store.Store
	Table  *store.Table[model.KeySet]
	Wanted *derive.Family[store.Key, []model.KeySource] // by each object
	After  string                                       // the kind of those objects
	Log    *slog.Logger
}

// state is what a Fetcher knows of one URL.
type state struct {
	from     model.KeySource
	keys     string
	failures int
	next     time.Time
}

// Expect says that the store is not full before what is asked for at first was tried once. Call it before anybody waits for the store.
func (f *Fetcher) Expect() { f.source().Expect(Kind) }

func (f *Fetcher) source() *store.Source { return f.Store.Source("keys") }

// Run keeps the table up to date until ctx ends.
func (f *Fetcher) Run(ctx context.Context) error {
	feed := f.Store.DB().NewFeed()
	asked := map[store.Key][]model.KeySource{}
	stop := f.Wanted.Follow(feed, func(d derive.Delta[store.Key, []model.KeySource]) {
		asked[d.Key] = d.Value
		if d.Gone {
			delete(asked, d.Key)
		}
	})
	defer stop()
	if err := f.Store.WaitFor(ctx, f.After); err != nil {
		return nil //nolint:nilerr // ctx has ended
	}
	known := map[string]*state{}
	feed.Drain()
	f.reconcile(asked, known)
	first, cancel := context.WithTimeout(ctx, firstPass)
	f.attempt(first, known)
	cancel()
	f.source().MarkSynced(Kind)
	for {
		timer := time.NewTimer(untilNext(known))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-feed.Wake():
			feed.Drain()
			f.reconcile(asked, known)
		case <-timer.C:
		}
		timer.Stop()
		f.attempt(ctx, known)
	}
}

// reconcile makes known what is asked for, and forgets the rest.
func (f *Fetcher) reconcile(asked map[store.Key][]model.KeySource, known map[string]*state) {
	wanted := map[string]model.KeySource{}
	for _, list := range asked {
		for _, s := range list {
			s.Timeout = max(s.Timeout, wanted[s.URL].Timeout)
			wanted[s.URL] = s
		}
	}
	for url, s := range wanted {
		if known[url] == nil {
			known[url] = &state{}
		}
		known[url].from = s
	}
	var gone []string
	for url := range known {
		if _, ok := wanted[url]; !ok {
			gone = append(gone, url)
			delete(known, url)
		}
	}
	if len(gone) == 0 {
		return
	}
	slices.Sort(gone)
	f.source().Commit(func(tx *store.Tx) {
		for _, url := range gone {
			f.Table.Delete(tx, Key(url))
		}
	})
}

// attempt fetches what is due, several at once, and commits what came of it.
func (f *Fetcher) attempt(ctx context.Context, known map[string]*state) {
	var due []*state
	now := time.Now()
	for _, s := range known {
		if !s.next.After(now) {
			due = append(due, s)
		}
	}
	if len(due) == 0 {
		return
	}
	rows := make([]*model.KeySet, len(due))
	var running sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, s := range due {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			rows[i] = f.try(ctx, s)
		})
	}
	running.Wait()
	f.source().Commit(func(tx *store.Tx) {
		for _, row := range rows {
			f.Table.Put(tx, row)
		}
	})
}

// try fetches one URL. Keys that were had before stay.
func (f *Fetcher) try(ctx context.Context, s *state) *model.KeySet {
	keys, err := fetch(ctx, f.Client, s.from)
	if err != nil {
		s.next = time.Now().Add(min(firstRetry<<min(s.failures, 10), lastRetry))
		s.failures++
		f.Log.Warn("keys cannot be fetched", "url", s.from.URL, "error", err, "kept", s.keys != "")
		return &model.KeySet{URL: s.from.URL, Keys: s.keys, Problem: err.Error()}
	}
	s.keys, s.failures, s.next = keys, 0, time.Now().Add(refreshEvery)
	return &model.KeySet{URL: s.from.URL, Keys: keys}
}

// untilNext is how long nothing is due.
func untilNext(known map[string]*state) time.Duration {
	wait := refreshEvery
	for _, s := range known {
		wait = min(wait, time.Until(s.next))
	}
	return max(wait, 0)
}
