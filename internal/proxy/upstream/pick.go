package upstream

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// PickContext is what the choice of an endpoint and of a connection to it goes by, beside the request. It is the caller's; one may be used for all
// tries of a request. The zero value is in order.
type PickContext struct {
	// Hash is of what the route's hash policies name; ring hash and maglev go by it if HasHash.
	Hash    uint64
	HasHash bool
	// Exclude is the endpoints that were tried: one of them is taken only if there is no other.
	Exclude []*Endpoint
	// Priority says which circuit breaker counts the request.
	Priority Priority

	// Downstream is the version that the client speaks; use_downstream_protocol_config goes by it.
	Downstream message.Version
	// Source and Local are the two ends of the client's connection; the PROXY protocol tells them to the endpoint.
	Source, Local netip.AddrPort
	// Destination is where the client's connection went before it was redirected, for clusters of type ORIGINAL_DST.
	Destination netip.AddrPort
	// Exactly is the endpoint that the client has chosen itself, by its address: it is taken if the cluster has it, whatever its health. Not valid: none.
	Exactly netip.AddrPort
	// Identities are the SPIFFE IDs of which the endpoint must prove one with mutual TLS, with spaces between, beside what the TLS context says. Without
	// TLS they mean nothing.
	Identities string
	// ServerName overrides the server name of TLS to the endpoint. Empty: what the TLS context says, or with auto_sni the request's host.
	ServerName string
	// Until is when who waits for endpoints, for a connection or for one that is being made gives up with context.DeadlineExceeded. Zero: when the
	// context says so.
	Until time.Time
	// Introduce is fields that a request has until its connection's other end knows us ([Introduction]), if that end proves to be of a mesh.
	Introduce []message.Field
}

// Pick chooses an endpoint. A cluster that has not got its endpoints yet is waited for, a second at most. Errors are [ErrNoHealthyUpstream],
// [ErrDropped], or the context's.
func (c *Cluster) Pick(ctx context.Context, pc *PickContext) (*Endpoint, error) {
	h := c.hosts.Load()
	for i := range h.drops {
		if rand.Uint32N(1e6) < h.drops[i].millions {
			c.stats.rqDropped.Add(1)
			return nil, ErrDropped
		}
	}
	if c.config.Load().kind == originalDst {
		return c.originalEndpoint(pc.Destination)
	}
	if pc.Exactly.IsValid() {
		if e := c.Endpoint(pc.Exactly); e != nil {
			return e, nil
		}
	}
	e, panicked := h.pick(pc)
	if e == nil { // the first endpoints may have come this very moment
		waiting, cancel := pc.limit(ctx)
		err := c.wait(waiting)
		cancel()
		if err != nil {
			return nil, err
		}
		e, panicked = c.hosts.Load().pick(pc)
	}
	if panicked {
		c.stats.lbPanic.Add(1)
	}
	if e == nil {
		c.stats.lbNone.Add(1)
		return nil, c.errNoHealthy
	}
	return e, nil
}

// limit gives a context that ends with Until as well. It costs memory if there is such a limit, so only who has to wait asks for it.
func (pc *PickContext) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if pc.Until.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, pc.Until)
}

// Endpoint gives the endpoint at an address, nil if the cluster has none there.
func (c *Cluster) Endpoint(at netip.AddrPort) *Endpoint {
	for _, e := range c.hosts.Load().endpoints {
		if e.RemoteAddrPort() == at {
			return e
		}
	}
	return nil
}

// Start is [Cluster.Pick] and [Endpoint.Start]. The endpoint is nil only if none was chosen.
func (c *Cluster) Start(ctx context.Context, req *message.Request, length int64, pc *PickContext) (message.ClientStream, *Endpoint, error) {
	if at, ok := c.OriginalDestination(req); ok {
		pc.Destination = at
	}
	e, err := c.Pick(ctx, pc)
	if err != nil {
		return nil, nil, err
	}
	s, err := e.Start(ctx, req, length, pc)
	return s, e, err
}
