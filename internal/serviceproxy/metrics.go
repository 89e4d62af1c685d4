package serviceproxy

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what an operator graphs. Besides weft's own names there are those of kube-proxy's that mean the same here, so that dashboards and
// alerts made for it keep working: kubeproxy_sync_proxy_rules_duration_seconds, _last_timestamp_seconds and _last_queued_timestamp_seconds.
// kubeproxy_network_programming_duration_seconds is not among them: it counts from when an endpoint changed in the API, which the plan, having
// no times in it, cannot know.
type metrics struct {
	duration          *prometheus.HistogramVec
	kubeDuration      prometheus.Histogram
	changes           prometheus.Histogram
	elements          prometheus.Counter
	failures          prometheus.Counter
	staleFlows        prometheus.Counter
	staleFlowFailures prometheus.Counter
	saveDuration      prometheus.Histogram
	saveFailures      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, p *Proxy) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_node_" + name, Help: help})
	}
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "weft_node_sync_duration_seconds",
			Help:    "How long the kernel took to be programmed, by operation: apply (what changed) or restore (the whole compared).",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"operation"}),
		kubeDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kubeproxy_sync_proxy_rules_duration_seconds",
			Help:    "How long the kernel took to be programmed.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		changes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "weft_node_sync_changes",
			Help:    "How many frontends one flush set or deleted.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 9),
		}),
		elements:          counter("sync_elements_total", "Elements of kernel state added, changed or removed."),
		failures:          counter("sync_failures_total", "Flushes that failed as a whole and were repaired later."),
		staleFlows:        counter("stale_flows_deleted_total", "Flows deleted because they led to endpoints that are gone."),
		staleFlowFailures: counter("stale_flows_failures_total", "Times that not all stale flows could be found or deleted."),
		saveDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "weft_node_plan_write_duration_seconds",
			Help:    "How long writing the plan to disk took.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
		}),
		saveFailures: counter("plan_write_failures_total", "Times the plan could not be written to disk."),
	}
	if reg == nil {
		return m, nil
	}
	gauge := func(name, help string, value func(s Status) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(p.Status()) })
	}
	for _, c := range []prometheus.Collector{
		m.duration, m.kubeDuration, m.changes, m.elements, m.failures, m.staleFlows, m.staleFlowFailures, m.saveDuration, m.saveFailures,
		gauge("weft_node_frontends", "Addresses and ports in force.", func(s Status) float64 { return float64(s.Frontends) }),
		gauge("weft_node_endpoints", "Endpoints of all frontends together.", func(s Status) float64 { return float64(s.Endpoints) }),
		gauge("weft_node_refused_frontends", "Frontends the kernel would not take.", func(s Status) float64 { return float64(len(s.Refused)) }),
		gauge("weft_node_plan_from_disk", "1 while the plan in force is the last one kept on disk.", func(s Status) float64 { return boolean(s.Source == SourceDisk) }),
		gauge("weft_node_sync_last_timestamp_seconds", "When the kernel last was known to be right.", func(s Status) float64 { return seconds(s.LastFlush) }),
		gauge("weft_node_sync_waiting_since_timestamp_seconds", "Since when a change is not in force, 0 if none.", func(s Status) float64 { return seconds(s.WaitingSince) }),
		gauge("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the kernel last was known to be right.", func(s Status) float64 { return seconds(s.LastFlush) }),
		gauge("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "When a change last had to wait.", func(Status) float64 { return seconds(p.lastQueued()) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("serviceproxy: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) flushed(w work, elements int, took time.Duration) {
	operation := "apply"
	if w.restore {
		operation = "restore"
	} else {
		m.changes.Observe(float64(len(w.diff.Set) + len(w.diff.Delete)))
	}
	m.duration.WithLabelValues(operation).Observe(took.Seconds())
	m.kubeDuration.Observe(took.Seconds())
	m.elements.Add(float64(elements))
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
