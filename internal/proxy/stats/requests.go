package stats

import (
	"cmp"
	"slices"
	"strconv"
	"sync/atomic"
)

// bounds of every histogram's buckets: Envoy's, which Istio's dashboards are made for. Durations are milliseconds, sizes bytes.
var bounds = [...]float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000}

// histogram is one shard of a histogram.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Uint64
}

// observe counts a value in its bucket; add is what it adds to the sum, in the sum's own unit.
func (h *histogram) observe(v float64, add uint64) {
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	if add != 0 {
		h.sum.Add(add)
	}
}

// requestSeries is the requests of one destination that ended the same way.
type requestSeries struct{ cells []requestCell }

// requestCell is one shard of it. How many requests there were is how many durations were seen.
type requestCell struct {
	duration, received, sent histogram
	_                        [8]byte
}

// total adds the shards of a histogram up.
func (s *requestSeries) total(of func(*requestCell) *histogram) (counts []uint64, sum, n uint64) {
	counts = make([]uint64, len(bounds)+1)
	for i := range s.cells {
		h := of(&s.cells[i])
		sum += h.sum.Load()
		for b := range h.buckets {
			v := h.buckets[b].Load()
			counts[b] += v
			n += v
		}
	}
	return counts, sum, n
}

func durations(c *requestCell) *histogram { return &c.duration }
func requestSizes(c *requestCell) *histogram {
	return &c.received
}
func responseSizes(c *requestCell) *histogram { return &c.sent }

// writeServices writes the istio_ series of all destinations, one name after the other.
func writeServices(t *Text, services []*Service) {
	type line struct {
		labels string
		series *requestSeries
	}
	var lines []line
	for _, s := range services {
		byOutcome := *s.requests.Load()
		outcomes := make([]Outcome, 0, len(byOutcome))
		for o := range byOutcome {
			outcomes = append(outcomes, o)
		}
		slices.SortFunc(outcomes, func(a, b Outcome) int {
			return cmp.Or(cmp.Compare(a.Status, b.Status), cmp.Compare(a.Flags, b.Flags), cmp.Compare(a.GRPC, b.GRPC))
		})
		for _, o := range outcomes {
			lines = append(lines, line{s.labels + o.labels(), byOutcome[o]})
		}
	}
	for _, l := range lines {
		_, _, n := l.series.total(durations)
		t.describe("istio_requests_total", "Requests that have ended.", "counter")
		t.rendered("istio_requests_total", l.labels)
		t.buf = append(strconv.AppendUint(t.buf, n, 10), '\n')
	}
	for _, h := range []struct {
		name, help string
		of         func(*requestCell) *histogram
		unit       float64
	}{
		{"istio_request_duration_milliseconds", "How long requests took.", durations, 1000},
		{"istio_request_bytes", "Sizes of request bodies.", requestSizes, 1},
		{"istio_response_bytes", "Sizes of response bodies.", responseSizes, 1},
	} {
		for _, l := range lines {
			counts, sum, _ := l.series.total(h.of)
			t.histogram(h.name, h.help, l.labels, bounds[:], counts, float64(sum)/h.unit)
		}
	}
	for _, c := range []struct {
		name, help string
		of         func(*Service) *Counter
	}{
		{"istio_tcp_connections_opened_total", "TCP connections that were opened.", func(s *Service) *Counter { return s.opened }},
		{"istio_tcp_connections_closed_total", "TCP connections that were closed.", func(s *Service) *Counter { return s.closed }},
		{"istio_tcp_received_bytes_total", "Bytes that came from clients over TCP.", func(s *Service) *Counter { return s.received }},
		{"istio_tcp_sent_bytes_total", "Bytes that went to clients over TCP.", func(s *Service) *Counter { return s.sent }},
	} {
		for _, s := range services {
			if s.opened.Value() == 0 {
				continue
			}
			t.describe(c.name, c.help, "counter")
			t.rendered(c.name, s.labels+`,request_protocol="tcp",response_flags="-"`)
			t.buf = append(strconv.AppendUint(t.buf, c.of(s).Value(), 10), '\n')
		}
	}
}

// labels renders what an outcome adds to the labels of its destination.
func (o Outcome) labels() string {
	protocol, grpc := "http", ""
	if o.GRPC >= 0 {
		protocol, grpc = "grpc", strconv.Itoa(o.GRPC)
	}
	return string(appendLabels([]byte{','}, []Label{
		{"request_protocol", protocol}, {"response_code", strconv.Itoa(o.Status)}, {"grpc_response_status", grpc}, {"response_flags", o.Flags.String()},
	}))
}
