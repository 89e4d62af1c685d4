package control

import "github.com/prometheus/client_golang/prometheus"

// collector shows a Control to an operator's graphs.
type collector struct{ c *Control }

var (
	leaderDesc  = prometheus.NewDesc("weft_control_leader", "1 if this replica writes statuses and Events.", nil, nil)
	waitingDesc = prometheus.NewDesc("weft_status_waiting", "Services whose status is to be written, by the replica that may.", nil, nil)
	sizeDesc    = prometheus.NewDesc("weft_address_pool_size", "Addresses in a pool.", []string{"pool"}, nil)
	usedDesc    = prometheus.NewDesc("weft_address_pool_used", "Addresses of a pool that Services have.", []string{"pool"}, nil)
	freeDesc    = prometheus.NewDesc("weft_address_pool_free", "Addresses of a pool that can be given.", []string{"pool"}, nil)
)

// Describe lists the metrics.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{leaderDesc, waitingDesc, sizeDesc, usedDesc, freeDesc} {
		ch <- d
	}
}

// Collect gives their values.
func (m collector) Collect(ch chan<- prometheus.Metric) {
	s := m.c.Status()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	leading := 0.0
	if s.Leading {
		leading = 1
	}
	gauge(leaderDesc, leading)
	gauge(waitingDesc, float64(s.Writer.Waiting))
	for _, p := range s.Pools {
		gauge(sizeDesc, float64(p.Size), p.Name)
		gauge(usedDesc, float64(p.Used), p.Name)
		gauge(freeDesc, float64(p.Free), p.Name)
	}
}
