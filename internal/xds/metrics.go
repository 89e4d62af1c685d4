package xds

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics show a server to an operator's graphs.
type metrics struct {
	pushes, bytes, rejections *prometheus.CounterVec
	latency                   *prometheus.HistogramVec
	refused, denied           prometheus.Counter
}

func newMetrics(r prometheus.Registerer, proxies func() float64) (*metrics, error) {
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"type"})
	}
	m := &metrics{
		pushes:     vec("weft_xds_pushes_total", "Responses sent to proxies."),
		bytes:      vec("weft_xds_push_bytes_total", "Bytes of resources sent to proxies."),
		rejections: vec("weft_xds_rejects_total", "Responses that proxies have rejected."),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "weft_xds_push_seconds", Help: "Time from sending a response to the proxy's answer.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, []string{"type"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_xds_refused_total", Help: "Streams that were refused because the client could not be authenticated."}),
		denied:  prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_xds_secrets_denied_total", Help: "Secrets that a proxy asked for and may not have."}),
	}
	for k := range kinds {
		for _, v := range []*prometheus.CounterVec{m.pushes, m.bytes, m.rejections} {
			v.WithLabelValues(k.String())
		}
	}
	if r == nil {
		return m, nil
	}
	connected := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weft_xds_proxies", Help: "Proxies that are connected."}, proxies)
	for _, c := range []prometheus.Collector{m.pushes, m.bytes, m.rejections, m.latency, m.refused, m.denied, connected} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("xds: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) pushed(k kind, size int) {
	m.pushes.WithLabelValues(k.String()).Inc()
	m.bytes.WithLabelValues(k.String()).Add(float64(size))
}

func (m *metrics) answered(k kind, took time.Duration, rejected bool) {
	m.latency.WithLabelValues(k.String()).Observe(took.Seconds())
	if rejected {
		m.rejections.WithLabelValues(k.String()).Inc()
	}
}
