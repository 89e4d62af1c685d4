package serviceproxy

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/weftmesh/weft/internal/serviceproxy/conntrack"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// flushLoop is the only goroutine that changes the kernel.
func (p *Proxy) flushLoop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		at := p.due()
		if wait := time.Until(at); at.IsZero() {
			timer.Stop()
		} else if wait > 0 {
			timer.Reset(wait)
		} else {
			p.flush(ctx)
			continue
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// due gives the time of the next flush; zero: not before something happens.
func (p *Proxy) due() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	var at time.Time
	switch {
	case p.inUse() == nil:
		return time.Time{}
	case !p.pending.IsZero() && !p.full:
		at = p.started.Add(p.opts.DiskWait)
	case !p.pending.IsZero() && !p.state.lastFlush.IsZero():
		at = p.state.lastFlush.Add(p.opts.MinInterval)
	case !p.pending.IsZero():
		at = p.pending
	}
	if p.state.failures > 0 { // then there always is something pending
		return later(at, p.state.retryAt)
	}
	if p.opts.AuditInterval > 0 && !p.state.lastRestore.IsZero() {
		if audit := p.state.lastRestore.Add(p.opts.AuditInterval); at.IsZero() || audit.Before(at) {
			at = audit
		}
	}
	return at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// inUse gives the index that is to be in force, nil if there is none yet.
func (p *Proxy) inUse() *index {
	if p.full {
		return p.live
	}
	return p.disk
}

// work is what one flush has to do.
type work struct {
	restore   bool
	audit     bool // a restore of a state that is thought to be right
	frontends []*plan.Frontend
	diff      plan.Diff
	checks    map[uint16]healthCheck
	fromDisk  bool
	revision  uint64
	pending   time.Time
}

// take collects everything that waits.
func (p *Proxy) take() work {
	p.mu.Lock()
	idx := p.inUse()
	w := work{
		restore: p.restore || p.pending.IsZero(), audit: p.pending.IsZero(),
		checks: healthChecksOf(idx.checks), fromDisk: !p.full, revision: p.revision, pending: p.pending,
	}
	switch {
	case w.restore:
		w.frontends = slices.AppendSeq(make([]*plan.Frontend, 0, len(idx.frontends)), maps.Values(idx.frontends))
	case p.whole:
		for k := range idx.frontends {
			p.compare(&w.diff, idx, k)
		}
		for k := range p.have {
			if idx.frontends[k] == nil {
				p.compare(&w.diff, idx, k)
			}
		}
	default:
		for k := range p.dirty {
			p.compare(&w.diff, idx, k)
		}
	}
	p.dirty = map[plan.Key]bool{} // to clear a map costs what it ever held
	p.whole, p.restore, p.pending, p.inFlight = false, false, time.Time{}, p.pending
	p.mu.Unlock()

	byKey := func(a, b *plan.Frontend) int { return a.Key.Compare(b.Key) }
	slices.SortFunc(w.frontends, byKey)
	slices.SortFunc(w.diff.Set, byKey)
	slices.SortFunc(w.diff.Delete, plan.Key.Compare)
	return w
}

// compare adds to the diff what the backend has to be told of a key.
func (p *Proxy) compare(diff *plan.Diff, idx *index, k plan.Key) {
	have, want := p.have[k], idx.frontends[k]
	switch {
	case want == nil && have != nil:
		diff.Delete = append(diff.Delete, k)
	case want != nil && (have == nil || !have.Equal(want)):
		diff.Set = append(diff.Set, want)
	}
}

func (p *Proxy) flush(ctx context.Context) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	w := p.take()
	var (
		result plan.Result
		err    error
		stale  plan.Diff
		start  = time.Now()
	)
	switch {
	case w.restore:
		result, err = p.opts.Backend.Restore(ctx, w.frontends)
	case !w.diff.Empty():
		result, err = p.opts.Backend.Apply(ctx, &w.diff)
	}
	end := time.Now()
	if err != nil {
		p.failed(ctx, w, end, err)
		return
	}
	if w.restore {
		stale = p.restored(w, result)
	} else {
		stale = p.applied(w.diff, result.Refused)
	}
	p.noteRefused(w, result.Refused)
	p.checks.sync(w.checks)
	if w.restore || !w.diff.Empty() {
		p.clean(ctx, &stale)
	}
	p.succeeded(w, result.Elements, start, end)
}

// restored takes over what the backend now holds, and gives what may have stale flows.
func (p *Proxy) restored(w work, result plan.Result) (stale plan.Diff) {
	before := p.have
	p.have, p.endpoints = make(map[plan.Key]*plan.Frontend, len(w.frontends)), 0
	for _, f := range w.frontends {
		p.hold(f)
		if !w.audit || result.Elements > 0 || p.cleanAll {
			stale.Set = append(stale.Set, f)
		}
	}
	for k := range before {
		if p.have[k] == nil {
			stale.Delete = append(stale.Delete, k)
		}
	}
	return stale
}

// applied is restored after a diff. What was refused may go on as it was, and so may its flows.
func (p *Proxy) applied(diff plan.Diff, refused []plan.Refuse) (stale plan.Diff) {
	for _, k := range diff.Delete {
		if conntrack.Affected(p.have[k], nil) {
			stale.Delete = append(stale.Delete, k)
		}
		p.drop(k)
	}
	for _, f := range diff.Set {
		taken := !slices.ContainsFunc(refused, func(r plan.Refuse) bool { return r.Key == f.Key })
		if taken && conntrack.Affected(p.have[f.Key], f) {
			stale.Set = append(stale.Set, f)
		}
		p.drop(f.Key)
		p.hold(f)
	}
	if p.cleanAll {
		stale.Set = slices.Collect(maps.Values(p.have))
	}
	return stale
}

func (p *Proxy) hold(f *plan.Frontend) {
	p.have[f.Key] = f
	p.endpoints += len(f.Endpoints)
}

func (p *Proxy) drop(k plan.Key) {
	if f := p.have[k]; f != nil {
		p.endpoints -= len(f.Endpoints)
		delete(p.have, k)
	}
}

// noteRefused keeps what the kernel would not take aside. It is told to the backend again when it changes, and by each restore.
func (p *Proxy) noteRefused(w work, refused []plan.Refuse) {
	before := maps.Clone(p.refused)
	if w.restore {
		p.refused = map[plan.Key]error{}
	}
	for _, k := range w.diff.Delete {
		delete(p.refused, k)
	}
	for _, f := range w.diff.Set {
		delete(p.refused, f.Key)
	}
	for _, r := range refused {
		if p.have[r.Key] == nil { // a refused removal: the frontend is gone as far as anybody can act on it
			p.log.Warn("kernel refuses to remove frontend", "frontend", describe(r.Key), "error", r.Err)
			continue
		}
		p.refused[r.Key] = cmp.Or(r.Err, errRefused)
	}
	same := func(a, b error) bool { return a.Error() == b.Error() }
	if maps.EqualFunc(before, p.refused, same) {
		return
	}
	for k, err := range p.refused {
		if old := before[k]; old == nil || !same(old, err) {
			p.log.Warn("kernel refuses frontend", "frontend", describe(k), "service", p.have[k].Service.String(), "error", err)
		}
	}
	if p.opts.OnRefused != nil {
		p.opts.OnRefused(p.refusedList())
	}
}

var errRefused = errors.New("refused without a reason")

func (p *Proxy) refusedList() []Refused {
	out := make([]Refused, 0, len(p.refused))
	for k, err := range p.refused {
		out = append(out, Refused{p.have[k], err})
	}
	slices.SortFunc(out, func(a, b Refused) int { return a.Frontend.Key.Compare(b.Frontend.Key) })
	return out
}

// clean removes flows that the change made stale. If that fails, everything is looked at by the next flush that changes something, or audit.
func (p *Proxy) clean(ctx context.Context, stale *plan.Diff) {
	for k := range p.uncleaned {
		if p.have[k] == nil && !slices.Contains(stale.Delete, k) {
			stale.Delete = append(stale.Delete, k)
		}
	}
	p.cleanAll, p.uncleaned = false, nil
	if p.opts.Flows == nil || stale.Empty() {
		return
	}
	result, err := p.opts.Flows.Clean(ctx, stale)
	p.metrics.staleFlows.Add(float64(result.Deleted))
	if result.Deleted > 0 {
		p.log.Debug("stale flows removed", "flows", result.Deleted)
	}
	if err != nil {
		p.cleanAll, p.uncleaned = true, map[plan.Key]bool{}
		for _, k := range stale.Delete {
			p.uncleaned[k] = true
		}
		p.metrics.staleFlowFailures.Inc()
		p.log.Warn("cannot remove all stale flows", "error", err)
	}
}
