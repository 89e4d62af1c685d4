package kube

import "github.com/prometheus/client_golang/prometheus"

// Collector gives the status of sources as metrics, labelled by kind and source.
func Collector(sources ...Source) prometheus.Collector { return collector(sources) }

type collector []Source

var (
	labels      = []string{"kind", "source"}
	connectedOf = prometheus.NewDesc("weft_source_connected", "Whether changes of the kind arrive (1) or not (0).", labels, nil)
	syncedOf    = prometheus.NewDesc("weft_source_synced", "Whether all objects of the kind were seen once (1) or not (0).", labels, nil)
	objectsOf   = prometheus.NewDesc("weft_source_objects", "Objects of the kind that the source holds.", labels, nil)
	eventsOf    = prometheus.NewDesc("weft_source_events_total", "Changes of the kind that arrived after the first list.", labels, nil)
	lastOf      = prometheus.NewDesc("weft_source_last_event_timestamp_seconds", "When the source last gave a sign of life for the kind.", labels, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connectedOf, syncedOf, objectsOf, eventsOf, lastOf} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, src := range c {
		for _, s := range src.Status() {
			gauge := func(d *prometheus.Desc, v float64) {
				ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.Kind, s.Source)
			}
			gauge(connectedOf, truth(s.Connected))
			gauge(syncedOf, truth(s.Synced))
			gauge(objectsOf, float64(s.Objects))
			if !s.LastEvent.IsZero() {
				gauge(lastOf, float64(s.LastEvent.UnixMilli())/1000)
			}
			ch <- prometheus.MustNewConstMetric(eventsOf, prometheus.CounterValue, float64(s.Events), s.Kind, s.Source)
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
