package upstream

import (
	"net/netip"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// state is what load balancing makes of an endpoint.
type state uint8

const (
	healthyState state = iota
	degradedState
	unhealthyState
)

// attributes is what is said of an endpoint beside its address. They change with the assignment.
type attributes struct {
	weight, priority uint32
	locality         Locality
	hostname         string
	declared         state // health_status
	metadata         *corev3.Metadata
	check            *endpointv3.Endpoint_HealthCheckConfig
}

// Endpoint is one address of a cluster. It lives as long as the address is in the assignment, and longer for those who hold it: what was begun on
// it can be finished. It is safe for concurrent use.
type Endpoint struct {
	cluster *Cluster
	key     string                    // the address as it was declared; what ring hash and maglev know it by
	address atomic.Pointer[[]address] // where connections go, in the order in which they are tried; never empty
	attrs   atomic.Pointer[attributes]
	pools   atomic.Pointer[pools]
	born    time.Time // when it joined, or became healthy: where slow start begins; guarded by Cluster.mu

	active   atomic.Int64 // exchanges
	failed   atomic.Uint32
	gone     atomic.Bool // not in the assignment any more
	stats    endpointStats
	outlier  outlierState
	checks   []*checker             // guarded by Cluster.mu
	identity atomic.Pointer[string] // SPIFFE ID that it proved last
	note     atomic.Value
	// The rounds of updates in which it was first and last there; guarded by Cluster.mu.
	joined, seen uint64
}

// endpointStats is what an endpoint counts, by the names of /clusters.
type endpointStats struct {
	cxTotal, cxActive, cxConnectFail       atomic.Int64
	rqTotal, rqError, rqSuccess, rqTimeout atomic.Int64
}

// The reasons for which an endpoint gets no requests, as bits of Endpoint.failed.
const (
	failedCheck   uint32 = 1 << iota // an active health check fails, or the first one is not done
	failedOutlier                    // ejected
)

// health is what the balancer makes of it.
func (e *Endpoint) health() state {
	if e.failed.Load() != 0 {
		return unhealthyState
	}
	return e.attrs.Load().declared
}

// Address is the address as the assignment has it, "10.0.0.1:80" or the path of a Unix socket; for LOGICAL_DNS "name:80".
func (e *Endpoint) Address() string { return e.key }

// RemoteAddress is where connections go now: for LOGICAL_DNS what the name was resolved to, else Address.
func (e *Endpoint) RemoteAddress() string { return (*e.address.Load())[0].text }

// RemoteAddrPort is RemoteAddress, if that is an IP address with a port; else it is not valid.
func (e *Endpoint) RemoteAddrPort() netip.AddrPort { return (*e.address.Load())[0].ip }

// Hostname is the name the assignment gives the endpoint, or "": what auto_host_rewrite puts into Host.
func (e *Endpoint) Hostname() string { return e.attrs.Load().hostname }

// Locality is where the assignment says it is.
func (e *Endpoint) Locality() Locality { return e.attrs.Load().locality }

// Metadata is what the assignment says of the endpoint; it may be nil and is not to be changed.
func (e *Endpoint) Metadata() *corev3.Metadata { return e.attrs.Load().metadata }

// Identity is the SPIFFE ID in the certificate that the endpoint has last shown; "" is none.
func (e *Endpoint) Identity() string {
	if id := e.identity.Load(); id != nil {
		return *id
	}
	return ""
}

// Note is what SetNote left: whoever sends requests may keep something with an endpoint. All notes are of one type.
func (e *Endpoint) Note() any { return e.note.Load() }

// SetNote leaves something with the endpoint.
func (e *Endpoint) SetNote(v any) { e.note.Store(v) }

// Cluster is whose endpoint it is.
func (e *Endpoint) Cluster() *Cluster { return e.cluster }

// Active is how many exchanges are under way.
func (e *Endpoint) Active() int64 { return e.active.Load() }

// snapshot is the endpoint as admin shows it.
func (e *Endpoint) snapshot() EndpointSnapshot {
	a, s := e.attrs.Load(), &e.stats
	out := EndpointSnapshot{
		Address: e.key, Hostname: a.hostname, Weight: a.weight, Priority: a.priority, Locality: a.locality,
		Ejections: e.outlier.ejections.Load(), Health: "healthy",
		Stats: []Stat{
			{"cx_active", s.cxActive.Load(), true}, {"cx_connect_fail", s.cxConnectFail.Load(), false}, {"cx_total", s.cxTotal.Load(), false},
			{"rq_active", e.active.Load(), true}, {"rq_error", s.rqError.Load(), false}, {"rq_success", s.rqSuccess.Load(), false},
			{"rq_timeout", s.rqTimeout.Load(), false}, {"rq_total", s.rqTotal.Load(), false},
		},
	}
	flags := ""
	failed := e.failed.Load()
	if failed&failedCheck != 0 {
		flags += "/failed_active_hc"
	}
	if failed&failedOutlier != 0 {
		flags += "/failed_outlier_check"
	}
	switch a.declared {
	case unhealthyState:
		flags += "/failed_eds_health"
	case degradedState:
		flags += "/degraded_eds_health"
	}
	if flags != "" {
		out.Health = flags
	}
	return out
}
