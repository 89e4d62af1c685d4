package serviceproxy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/fake"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// BenchmarkOneChange is what the Proxy itself spends on an endpoint that flaps; it has to be the same however many Services there are.
func BenchmarkOneChange(b *testing.B) {
	for _, services := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("%d services of 20 endpoints", services), func(b *testing.B) {
			p, err := New(Options{Backend: fake.NewKernel().Open(), Log: quiet})
			if err != nil {
				b.Fatal(err)
			}
			var changes []Change
			for n, svc := range many(services, 20) {
				changes = append(changes, Change{n, svc})
			}
			p.Update(1, changes)
			p.Full()
			p.flush(b.Context())
			n := slices.MinFunc(slices.Collect(maps.Keys(p.live.services)), model.ServiceName.Compare)
			versions := [2]*plan.Service{p.live.services[n], shorter(p.live.services[n])}
			for i := 0; b.Loop(); i++ {
				p.Update(2, []Change{{n, versions[(i+1)%2]}})
				p.flush(b.Context())
			}
			if p.Status().Failures > 0 {
				b.Fatal(p.Status().LastError)
			}
		})
	}
}

// shorter gives a copy of a Service whose frontends have lost an endpoint.
func shorter(svc *plan.Service) *plan.Service {
	out := *svc
	out.Frontends = nil
	for _, f := range svc.Frontends {
		c := *f
		c.Endpoints = append([]netip.AddrPort(nil), f.Endpoints[1:]...)
		out.Frontends = append(out.Frontends, &c)
	}
	return &out
}
