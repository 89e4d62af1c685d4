package hcm

import (
	"context"
	"net/netip"

	"github.com/weftmesh/weft/internal/proxy/route"
)

// Director says where the requests of a connection go, in place of one route table for all.
type Director interface {
	// Direct says it of a request for an authority. It may wait, but not longer than a client does; many streams may ask at a time.
	Direct(ctx context.Context, authority string) Direction
}

// Direction is where a request goes.
type Direction struct {
	Routes *Routes
	// Exactly and Identities are those of [upstream.PickContext]; Destination is, if it is valid, where clusters of type ORIGINAL_DST lead.
	Exactly, Destination netip.AddrPort
	Identities           string
}

// table gives the routes that the exchange goes by.
func (x *exchange) table() *route.Table {
	if x.c.director == nil {
		return x.m.routes.Table()
	}
	x.direction = x.c.director.Direct(x.c.ctx, x.info.Request.Authority)
	return x.direction.Routes.Table()
}

// directed has the choice of an endpoint go by the direction.
func (x *exchange) directed() {
	d := &x.direction
	x.pick.Exactly, x.pick.Identities = d.Exactly, d.Identities
	if d.Destination.IsValid() {
		x.pick.Destination = d.Destination
	}
}
