package derive

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/internal/finding"
)

// Rev counts commits. A greater revision is later; revisions of different DBs have nothing to do with each other.
type Rev uint64

// DB owns the revision counter and every result. Its methods are safe for concurrent use; queries run one at a time,
// under its lock.
type DB struct {
	log *slog.Logger

	// mu guards everything below, and every cell, result and family.
	mu      sync.Mutex
	rev     Rev
	runID   uint64             // counts runs, so that a second read of one cell in one run is free
	stack   []*Reader          // the runs in progress, outermost first
	direct  []*node            // results that read a touched cell and whose readers are not marked yet
	eager   bool               // spread is running results of direct
	queue   []*node            // results to refresh and deliver before the commit returns
	late    []flusher          // what has something to publish when everything is fresh
	orphans []*cell            // cells that lost their last reader
	idle    []*node            // results that nobody reads or follows
	queries map[string]querier // by name
	totals  totals
	reports reports

	// gate makes a commit appear in every feed at once: delivery holds it, and so does Drain while it takes what waits
	// (shared). It guards feeds and journals, and is locked after mu.
	gate      sync.RWMutex
	awake     []*Feed // feeds to wake once delivery is over; guarded by mu
	published atomic.Uint64
}

// flusher is something that publishes at the end of a commit. Both mu and gate are held.
type flusher interface{ flush(rev Rev) }

// New makes an empty engine. Panics of queries are logged to log; nil means not at all.
func New(log *slog.Logger) *DB {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	db := &DB{log: log, rev: 1, queries: map[string]querier{}}
	db.reports.init(db)
	db.published.Store(1)
	return db
}

// Rev is the revision of the last commit that is delivered to all feeds. It takes no lock.
func (db *DB) Rev() Rev { return Rev(db.published.Load()) }

// View runs fn while nothing changes. It is for looking at tables from outside; fn must not call any other method of the
// DB or of its queries.
func (db *DB) View(fn func()) {
	db.mu.Lock()
	defer db.mu.Unlock()
	fn()
}

// Tx is one commit in progress. It is valid until the function given to [DB.Commit] returns.
type Tx struct {
	db   *DB
	done bool
}

// Rev is the revision this commit makes.
func (tx *Tx) Rev() Rev { return tx.db.rev }

// Check panics if tx is over, or belongs to another DB than db. Stores call it before they change anything.
func (tx *Tx) Check(db *DB) {
	if tx.done || tx.db != db {
		panic("derive: a Tx was used after its commit, or with another DB")
	}
}

// Commit lets apply change the store and brings every result that somebody follows up to date. When it returns, every
// delta is in its feed; a feed never shows half a commit. It gives the revision it made.
//
// If apply panics, what it had changed stays, is delivered, and the panic goes on to the caller.
func (db *DB) Commit(apply func(tx *Tx)) Rev {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.rev++
	tx := &Tx{db: db}
	defer func() {
		tx.done = true
		db.spread()
		db.settle()
	}()
	apply(tx)
	return db.rev
}

// settle refreshes what is queued and then delivers everything at once.
func (db *DB) settle() {
	for i := 0; i < len(db.queue); i++ {
		if n := db.queue[i]; n.state != gone {
			db.fresh(n)
		}
	}
	db.collect(db.rev)
	if len(db.queue) == 0 && len(db.late) == 0 && !db.reports.pending() {
		db.published.Store(uint64(db.rev))
		return
	}
	db.gate.Lock()
	for i, n := range db.queue {
		db.queue[i] = nil
		n.queued = false
		if n.state != gone && (n.changed == db.rev || n.greet) {
			for _, s := range n.sinks {
				s.push(n, db.rev)
			}
			db.totals.deltas += uint64(len(n.sinks))
		}
		n.greet = false
	}
	db.queue = db.queue[:0]
	db.reports.publish(db.rev)
	for i, f := range db.late {
		db.late[i] = nil
		f.flush(db.rev)
	}
	db.late = db.late[:0]
	db.published.Store(uint64(db.rev))
	db.gate.Unlock()
	db.ring()
}

// ring wakes the feeds that were given something. Not under the gate, where they would only wait for it.
func (db *DB) ring() {
	for i, f := range db.awake {
		db.awake[i] = nil
		f.ringing = false
		select {
		case f.wake <- struct{}{}:
		default: // already told
		}
	}
	db.awake = db.awake[:0]
}

// Findings lists what results have to say about an object, in the order of [finding.Compare].
func (db *DB) Findings(object finding.Object) []finding.Finding { return db.reports.of(object) }

// AllFindings lists every finding, in the order of [finding.Compare].
func (db *DB) AllFindings() []finding.Finding { return db.reports.all() }

// FollowFindings tells of the findings of each object that has any: now, and whenever they change. A delta holds all
// findings of its object; when the last one goes the delta is Gone. stop ends it.
//
// A finding belongs to a result and lives as long as that result. One of a result that nobody reads or follows any more
// stays true (it is kept up to date), and goes with [DB.Sweep].
func (db *DB) FollowFindings(f *Feed, fn func(Delta[finding.Object, []finding.Finding])) (stop func()) {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.reports.journal.follow(f, fn)
}
