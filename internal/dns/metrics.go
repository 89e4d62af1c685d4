package dns

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Register adds the server's metrics to a registry. The names are CoreDNS' with another prefix where the meaning is the same.
func (s *Server) Register(r prometheus.Registerer) error {
	return r.Register(collector{s, describe()})
}

// collector reads the counters when somebody asks, so that counting itself stays cheap.
type collector struct {
	s *Server
	d descs
}

type descs struct {
	requests, responses, duration, dropped, overloaded, panics, waiting, connections *prometheus.Desc
	ready, services, records, revision, changed                                      *prometheus.Desc
	cacheEntries, cacheBytes, cacheHits, cacheMisses, cacheStale                     *prometheus.Desc
	forwardRequests, forwardFailures, forwardHealthy                                 *prometheus.Desc

	all []*prometheus.Desc
}

func describe() descs {
	var all []*prometheus.Desc
	d := func(name, help string, labels ...string) *prometheus.Desc {
		all = append(all, prometheus.NewDesc("weft_dns_"+name, help, labels, nil))
		return all[len(all)-1]
	}
	ds := descs{
		requests:        d("requests_total", "Queries answered.", "proto", "family", "zone", "type"),
		responses:       d("responses_total", "Answers given, by response code.", "zone", "rcode"),
		duration:        d("request_duration_seconds", "Time from reading a query, or the batch it came with, to its answer.", "proto", "zone"),
		dropped:         d("dropped_total", "Packets that were no queries and got no answer."),
		overloaded:      d("overloaded_total", "Questions and connections refused because too many were waiting or open."),
		panics:          d("panics_total", "Queries that failed by a defect of the server."),
		waiting:         d("forward_waiting", "Questions that wait for an upstream."),
		connections:     d("tcp_connections", "Open TCP connections."),
		ready:           d("ready", "1 if the zone holds all that there is."),
		services:        d("zone_services", "Services in the zone."),
		records:         d("zone_records", "Resource records in the zone."),
		revision:        d("zone_changes_total", "Changes of the zone that meant something."),
		changed:         d("zone_changed_timestamp_seconds", "When the zone last changed."),
		cacheEntries:    d("cache_entries", "Answers of upstreams that are kept."),
		cacheBytes:      d("cache_bytes", "Memory of the kept answers, about."),
		cacheHits:       d("cache_hits_total", "Questions answered from kept answers."),
		cacheMisses:     d("cache_misses_total", "Questions that upstreams had to be asked for."),
		cacheStale:      d("cache_served_stale_total", "Times an expired answer stood in because no upstream answered."),
		forwardRequests: d("forward_requests_total", "Questions sent to an upstream.", "to"),
		forwardFailures: d("forward_failures_total", "Questions that an upstream did not answer.", "to"),
		forwardHealthy:  d("forward_healthy", "1 if the upstream answers.", "to"),
	}
	ds.all = all
	return ds
}

// Describe is part of [prometheus.Collector].
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.d.all {
		ch <- d
	}
}

// Collect is part of [prometheus.Collector].
func (c collector) Collect(ch chan<- prometheus.Metric) {
	st, sum, d := c.s.Stats(), c.s.sum(), &c.d
	counter := func(desc *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	c.collectQueries(ch, sum, counter)
	counter(d.dropped, st.Dropped)
	counter(d.overloaded, st.Overloaded)
	counter(d.panics, st.Panics)
	gauge(d.waiting, float64(st.Waiting))
	gauge(d.connections, float64(st.Connections))
	gauge(d.ready, truth(st.Ready))
	gauge(d.services, float64(st.Zone.Services))
	gauge(d.records, float64(st.Zone.Records))
	counter(d.revision, st.Zone.Revision)
	gauge(d.changed, float64(st.Zone.Changed.UnixMilli())/1000)
	if c.s.fwd == nil {
		return
	}
	f := st.Forward
	gauge(d.cacheEntries, float64(f.CacheEntries))
	gauge(d.cacheBytes, float64(f.CacheBytes))
	counter(d.cacheHits, f.Hits)
	counter(d.cacheMisses, f.Misses)
	counter(d.cacheStale, f.Stale)
	for _, u := range f.Upstreams {
		counter(d.forwardRequests, u.Asked, u.Address)
		counter(d.forwardFailures, u.Failed, u.Address)
		gauge(d.forwardHealthy, truth(u.Healthy), u.Address)
	}
}

// collectQueries gives what was counted of queries; combinations that never occurred are left out.
func (c collector) collectQueries(ch chan<- prometheus.Metric, sum *counters, counter func(*prometheus.Desc, uint64, ...string)) {
	zones := [zoneCount]string{inCluster: c.s.zone.Stats().Domain, inReverse: "arpa.", elsewhere: "."}
	for p, proto := range [...]string{"udp", "tcp"} {
		for z, zone := range zones {
			for f, family := range [...]string{"1", "2"} {
				for t := range types {
					if n := sum.requests[requestIndex(transport{tcp: p == 1, ipv6: f == 1}, z, t)].Load(); n > 0 {
						counter(c.d.requests, n, proto, family, zone, types[t].name)
					}
				}
			}
			if n, seconds, upTo := sum.durations[p*zoneCount+z].read(); n > 0 {
				ch <- prometheus.MustNewConstHistogram(c.d.duration, n, seconds, upTo, proto, zone)
			}
		}
	}
	for z, zone := range zones {
		for i, code := range codes {
			if n := sum.responses[z*codeCount+i].Load(); n > 0 {
				counter(c.d.responses, n, zone, code)
			}
		}
	}
}

// read gives a histogram as Prometheus wants it: the buckets cumulated, by their upper bounds in seconds.
func (h *histogram) read() (n uint64, seconds float64, upTo map[float64]uint64) {
	upTo = make(map[float64]uint64, buckets-1)
	for i := range h.buckets {
		n += h.buckets[i].Load()
		if i < buckets-1 {
			upTo[float64(uint64(1)<<(bucketShift+i))/1e9] = n
		}
	}
	return n, float64(h.nanos.Load()) / 1e9, upTo
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
