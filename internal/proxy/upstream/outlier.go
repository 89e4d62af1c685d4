package upstream

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// outlierState is what outlier detection remembers of an endpoint.
type outlierState struct {
	external, local tally

	ejections atomic.Int64 // ever
	// Under Cluster.mu:
	until time.Time // when the ejection ends, while it is ejected
	times int64     // how long the next ejection is, in base ejection times, less one
}

// tally is what came of an endpoint's requests: in a row, and in this interval.
type tally struct {
	inRow5xx, inRowGateway, inRow atomic.Int64
	success, total                atomic.Int64
}

// observe takes a result into account. Where a local failure is not told apart it counts as the response that the client gets for it.
func (e *Endpoint) observe(o *outlierConfig, r Result) {
	t := &e.outlier.external
	if o.split {
		if r.Failure == NoFailure {
			succeeded(&e.outlier.local)
		} else {
			local := &e.outlier.local
			local.total.Add(1)
			if local.inRow.Add(1) == o.consecutiveLocal.limit {
				s := &e.cluster.stats.outlier
				e.detected(o, o.consecutiveLocal.enforcing, &local.inRow, &s.detectedLocal, &s.consecutiveLocal, "consecutive local origin failures")
			}
			return
		}
	}
	status := r.Status
	switch r.Failure {
	case ConnectFailed, Reset:
		status = 503
	case TimedOut:
		status = 504
	}
	if status < 500 {
		succeeded(t)
		return
	}
	t.total.Add(1)
	s := &e.cluster.stats.outlier
	if status >= 502 && status <= 504 {
		if t.inRowGateway.Add(1) == o.consecutiveGateway.limit {
			e.detected(o, o.consecutiveGateway.enforcing, &t.inRowGateway, &s.detectedGateway, &s.consecutiveGateway, "consecutive gateway failures")
		}
	} else {
		t.inRowGateway.Store(0)
	}
	if t.inRow5xx.Add(1) == o.consecutive5xx.limit {
		e.detected(o, o.consecutive5xx.enforcing, &t.inRow5xx, &s.detected5xx, &s.consecutive5xx, "consecutive 5xx")
	}
}

func succeeded(t *tally) {
	t.total.Add(1)
	t.success.Add(1)
	if t.inRow5xx.Load() != 0 {
		t.inRow5xx.Store(0)
	}
	if t.inRowGateway.Load() != 0 {
		t.inRowGateway.Store(0)
	}
	if t.inRow.Load() != 0 {
		t.inRow.Store(0)
	}
}

// detected acts on an outlier that was found while a request ended.
func (e *Endpoint) detected(o *outlierConfig, enforcing int64, inRow, detected, enforced *atomic.Int64, why string) {
	e.cluster.mu.Lock()
	defer e.cluster.mu.Unlock()
	inRow.Store(0)
	e.cluster.eject(e, o, enforcing, detected, enforced, why)
}

// eject takes an endpoint out of balancing for a while, if so many may be out. Under mu.
func (c *Cluster) eject(e *Endpoint, o *outlierConfig, enforcing int64, detected, enforced *atomic.Int64, why string) {
	detected.Add(1)
	if e.gone.Load() || c.closed || e.failed.Load()&failedOutlier != 0 || rand.Int64N(100) >= enforcing {
		return
	}
	s := &c.stats.outlier
	out := s.active.Load()
	if (out+1)*100 > o.maxPercent*int64(len(c.endpoints)) && (!o.alwaysOne || out > 0) {
		s.overflow.Add(1)
		return
	}
	enforced.Add(1)
	s.total.Add(1)
	s.active.Add(1)
	e.outlier.ejections.Add(1)
	length := min(o.most, o.base*time.Duration(e.outlier.times+1))
	if length < o.most {
		e.outlier.times++
	}
	if o.jitter > 0 {
		length += rand.N(o.jitter)
	}
	e.outlier.until = time.Now().Add(length)
	c.set.options.Log.Info("endpoint ejected", "cluster", c.name, "endpoint", e.key, "reason", why, "for", length)
	c.mark(e, failedOutlier, true)
}

// uneject takes an endpoint back in. Under mu.
func (c *Cluster) uneject(e *Endpoint) {
	if e.failed.Load()&failedOutlier == 0 {
		return
	}
	c.stats.outlier.active.Add(-1)
	for _, t := range []*tally{&e.outlier.external, &e.outlier.local} {
		t.inRow5xx.Store(0)
		t.inRowGateway.Store(0)
		t.inRow.Store(0)
	}
	c.set.options.Log.Info("endpoint no longer ejected", "cluster", c.name, "endpoint", e.key)
	c.mark(e, failedOutlier, false)
}

// ejections is the interval of a cluster's outlier detection. Under Cluster.mu.
type ejections struct {
	timer *time.Timer
	every time.Duration
}

func (j *ejections) close() {
	if j != nil {
		j.timer.Stop()
	}
}

// judge begins, changes or ends outlier detection. Under mu.
func (c *Cluster) judge(o *outlierConfig) {
	if o == nil {
		if c.ejections == nil {
			return
		}
		c.ejections.close()
		c.ejections = nil
		for _, e := range c.endpoints {
			c.uneject(e)
		}
		return
	}
	if c.ejections != nil && c.ejections.every == o.interval {
		return
	}
	c.ejections.close()
	j := &ejections{every: o.interval}
	c.ejections = j
	j.timer = time.AfterFunc(o.interval, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ejections == j && !c.closed {
			c.interval(c.config.Load().outlier)
			j.timer.Reset(j.every)
		}
	})
}

// interval ends ejections whose time is over, and looks for endpoints that did worse than the others. Under mu.
func (c *Cluster) interval(o *outlierConfig) {
	if o == nil {
		return
	}
	now := time.Now()
	for _, e := range c.endpoints {
		if e.failed.Load()&failedOutlier == 0 {
			e.outlier.times = max(0, e.outlier.times-1)
		} else if !now.Before(e.outlier.until) {
			c.uneject(e)
		}
	}
	s := &c.stats.outlier
	c.compare(o, func(e *Endpoint) *tally { return &e.outlier.external },
		verdict{o.successRate.enforcing, &s.detectedSuccessRate, &s.successRate},
		verdict{o.failure.enforcing, &s.detectedFailurePercentage, &s.failurePercentage})
	if o.split {
		c.compare(o, func(e *Endpoint) *tally { return &e.outlier.local },
			verdict{o.successRate.enforcingLocal, &s.detectedLocalSuccessRate, &s.localSuccessRate},
			verdict{o.failure.enforcingLocal, &s.detectedLocalFailurePercentageTotal, &s.localFailurePercentage})
	}
}

// verdict is what follows when an endpoint did badly.
type verdict struct {
	enforcing          int64
	detected, enforced *atomic.Int64
}

// compare judges by success rate (below the mean by so many standard deviations) and by failure percentage, and begins a new interval.
func (c *Cluster) compare(o *outlierConfig, of func(*Endpoint) *tally, rate, failure verdict) {
	type score struct {
		e *Endpoint
		n int64
		r float64 // of 100
	}
	var scores []score
	for _, e := range c.endpoints {
		t := of(e)
		n, good := t.total.Swap(0), t.success.Swap(0)
		if n > 0 && e.failed.Load()&failedOutlier == 0 {
			scores = append(scores, score{e, n, min(100, 100*float64(good)/float64(n))})
		}
	}
	count, sum := int64(0), 0.0
	for _, s := range scores {
		if s.n >= o.successRate.volume {
			count++
			sum += s.r
		}
	}
	if count >= o.successRate.hosts && count > 0 {
		mean, squares := sum/float64(count), 0.0
		for _, s := range scores {
			if s.n >= o.successRate.volume {
				squares += (s.r - mean) * (s.r - mean)
			}
		}
		threshold := mean - math.Sqrt(squares/float64(count))*float64(o.successRate.factor)/1000
		for _, s := range scores {
			if s.n >= o.successRate.volume && s.r < threshold {
				c.eject(s.e, o, rate.enforcing, rate.detected, rate.enforced, "success rate")
			}
		}
	}
	count = 0
	for _, s := range scores {
		if s.n >= o.failure.volume {
			count++
		}
	}
	if count < o.failure.hosts {
		return
	}
	for _, s := range scores {
		if s.n >= o.failure.volume && 100-s.r >= float64(o.failure.threshold) {
			c.eject(s.e, o, failure.enforcing, failure.detected, failure.enforced, "failure percentage")
		}
	}
}
