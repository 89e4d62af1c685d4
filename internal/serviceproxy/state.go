package serviceproxy

import (
	"context"
	"slices"
	"time"
)

// durationsKept is how many flushes the median is of.
const durationsKept = 127

// state is what the Proxy remembers of its flushes.
type state struct {
	lastFlush   time.Time // that succeeded
	lastRestore time.Time // that succeeded
	fromDisk    bool      // what is programmed is the plan from disk
	revision    uint64    // of what is programmed
	flushes     uint64
	durations   []time.Duration // of the last flushes that told the backend something, oldest first

	failures  int // in a row
	retryAt   time.Time
	lastError string
	errorAt   time.Time

	frontends, endpoints int
	refused              []Refused

	diskWritten time.Time // when the plan on disk was last known to be right
	fileError   string
}

// failed notes that the kernel's state is not known any more, and when to repair it.
func (p *Proxy) failed(ctx context.Context, w work, at time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.restore, p.inFlight = true, time.Time{}
	switch {
	case !w.pending.IsZero():
		p.pending = w.pending
	case p.pending.IsZero(): // an audit failed
		p.pending = at
	}
	if ctx.Err() != nil {
		return
	}
	wait := p.opts.RetryMax
	if n := p.state.failures; n < 16 {
		wait = min(wait, p.opts.RetryMin<<n)
	}
	p.state.failures++
	p.state.retryAt, p.state.lastError, p.state.errorAt = at.Add(wait), err.Error(), at
	p.metrics.failures.Inc()
	p.log.Error("cannot program Services", "changes", len(w.diff.Set)+len(w.diff.Delete), "restore", w.restore, "retry", wait, "error", err)
}

// succeeded notes what is in force now.
func (p *Proxy) succeeded(w work, elements int, start, end time.Time) {
	told := w.restore || !w.diff.Empty()
	p.mu.Lock()
	first, recovered := p.state.lastFlush.IsZero(), p.state.failures > 0
	p.inFlight = time.Time{}
	p.state.lastFlush, p.state.failures, p.state.retryAt = end, 0, time.Time{}
	p.state.fromDisk, p.state.revision = w.fromDisk, w.revision
	p.state.frontends, p.state.endpoints, p.state.refused = len(p.have), p.endpoints, p.refusedList()
	if w.restore {
		p.state.lastRestore = end
	}
	if told {
		p.state.flushes++
		if len(p.state.durations) >= durationsKept {
			p.state.durations = slices.Delete(p.state.durations, 0, 1)
		}
		p.state.durations = append(p.state.durations, end.Sub(start))
	}
	p.mu.Unlock()

	if told {
		p.metrics.flushed(w, elements, end.Sub(start))
	}
	switch {
	case first || recovered:
		p.log.Info("Services are programmed", "frontends", len(p.have), "elements", elements, "fromDisk", w.fromDisk, "took", end.Sub(start))
	case w.audit && elements > 0:
		p.log.Warn("audit found the kernel's state changed by somebody else and repaired it", "elements", elements)
	}
}

// waitingSince gives since when something waits to be in force; zero: nothing does.
func (p *Proxy) waitingSince() time.Time {
	if !p.inFlight.IsZero() {
		return p.inFlight
	}
	return p.pending
}
