package upstream

import (
	"sync/atomic"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// Priority is the routing priority of a request: which of a cluster's two circuit breakers counts it.
type Priority uint8

// The routing priorities.
const (
	Default Priority = iota
	High
	priorities
)

// limits is what one circuit breaker allows (CircuitBreakers.Thresholds).
type limits struct {
	connections, pending, requests, retries int64
	budgetPercent                           float64 // of the requests that may be retries at one time; negative: retries is the limit
	budgetMin                               int64   // retries that the budget always allows
}

// defaultLimits is what Envoy allows when nothing is said.
var defaultLimits = limits{connections: 1024, pending: 1024, requests: 1024, retries: 3, budgetPercent: -1}

// breaker counts what is under way for one priority. The counters outlive the limits.
type breaker struct {
	connections, pending, requests, retries atomic.Int64
}

// take counts one more, unless that would be more than limit.
func take(counter *atomic.Int64, limit int64) bool {
	if counter.Add(1) > limit {
		counter.Add(-1)
		return false
	}
	return true
}

// retryLimit is how many retries may be under way now.
func (b *breaker) retryLimit(l *limits) int64 {
	if l.budgetPercent < 0 {
		return l.retries
	}
	return max(l.budgetMin, int64(l.budgetPercent/100*float64(b.requests.Load()+b.pending.Load())))
}

func compileBreakers(cb *clusterv3.CircuitBreakers) ([priorities]limits, error) {
	out := [priorities]limits{defaultLimits, defaultLimits}
	seen := [priorities]bool{}
	for _, t := range cb.GetThresholds() {
		p := Default
		if t.GetPriority() == corev3.RoutingPriority_HIGH {
			p = High
		}
		if seen[p] { // the first one holds, as with Envoy
			continue
		}
		seen[p] = true
		l := &out[p]
		l.connections = uint32Or(t.GetMaxConnections(), l.connections)
		l.pending = uint32Or(t.GetMaxPendingRequests(), l.pending)
		l.requests = uint32Or(t.GetMaxRequests(), l.requests)
		l.retries = uint32Or(t.GetMaxRetries(), l.retries)
		if b := t.GetRetryBudget(); b != nil {
			l.budgetPercent, l.budgetMin = 20, uint32Or(b.GetMinRetryConcurrency(), 3)
			if b.GetBudgetPercent() != nil {
				l.budgetPercent = b.GetBudgetPercent().GetValue()
			}
			if l.budgetPercent < 0 || l.budgetPercent > 100 {
				return out, field.Errorf("circuit_breakers.thresholds.retry_budget.budget_percent", "%v is no percentage", l.budgetPercent)
			}
		}
	}
	if len(cb.GetPerHostThresholds()) > 0 {
		return out, field.Errorf("circuit_breakers.per_host_thresholds", "not supported")
	}
	return out, nil
}
