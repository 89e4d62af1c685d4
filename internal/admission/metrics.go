package admission

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
}

// newMetrics makes the metrics; without a registry nobody sees them.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weft_injection_requests_total",
			Help: "Pods that the API server asked about, by what became of them (injected, unchanged, refused, invalid) and why they are unchanged.",
		}, []string{"result", "reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "weft_injection_seconds", Help: "Time to answer the API server about a Pod.", Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10},
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("admission: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) asked(o outcome, took time.Duration) {
	m.requests.WithLabelValues(o.result, o.reason).Inc()
	m.seconds.Observe(took.Seconds())
}
