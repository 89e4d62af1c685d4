package outbound

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/weftmesh/weft/internal/proxy/hcm"
	"github.com/weftmesh/weft/internal/proxy/index"
)

// director leads the requests of one connection.
type director struct {
	f     *Filter
	at    netip.AddrPort
	place *place
	last  atomic.Pointer[answer] // most connections ask for one host only
}

// answer is a direction that was found, and what by.
type answer struct {
	authority string
	version   any // of the index
	direction hcm.Direction
}

// Direct implements [hcm.Director].
func (d *director) Direct(ctx context.Context, authority string) hcm.Direction {
	version := d.f.env.Index.Version()
	if l := d.last.Load(); l != nil && l.authority == authority && l.version == version {
		return l.direction
	}
	direction, final := d.direct(ctx, authority)
	if final {
		d.last.Store(&answer{strings.Clone(authority), version, direction})
	}
	return direction
}

// direct finds the direction; it is final as long as the index is the same.
func (d *director) direct(ctx context.Context, authority string) (direction hcm.Direction, final bool) {
	f, port := d.f, d.at.Port()
	s := f.env.Index.Host(authority, port, f.scope)
	if s == nil {
		s = d.place.service // whoever the request says it is for, it was sent there
	}
	if s == nil {
		return d.elsewhere(), true
	}
	direction = hcm.Direction{Routes: f.env.Routes(ctx, s, port)}
	if d.place.service == nil || d.place.service.Headless { // the client has chosen the endpoint itself
		direction.Exactly = d.at
	}
	if direction.Routes.Table() == nil {
		return d.unseen(s), false
	}
	return direction, true
}

// elsewhere is the direction of a request to who has no name in the mesh: where the client wants to go.
func (d *director) elsewhere() hcm.Direction {
	if to := &d.place.target; to.Cluster == d.f.workloads {
		return hcm.Direction{Routes: d.f.mesh, Identities: to.Identities}
	}
	return hcm.Direction{Routes: d.f.onward}
}

// unseen is the direction to a Service of which there is nothing but what the index says: its address, and only to who is one of its servers if they take
// the mesh's TLS.
func (d *director) unseen(s *index.Service) hcm.Direction {
	direction := hcm.Direction{Routes: d.f.onward, Destination: d.at}
	if s != d.place.service {
		if ip := s.Address(d.at.Addr()); ip.IsValid() {
			direction.Destination = netip.AddrPortFrom(ip, d.at.Port())
		}
	}
	if p := s.Port(d.at.Port()); p != nil && p.MeshTLS {
		direction.Routes, direction.Identities = d.f.mesh, s.Identities
	}
	return direction
}
