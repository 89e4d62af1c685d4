package serviceproxy

import (
	"slices"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// index is a set of Services and the frontends they add up to.
type index struct {
	services  map[model.ServiceName]*plan.Service
	frontends map[plan.Key]*plan.Frontend // in force: of several claims the one of the first Service by name
	contested map[plan.Key][]*plan.Frontend
	checks    map[model.ServiceName]plan.HealthCheck // of the Services that have one
}

func newIndex() *index {
	return &index{
		services:  map[model.ServiceName]*plan.Service{},
		frontends: map[plan.Key]*plan.Frontend{},
		contested: map[plan.Key][]*plan.Frontend{},
		checks:    map[model.ServiceName]plan.HealthCheck{},
	}
}

// set puts a Service in the place of what was there under its name, nil for nothing, and calls touched for every key that may have changed.
// It tells whether anything is different.
func (x *index) set(name model.ServiceName, svc *plan.Service, touched func(plan.Key)) bool {
	old := x.services[name]
	if old.Equal(svc) {
		return false
	}
	if old != nil {
		for _, f := range old.Frontends {
			x.release(f)
			touched(f.Key)
		}
	}
	delete(x.checks, name)
	if svc == nil {
		delete(x.services, name)
		return true
	}
	if svc.HealthCheck.Port != 0 {
		x.checks[name] = svc.HealthCheck
	}
	x.services[name] = svc
	for _, f := range svc.Frontends {
		x.claim(f)
		touched(f.Key)
	}
	return true
}

// claim and release allow for a key that two Services have for a while, as when it moves from one to the other in two commits. Whoever made
// the plan has reported a lasting conflict; here it only has to come out the same whatever the order.
func (x *index) claim(f *plan.Frontend) {
	holder, taken := x.frontends[f.Key]
	if !taken {
		x.frontends[f.Key] = f
		return
	}
	all := x.contested[f.Key]
	if all == nil {
		all = []*plan.Frontend{holder}
	}
	all = append(all, f)
	slices.SortFunc(all, func(a, b *plan.Frontend) int { return a.Service.Compare(b.Service) })
	x.contested[f.Key], x.frontends[f.Key] = all, all[0]
}

func (x *index) release(f *plan.Frontend) {
	all, several := x.contested[f.Key]
	if !several {
		delete(x.frontends, f.Key)
		return
	}
	all = slices.DeleteFunc(slices.Clone(all), func(o *plan.Frontend) bool { return o.Service == f.Service })
	x.frontends[f.Key] = all[0]
	if x.contested[f.Key] = all; len(all) == 1 {
		delete(x.contested, f.Key)
	}
}
