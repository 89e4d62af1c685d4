package stats

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// Outcome is how a request ended, as far as it names a series.
type Outcome struct {
	Status int // 0: there was no response
	Flags  message.Flags
	GRPC   int // status of a gRPC call, -1 if it is none
}

// Service counts the requests and connections of one kind of traffic.
type Service struct {
	labels   string // rendered, of source and destination
	shards   int
	mu       sync.Mutex
	requests atomic.Pointer[map[Outcome]*requestSeries]
	opened   *Counter
	closed   *Counter
	sent     *Counter
	received *Counter
}

// maxOutcomes bounds the series of one destination: more combinations than this of codes and flags are counted as one.
const maxOutcomes = 256

// maxTraffics bounds the sets of series: what others say of themselves is part of their labels. Of what comes on top the peer is unknown.
const maxTraffics = 4096

// Service gives the counters of traffic, and makes them if they are new.
func (r *Registry) Service(t Traffic) *Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.traffics[t]
	if s == nil && len(r.traffics) >= maxTraffics && t.Peer != (Workload{}) {
		r.overflow.Add(1)
		t.Peer = Workload{}
		s = r.traffics[t]
	}
	if s == nil {
		s = &Service{
			labels: string(appendLabels(nil, t.labels(r.own))), shards: r.shards,
			opened: newCounter(r.shards), closed: newCounter(r.shards), sent: newCounter(r.shards), received: newCounter(r.shards),
		}
		s.requests.Store(&map[Outcome]*requestSeries{})
		r.traffics[t] = s
	}
	return s
}

// Forget drops the series of all traffic for which gone is true. What still counts there counts for nobody.
func (r *Registry) Forget(gone func(Traffic) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for t := range r.traffics {
		if gone(t) {
			delete(r.traffics, t)
		}
	}
}

// Request counts one request that has ended. Sizes are of bodies, in bytes.
func (s *Service) Request(shard Shard, o Outcome, took time.Duration, received, sent int64) {
	series := (*s.requests.Load())[o]
	if series == nil {
		series = s.outcome(o)
	}
	c := &series.cells[uint32(shard)&uint32(len(series.cells)-1)]
	ms := float64(took) / float64(time.Millisecond)
	c.duration.observe(ms, uint64(took/time.Microsecond))
	c.received.observe(float64(received), uint64(received))
	c.sent.observe(float64(sent), uint64(sent))
}

func (s *Service) outcome(o Outcome) *requestSeries {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.requests.Load()
	if len(old) >= maxOutcomes {
		o = Outcome{GRPC: -1}
	}
	if have := old[o]; have != nil {
		return have
	}
	next := make(map[Outcome]*requestSeries, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	series := &requestSeries{cells: make([]requestCell, s.shards)}
	next[o] = series
	s.requests.Store(&next)
	return series
}

// Opened counts a TCP connection that went to the destination.
func (s *Service) Opened(shard Shard) { s.opened.Add(shard, 1) }

// Closed counts its end.
func (s *Service) Closed(shard Shard) { s.closed.Add(shard, 1) }

// Bytes counts what a connection carried since the last call: from the client, and to it.
func (s *Service) Bytes(shard Shard, received, sent int64) {
	s.received.Add(shard, uint64(received))
	s.sent.Add(shard, uint64(sent))
}
