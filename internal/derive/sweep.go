package derive

import (
	"context"
	"time"
)

// rest sets a result aside for Sweep if nobody reads or follows it any more since rev.
func (db *DB) rest(n *node, rev Rev) {
	if n.state == gone || len(n.readers) > 0 || len(n.sinks) > 0 {
		return
	}
	n.wanted = max(n.wanted, rev)
	if !n.idle {
		n.idle = true
		db.idle = append(db.idle, n)
	}
}

// Sweep drops results that nobody reads or follows and that were last wanted before the given revision, with everything
// only they read. Until then they are kept: a consumer that comes back finds its results there.
func (db *DB) Sweep(before Rev) (dropped int) {
	db.mu.Lock()
	defer db.mu.Unlock()
	var keep []*node
	for len(db.idle) > 0 {
		last := len(db.idle) - 1
		n := db.idle[last]
		db.idle[last] = nil
		db.idle = db.idle[:last]
		n.idle = false
		switch {
		case n.state == gone || len(n.readers) > 0 || len(n.sinks) > 0:
		case n.wanted >= before:
			n.idle = true
			keep = append(keep, n)
		default:
			db.drop(n)
			dropped++
			db.collect(n.wanted) // sets aside what only this one read
		}
	}
	db.idle = keep
	db.settle()
	return dropped
}

func (db *DB) drop(n *node) {
	for i := len(n.deps) - 1; i >= 0; i-- {
		db.unlink(n.deps[i])
	}
	n.deps, n.because, n.root, n.state = nil, nil, nil, gone
	db.reports.set(n, nil)
	delete(db.totals.failures, n)
	n.ev.drop()
}

// Maintain sweeps, until ctx ends, what nobody wanted during the last interval.
func (db *DB) Maintain(ctx context.Context, interval time.Duration) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for before := db.Rev(); ; before = db.Rev() {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			db.Sweep(before)
		}
	}
}
