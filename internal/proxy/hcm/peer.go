package hcm

import (
	"strings"
	"sync/atomic"

	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/peer"
	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// claim is what the other end of a connection says of itself. It does not change.
type claim struct {
	raw string // as it was said
	peer.Said
}

// clientPeer is what a connection knows of the client's proxy, and where its requests are counted.
type clientPeer struct {
	claim   atomic.Pointer[claim]
	counted atomic.Pointer[inboundCount]
}

// inboundCount is where requests of a claim to a cluster are counted.
type inboundCount struct {
	cluster *upstream.Cluster
	claim   *claim
	service *stats.Service
}

// takeClaim takes what the client's proxy says of itself out of a request: the application does not see it. With mutual TLS it holds for the
// whole connection, at whose other end there is one proxy.
func (x *exchange) takeClaim() {
	f := &x.info.Request.Fields
	value, ok := f.Get(peer.Field)
	_, id := f.Get(peer.IDField)
	if ok || id {
		x.asked = x.m.inbound
		value = strings.Clone(value)
		f.DelFunc(func(h message.Field) bool { return h.Name == peer.Field || h.Name == peer.IDField })
	}
	if !x.m.inbound {
		return // an application says nothing in its proxy's place
	}
	known := x.c.peer.claim.Load()
	if !ok {
		x.claim = known
		return
	}
	if known == nil || known.raw != value {
		said, understood := peer.Parse(value)
		if !understood {
			x.m.env.Metrics.BadPeers.Add(x.c.Shard, 1)
			return
		}
		known = &claim{value, said}
		if x.c.peerURISAN != "" {
			x.c.peer.claim.Store(known)
		}
	}
	x.claim = known
}

// answerClaim tells the client's proxy whose we are, if it has told.
func (x *exchange) answerClaim(r *message.Response) {
	if self := &x.m.env.Self; x.asked && self.Value != "" {
		r.Fields.Set(peer.IDField, self.ID)
		r.Fields.Set(peer.Field, self.Value)
	}
}

// takeAnswer takes what the endpoint's proxy says of itself out of a response.
func (x *exchange) takeAnswer(cs message.ClientStream, ep *upstream.Endpoint) {
	f := &x.resp.Fields
	value, ok := f.Get(peer.Field)
	_, id := f.Get(peer.IDField)
	if !ok && !id {
		return
	}
	if ok && ep.Identity() != "" {
		t := x.m.env.Metrics.target(ep)
		if t.claim == nil || t.claim.raw != value {
			said, understood := peer.Parse(value)
			if !understood {
				x.m.env.Metrics.BadPeers.Add(x.c.Shard, 1)
			} else {
				t = x.m.env.Metrics.retarget(ep, &claim{strings.Clone(value), said})
			}
		}
		if i, ok := cs.(upstream.Introduction); ok && t.claim != nil && t.claim.Remembers {
			i.Introduced()
		}
	}
	f.DelFunc(func(h message.Field) bool { return h.Name == peer.Field || h.Name == peer.IDField })
}

// counters is where the exchange is counted.
func (x *exchange) counters() *stats.Service {
	switch {
	case x.m.inbound:
		return x.inboundCounters()
	case x.ep != nil:
		return x.m.env.Metrics.target(x.ep).service
	}
	return x.m.env.Metrics.Service(x.cluster)
}

func (x *exchange) inboundCounters() *stats.Service {
	n := x.c.peer.counted.Load()
	if n == nil || n.cluster != x.cluster || n.claim != x.claim {
		n = &inboundCount{x.cluster, x.claim, x.m.env.Metrics.inbound(x.cluster, x.claimed(), x.c.peerURISAN)}
		x.c.peer.counted.Store(n)
	}
	return n.service
}

func (x *exchange) claimed() stats.Workload {
	if x.claim == nil {
		return x.m.env.Metrics.at(x.c.Peer.Addr())
	}
	return x.claim.Workload
}
