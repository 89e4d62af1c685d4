package dns

import (
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/dns/wire"
)

// counters are what one worker counts. Nobody else writes to those of a UDP reader, so counting costs no traffic between processors.
type counters struct {
	requests  [2 * 2 * zoneCount * typeCount]atomic.Uint64 // by transport, family, zone and type: see requestIndex
	responses [zoneCount * codeCount]atomic.Uint64         // by zone and code
	durations [2 * zoneCount]histogram                     // by transport and zone

	dropped, overloaded, panics atomic.Uint64
}

// histogram counts durations by powers of two.
type histogram struct {
	buckets [buckets]atomic.Uint64
	nanos   atomic.Uint64
}

// buckets are those up to 4 µs, 8 µs and so on to 8.6 s, and the rest.
const (
	buckets     = 23
	bucketShift = 12 // the first is up to 2^12 ns
)

// types are the record types that are counted by name; the last counts all others.
var types = [...]struct {
	t    wire.Type
	name string
}{
	{wire.TypeA, "A"}, {wire.TypeAAAA, "AAAA"}, {wire.TypeSRV, "SRV"}, {wire.TypePTR, "PTR"}, {wire.TypeCNAME, "CNAME"}, {wire.TypeTXT, "TXT"},
	{wire.TypeSOA, "SOA"}, {wire.TypeNS, "NS"}, {wire.TypeMX, "MX"}, {wire.TypeHTTPS, "HTTPS"}, {wire.TypeSVCB, "SVCB"}, {wire.TypeANY, "ANY"},
	{0, "other"},
}

const typeCount = len(types)

func typeIndex(t wire.Type) int {
	for i := range types {
		if types[i].t == t {
			return i
		}
	}
	return typeCount - 1
}

// codes are the names of response codes in a header; the last counts all others.
var codes = [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "other"}

const codeCount = len(codes)

func requestIndex(via transport, zone, typ int) int {
	i := 0
	if via.tcp {
		i = 2
	}
	if via.ipv6 {
		i++
	}
	return (i*zoneCount+zone)*typeCount + typ
}

// done counts a query with its answer.
func (c *counters) done(via transport, zone int, t wire.Type, reply []byte, took time.Duration) {
	c.requests[requestIndex(via, zone, typeIndex(t))].Add(1)
	c.responses[zone*codeCount+min(int(reply[3]&15), codeCount-1)].Add(1)
	i := zone
	if via.tcp {
		i += zoneCount
	}
	c.durations[i].observe(took)
}

func (h *histogram) observe(d time.Duration) {
	n := uint64(max(0, d))
	h.nanos.Add(n)
	i := 0
	for i < buckets-1 && n > 1<<(bucketShift+i) {
		i++
	}
	h.buckets[i].Add(1)
}

// add adds what o has counted.
func (c *counters) add(o *counters) {
	for i := range c.requests {
		c.requests[i].Add(o.requests[i].Load())
	}
	for i := range c.responses {
		c.responses[i].Add(o.responses[i].Load())
	}
	for i := range c.durations {
		h, g := &c.durations[i], &o.durations[i]
		h.nanos.Add(g.nanos.Load())
		for j := range h.buckets {
			h.buckets[j].Add(g.buckets[j].Load())
		}
	}
	c.dropped.Add(o.dropped.Load())
	c.overloaded.Add(o.overloaded.Load())
	c.panics.Add(o.panics.Load())
}

// sum adds up what all workers have counted.
func (s *Server) sum() *counters {
	c := new(counters)
	for _, o := range s.all {
		c.add(o)
	}
	return c
}
