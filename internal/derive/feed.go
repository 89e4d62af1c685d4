package derive

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Delta is what a subscriber is told about one key.
type Delta[K comparable, V any] struct {
	Key   K
	Value V    // the value now; the zero value if Gone
	Gone  bool // the key left its family, or the object lost its last finding
	Rev   Rev  // the commit this belongs to: the last one that changed what this subscriber is told about the key
}

// Feed is a consumer's mailbox. It holds at most one pending value per subscription (for a family: per member), so a slow
// consumer gets the latest, misses only what was overtaken, and costs nobody else anything.
type Feed struct {
	db       *DB
	wake     chan struct{}
	draining sync.Mutex // one Drain at a time

	// Guarded by db.gate: exclusive, or shared with draining held.
	ready   []pending
	spare   []pending
	ringing bool // waits in db.awake; guarded by db.mu
}

// pending is a subscription that has something for its consumer: first taken while nothing is delivered, then handed over.
type pending interface {
	take()
	emit() (deltas int)
}

// NewFeed makes a mailbox. It needs no closing: when all its subscriptions have ended it is garbage.
func (db *DB) NewFeed() *Feed { return &Feed{db: db, wake: make(chan struct{}, 1)} }

// Wake has a value when there may be something to drain.
func (f *Feed) Wake() <-chan struct{} { return f.wake }

// Drain hands every pending value to the function given at subscription, on the caller's goroutine, in the order in which
// they began to wait. What it hands over is the state of one revision, the one it returns: all of a commit or nothing of
// it. The functions may subscribe and stop; they must not drain the same feed.
func (f *Feed) Drain() (deltas int, rev Rev) {
	f.draining.Lock()
	defer f.draining.Unlock()
	f.db.gate.RLock()
	rev = f.db.Rev()
	batch := f.ready
	f.ready, f.spare = f.spare[:0], nil
	for _, p := range batch {
		p.take()
	}
	f.db.gate.RUnlock()
	for i, p := range batch {
		batch[i] = nil
		deltas += p.emit()
	}
	if cap(batch) <= 4096 { // a burst does not keep its room forever
		f.spare = batch[:0]
	}
	return deltas, rev
}

// check catches a feed of one engine given to another, which would not be guarded by its locks.
func (f *Feed) check(db *DB) {
	if f.db != db {
		panic("derive: a Feed was used with another DB")
	}
}

// enqueue queues p unless it waits already. Both locks are held.
func (f *Feed) enqueue(p pending, queued *bool) {
	if !*queued {
		*queued = true
		f.ready = append(f.ready, p)
	}
	if !f.ringing {
		f.ringing = true
		f.db.awake = append(f.db.awake, f)
	}
}

// subscription is one key of one query for one feed.
type subscription[K comparable, V any] struct {
	f       *Feed
	e       *entry[K, V]
	fn      func(Delta[K, V])
	next    Delta[K, V] // waits; guarded by the gate
	out     Delta[K, V] // is being handed over
	queued  bool
	stopped atomic.Bool
}

// Subscribe asks for the value of k now and whenever it changes. Nothing is handed over before the next [Feed.Drain].
//
// stop ends it. When stop is called on the goroutine that drains, fn is not called again; on another goroutine a call may
// be in progress.
func (q *Query[K, V]) Subscribe(f *Feed, k K, fn func(Delta[K, V])) (stop func()) {
	db := q.db
	f.check(db)
	db.mu.Lock()
	defer db.mu.Unlock()
	e := q.entry(k)
	s := &subscription[K, V]{f: f, e: e, fn: fn}
	e.sinks = append(e.sinks, s)
	db.fresh(&e.node)
	db.gate.Lock()
	s.push(&e.node, db.rev)
	db.gate.Unlock()
	db.ring()
	db.settle()
	return func() {
		if s.stopped.Swap(true) {
			return
		}
		db.mu.Lock()
		defer db.mu.Unlock()
		e.removeSink(s)
		db.rest(&e.node, db.rev)
	}
}

func (s *subscription[K, V]) push(_ *node, rev Rev) {
	s.next = Delta[K, V]{Key: s.e.key, Value: s.e.val, Rev: rev}
	s.f.enqueue(s, &s.queued)
}

func (s *subscription[K, V]) take() {
	s.out, s.next, s.queued = s.next, Delta[K, V]{}, false
}

func (s *subscription[K, V]) emit() int {
	d := s.out
	s.out = Delta[K, V]{}
	if s.stopped.Load() {
		return 0
	}
	s.fn(d)
	return 1
}

func (n *node) removeSink(s sink) {
	if i := slices.Index(n.sinks, s); i >= 0 {
		last := len(n.sinks) - 1
		n.sinks[i], n.sinks[last] = n.sinks[last], nil
		n.sinks = n.sinks[:last]
	}
}
