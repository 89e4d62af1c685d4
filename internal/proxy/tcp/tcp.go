// Package tcp carries bytes between a client and an endpoint, as Envoy's filter envoy.filters.network.tcp_proxy: whatever they mean, and in both
// directions until both have ended.
//
// It owns the choice among weighted clusters, attempts to connect, idle connections, and what is counted and logged of a connection. It never looks at
// a byte. Where both sides are TCP the kernel moves them (splice).
//
// Of TcpProxy it takes cluster, weighted_clusters, idle_timeout, max_connect_attempts, max_downstream_connection_duration, access_log and
// hash_policy by source address; stat_prefix, downstream_idle_timeout and the like are without effect, tunneling_config and on_demand are refused.
package tcp

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/weftmesh/weft/internal/proxy/accesslog"
	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/format"
	"github.com/weftmesh/weft/internal/proxy/listen"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// Env is what the proxies of a process share.
type Env struct {
	Clusters *upstream.Set
	OpenLog  func(path string) (*accesslog.Writer, error)
	Format   format.Options
	Counters Counters
	// Inbound: connections come to the proxy's own workload.
	Inbound bool
}

// Counters is where connections are counted.
type Counters interface {
	// Service is for those that go to a cluster, but came to none of its endpoints.
	Service(*upstream.Cluster) *stats.Service
	// Endpoint is for those that go to an endpoint.
	Endpoint(*upstream.Endpoint) *stats.Service
	// Inbound is for those that come to our own workload, from an address, of a peer with a SPIFFE ID, or "".
	Inbound(c *upstream.Cluster, from netip.Addr, principal string) *stats.Service
}

// Proxy is a compiled TcpProxy. It is not changed once made.
type Proxy struct {
	env      *Env
	clusters []weighted
	total    uint64
	attempts int
	idle     time.Duration
	maxAge   time.Duration
	byHash   bool
	origin   string
	log      *accesslog.Log
}

type weighted struct {
	name   string
	weight uint32
}

// New compiles a TcpProxy. Errors name the field. origin is the rule that it was made from.
func New(m *tcpv3.TcpProxy, origin string, env *Env) (*Proxy, error) {
	p := &Proxy{env: env, attempts: max(1, int(m.GetMaxConnectAttempts().GetValue())), idle: time.Hour, origin: origin}
	if m.GetTunnelingConfig() != nil {
		return nil, field.Errorf("tunneling_config", "this proxy does not know it")
	}
	if m.GetOnDemand() != nil {
		return nil, field.Errorf("on_demand", "this proxy does not know it")
	}
	switch s := m.GetClusterSpecifier().(type) {
	case *tcpv3.TcpProxy_Cluster:
		p.clusters = []weighted{{s.Cluster, 1}}
	case *tcpv3.TcpProxy_WeightedClusters:
		for _, w := range s.WeightedClusters.GetClusters() {
			p.clusters = append(p.clusters, weighted{w.GetName(), w.GetWeight()})
		}
	}
	for _, c := range p.clusters {
		p.total += uint64(c.weight)
	}
	if p.total == 0 {
		return nil, field.Errorf("cluster_specifier", "no cluster with a weight")
	}
	if m.GetIdleTimeout() != nil {
		p.idle = max(0, m.GetIdleTimeout().AsDuration())
	}
	p.maxAge = max(0, m.GetMaxDownstreamConnectionDuration().AsDuration())
	for i, h := range m.GetHashPolicy() {
		if h.GetSourceIp() == nil {
			return nil, field.At("hash_policy", i, errors.New("only source_ip is known"))
		}
		p.byHash = true
	}
	var err error
	p.log, err = accesslog.Compile(m.GetAccessLog(), env.OpenLog, env.Format)
	return p, err
}

// Clusters are the names of the clusters that connections go to.
func (p *Proxy) Clusters() []string {
	out := make([]string, 0, len(p.clusters))
	for _, c := range p.clusters {
		out = append(out, c.name)
	}
	return out
}

func (p *Proxy) pick() string {
	if len(p.clusters) > 1 {
		at := rand.Uint64N(p.total)
		for _, c := range p.clusters {
			if at < uint64(c.weight) {
				return c.name
			}
			at -= uint64(c.weight)
		}
	}
	return p.clusters[0].name
}

// Refused implements [listen.Refuser]: the access log says why.
func (p *Proxy) Refused(c *listen.Conn) {
	p.log.Write(&message.Info{
		Start: time.Now(), Client: c.Peer, Source: c.Peer, Peer: c.Transport, Local: c.Local, ConnectionID: c.ID, ServerName: c.ServerName, Origin: p.origin,
		Termination: c.Refusal,
	})
}

// counters is where a connection is counted; up is nil if it came to no endpoint.
func (p *Proxy) counters(c *listen.Conn, cluster *upstream.Cluster, up *upstream.Conn) *stats.Service {
	switch {
	case p.env.Inbound:
		return p.env.Counters.Inbound(cluster, c.Peer.Addr(), c.Principal)
	case up != nil:
		return p.env.Counters.Endpoint(up.Endpoint())
	}
	return p.env.Counters.Service(cluster)
}
