package upstream

import (
	"sync/atomic"

	"github.com/weftmesh/weft/internal/proxy/tls"
)

// clusterStats is what a cluster counts, by Envoy's names (cluster.<name>.<this>). Gauges are marked in [clusterStats.each].
type clusterStats struct {
	cxTotal, cxHTTP1Total, cxHTTP2Total         atomic.Int64
	cxActive                                    atomic.Int64
	cxConnectFail, cxConnectTimeout, cxOverflow atomic.Int64
	cxIdleTimeout, cxMaxRequests                atomic.Int64
	cxDestroyRemoteIdle                         atomic.Int64 // closed by the endpoint while idle
	rqTotal, rqReplayed                         atomic.Int64
	rqPendingTotal, rqPendingOverflow           atomic.Int64
	rqTimeout, rqReset                          atomic.Int64
	rqRetry, rqRetryOverflow, rqRetrySuccess    atomic.Int64
	rqClass                                     [6]atomic.Int64 // by status / 100; 0 is no response
	rqDropped                                   atomic.Int64
	lbPanic, lbNone                             atomic.Int64
	updates, updateEmpty, updateNoRebuild       atomic.Int64
	tls                                         tlsStats
	outlier                                     outlierStats
	check                                       checkStats
}

type outlierStats struct {
	active, total, overflow                                       atomic.Int64
	consecutive5xx, consecutiveGateway, consecutiveLocal          atomic.Int64
	successRate, failurePercentage                                atomic.Int64
	detected5xx, detectedGateway, detectedLocal                   atomic.Int64
	detectedSuccessRate, detectedFailurePercentage                atomic.Int64
	localSuccessRate, localFailurePercentage                      atomic.Int64
	detectedLocalSuccessRate, detectedLocalFailurePercentageTotal atomic.Int64
}

// tlsStats count handshakes: those that were made, those whose certificate was refused, for its name or otherwise, and those that failed in another way.
type tlsStats struct{ handshake, name, verify, failed atomic.Int64 }

func (s *tlsStats) note(err error) {
	if err == nil {
		s.handshake.Add(1)
		return
	}
	switch tls.FailureOf(err) {
	case tls.WrongName:
		s.name.Add(1)
	case tls.UnknownAuthority, tls.Expired, tls.BadCertificate, tls.NoCertificate:
		s.verify.Add(1)
	default:
		s.failed.Add(1)
	}
}

type checkStats struct{ attempt, success, failure, networkFailure atomic.Int64 }

// Stat is one counter or gauge.
type Stat struct {
	Name  string // Envoy's, without the prefix "cluster.<name>."
	Value int64
	Gauge bool
}

// ClusterSnapshot is a cluster as admin shows it.
type ClusterSnapshot struct {
	Name, AltStatName string
	Type              string // "EDS", ...
	Policy            string // lb_policy
	Ready             bool   // false while it waits for its first endpoints
	Stats             []Stat
	Limits            [priorities]Limits
	Endpoints         []EndpointSnapshot
}

// Limits is the limits of one priority's circuit breaker.
type Limits struct{ MaxConnections, MaxPendingRequests, MaxRequests, MaxRetries int64 }

// EndpointSnapshot is an endpoint as admin shows it (/clusters).
type EndpointSnapshot struct {
	Address, Hostname string
	Health            string // "healthy", or flags as Envoy writes them ("/failed_active_hc/failed_outlier_check")
	Weight, Priority  uint32
	Locality          Locality
	Stats             []Stat // cx_active, cx_connect_fail, cx_total, rq_active, rq_error, rq_success, rq_timeout, rq_total
	Ejections         int64
}

// each gives all counters and gauges in the order of their names' groups.
func (c *Cluster) each(f func(name string, value int64, gauge bool)) {
	s := &c.stats
	counter := func(name string, v *atomic.Int64) { f(name, v.Load(), false) }
	gauge := func(name string, v int64) { f(name, v, true) }

	counter("upstream_cx_total", &s.cxTotal)
	counter("upstream_cx_http1_total", &s.cxHTTP1Total)
	counter("upstream_cx_http2_total", &s.cxHTTP2Total)
	gauge("upstream_cx_active", s.cxActive.Load())
	counter("upstream_cx_connect_fail", &s.cxConnectFail)
	counter("upstream_cx_connect_timeout", &s.cxConnectTimeout)
	counter("upstream_cx_overflow", &s.cxOverflow)
	counter("upstream_cx_idle_timeout", &s.cxIdleTimeout)
	counter("upstream_cx_max_requests", &s.cxMaxRequests)
	counter("upstream_cx_destroy_remote_idle", &s.cxDestroyRemoteIdle)
	counter("upstream_rq_total", &s.rqTotal)
	gauge("upstream_rq_active", c.breakers[Default].requests.Load()+c.breakers[High].requests.Load())
	counter("upstream_rq_replayed", &s.rqReplayed)
	counter("upstream_rq_pending_total", &s.rqPendingTotal)
	gauge("upstream_rq_pending_active", c.breakers[Default].pending.Load()+c.breakers[High].pending.Load())
	counter("upstream_rq_pending_overflow", &s.rqPendingOverflow)
	counter("upstream_rq_timeout", &s.rqTimeout)
	counter("upstream_rq_rx_reset", &s.rqReset)
	counter("upstream_rq_retry", &s.rqRetry)
	counter("upstream_rq_retry_overflow", &s.rqRetryOverflow)
	counter("upstream_rq_retry_success", &s.rqRetrySuccess)
	var completed int64
	for i, name := range [...]string{1: "upstream_rq_1xx", "upstream_rq_2xx", "upstream_rq_3xx", "upstream_rq_4xx", "upstream_rq_5xx"} {
		if i > 0 {
			counter(name, &s.rqClass[i])
			completed += s.rqClass[i].Load()
		}
	}
	f("upstream_rq_completed", completed, false)
	counter("upstream_rq_drop_overload", &s.rqDropped)
	counter("ssl.handshake", &s.tls.handshake)
	counter("ssl.fail_verify_san", &s.tls.name)
	counter("ssl.fail_verify_error", &s.tls.verify)
	counter("ssl.connection_error", &s.tls.failed)
	counter("lb_healthy_panic", &s.lbPanic)
	counter("upstream_cx_none_healthy", &s.lbNone)
	counter("update_success", &s.updates)
	counter("update_empty", &s.updateEmpty)
	counter("update_no_rebuild", &s.updateNoRebuild)
	counter("health_check.attempt", &s.check.attempt)
	counter("health_check.success", &s.check.success)
	counter("health_check.failure", &s.check.failure)
	counter("health_check.network_failure", &s.check.networkFailure)
	c.eachOutlier(f)

	total, healthy, degraded := 0, 0, 0
	for _, e := range c.hosts.Load().endpoints {
		total++
		switch e.health() {
		case healthyState:
			healthy++
		case degradedState:
			degraded++
		}
	}
	gauge("membership_total", int64(total))
	gauge("membership_healthy", int64(healthy))
	gauge("membership_degraded", int64(degraded))
	for p, name := range [...]string{"default", "high"} {
		b, l := &c.breakers[p], &c.config.Load().limits[p]
		prefix := "circuit_breakers." + name + "."
		for _, r := range [...]struct {
			name string
			n    int64
			max  int64
		}{
			{"cx", b.connections.Load(), l.connections}, {"rq_pending", b.pending.Load(), l.pending},
			{"rq", b.requests.Load(), l.requests}, {"rq_retry", b.retries.Load(), b.retryLimit(l)},
		} {
			open := int64(0)
			if r.n >= r.max {
				open = 1
			}
			gauge(prefix+r.name+"_open", open)
			gauge(prefix+"remaining_"+trimRq(r.name), max(0, r.max-r.n))
		}
	}
}

// trimRq gives the words that Envoy uses for what remains: cx, pending, rq, retries.
func trimRq(name string) string {
	switch name {
	case "rq_pending":
		return "pending"
	case "rq_retry":
		return "retries"
	}
	return name
}

func (c *Cluster) eachOutlier(f func(name string, value int64, gauge bool)) {
	o := &c.stats.outlier
	f("outlier_detection.ejections_active", o.active.Load(), true)
	for _, s := range [...]struct {
		name  string
		value *atomic.Int64
	}{
		{"ejections_enforced_total", &o.total},
		{"ejections_overflow", &o.overflow},
		{"ejections_enforced_consecutive_5xx", &o.consecutive5xx},
		{"ejections_detected_consecutive_5xx", &o.detected5xx},
		{"ejections_enforced_consecutive_gateway_failure", &o.consecutiveGateway},
		{"ejections_detected_consecutive_gateway_failure", &o.detectedGateway},
		{"ejections_enforced_consecutive_local_origin_failure", &o.consecutiveLocal},
		{"ejections_detected_consecutive_local_origin_failure", &o.detectedLocal},
		{"ejections_enforced_success_rate", &o.successRate},
		{"ejections_detected_success_rate", &o.detectedSuccessRate},
		{"ejections_enforced_local_origin_success_rate", &o.localSuccessRate},
		{"ejections_detected_local_origin_success_rate", &o.detectedLocalSuccessRate},
		{"ejections_enforced_failure_percentage", &o.failurePercentage},
		{"ejections_detected_failure_percentage", &o.detectedFailurePercentage},
		{"ejections_enforced_failure_percentage_local_origin", &o.localFailurePercentage},
		{"ejections_detected_failure_percentage_local_origin", &o.detectedLocalFailurePercentageTotal},
	} {
		f("outlier_detection."+s.name, s.value.Load(), false)
	}
}
