package hcm

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/internal/proxy/http2"
	"github.com/weftmesh/weft/internal/proxy/peer"
	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// Metrics are what exchanges count.
type Metrics struct {
	// WorkloadAt says who runs at an address, for peers that do not say it themselves; nil knows nobody. It is not changed once there is traffic.
	WorkloadAt func(netip.Addr) stats.Workload

	registry  *stats.Registry
	principal func() string

	ProtocolErrors, Panics, MirrorDropped, BadPeers *stats.Counter
	Active                                          *stats.Gauge
	Floods                                          map[http2.Flood]*stats.Counter

	mu       sync.Mutex
	services atomic.Pointer[map[*upstream.Cluster]*stats.Service]
	nowhere  *stats.Service
}

// NewMetrics makes them. principal gives the proxy's own SPIFFE ID, "" as long as it has none.
func NewMetrics(r *stats.Registry, principal func() string) *Metrics {
	m := &Metrics{
		registry:       r,
		principal:      principal,
		BadPeers:       r.Counter("weft_proxy_peer_metadata_invalid_total", "Heads in which somebody says whose proxy he is, in a form that is not understood."),
		ProtocolErrors: r.Counter("weft_proxy_downstream_protocol_errors_total", "Connections that were closed because the client broke the protocol."),
		Panics:         r.Counter("weft_proxy_panics_total", "Connections that were closed because serving them panicked."),
		MirrorDropped:  r.Counter("weft_proxy_mirror_dropped_total", "Requests that were not mirrored: too many at a time, or a body that is too long to keep."),
		Active:         r.Gauge("weft_proxy_requests_active", "Requests that are being served."),
		nowhere:        r.Service(stats.Traffic{}),
		Floods:         map[http2.Flood]*stats.Counter{},
	}
	m.services.Store(&map[*upstream.Cluster]*stats.Service{})
	for f := http2.NoFlood + 1; f <= http2.Unread; f++ {
		m.Floods[f] = r.Counter("weft_proxy_downstream_http2_floods_total", "Connections that were cut off because the client sent too much that only costs.",
			stats.Label{Name: "kind", Value: f.String()})
	}
	return m
}

// Service gives the counters of what went to a cluster, but to none of its endpoints; nil is no cluster.
func (m *Metrics) Service(c *upstream.Cluster) *stats.Service {
	if c == nil {
		return m.nowhere
	}
	if s := (*m.services.Load())[c]; s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.services.Load()
	if s := old[c]; s != nil {
		return s
	}
	next := make(map[*upstream.Cluster]*stats.Service, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	s := m.registry.Service(traffic(c))
	next[c] = s
	m.services.Store(&next)
	return s
}

// Endpoint gives the counters of what went to an endpoint.
func (m *Metrics) Endpoint(e *upstream.Endpoint) *stats.Service { return m.target(e).service }

// Inbound gives the counters of connections that came to a cluster of our own workload; nil is no cluster. principal is the peer's, "" without mutual
// TLS.
func (m *Metrics) Inbound(c *upstream.Cluster, from netip.Addr, principal string) *stats.Service {
	return m.inbound(c, m.at(from), principal)
}

// at is who runs at an address, as far as anybody has said.
func (m *Metrics) at(ip netip.Addr) stats.Workload {
	if m.WorkloadAt == nil || !ip.IsValid() {
		return stats.Workload{}
	}
	return m.WorkloadAt(ip.Unmap())
}

func (m *Metrics) inbound(c *upstream.Cluster, peer stats.Workload, principal string) *stats.Service {
	t := stats.Traffic{}
	if c != nil {
		t = traffic(c)
	}
	t.Inbound, t.Peer, t.Secured = true, peer, principal != ""
	if t.Peer.Principal = principal; t.Secured {
		t.Principal = m.principal()
	}
	return m.registry.Service(t)
}

// traffic is what goes to a cluster.
func traffic(c *upstream.Cluster) stats.Traffic {
	t := stats.Traffic{Cluster: strings.Clone(c.Name())}
	services := c.Metadata().GetFilterMetadata()["istio"].GetFields()["services"].GetListValue().GetValues()
	if len(services) > 0 {
		f := services[0].GetStructValue().GetFields()
		t.Host, t.Service, t.Namespace = f["host"].GetStringValue(), f["name"].GetStringValue(), f["namespace"].GetStringValue()
	}
	return t
}

// target is where what goes to an endpoint is counted, and what that was decided by. It does not change.
type target struct {
	service  *stats.Service
	cluster  *corev3.Metadata
	endpoint *corev3.Metadata
	identity string
	claim    *claim
}

// target gives it, made anew when something it was decided by has changed.
func (m *Metrics) target(e *upstream.Endpoint) *target {
	t, _ := e.Note().(*target)
	if t != nil && t.endpoint == e.Metadata() && t.identity == e.Identity() && t.cluster == e.Cluster().Metadata() {
		return t
	}
	var known *claim
	if t != nil && t.identity == e.Identity() {
		known = t.claim
	}
	return m.retarget(e, known)
}

// retarget decides anew, by what the endpoint's proxy says; nil is nothing.
func (m *Metrics) retarget(e *upstream.Endpoint, said *claim) *target {
	t := &target{cluster: e.Cluster().Metadata(), endpoint: e.Metadata(), identity: e.Identity(), claim: said}
	to := traffic(e.Cluster())
	if said != nil {
		to.Peer = said.Workload
	} else if text := e.Metadata().GetFilterMetadata()["istio"].GetFields()["workload"].GetStringValue(); text != "" {
		to.Peer = peer.FromEndpoint(text)
	} else {
		to.Peer = m.at(e.RemoteAddrPort().Addr())
	}
	if to.Peer.Principal = t.identity; t.identity != "" {
		to.Principal, to.Secured = m.principal(), true
	}
	t.service = m.registry.Service(to)
	e.SetNote(t)
	return t
}

// Forget drops the counters of clusters that are gone, once the set has no cluster of the name any more.
func (m *Metrics) Forget(set *upstream.Set) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := map[*upstream.Cluster]*stats.Service{}
	for c, s := range *m.services.Load() {
		if set.Get(c.Name()) == c {
			next[c] = s
		}
	}
	m.services.Store(&next)
	m.registry.Forget(func(t stats.Traffic) bool { return t.Cluster != "" && set.Get(t.Cluster) == nil })
}
