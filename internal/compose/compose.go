// Package compose is the one place where APIs, and objects that want the same thing, meet. It gives the model that all carriers are compiled
// from: what each API asks for, less what somebody with a better right already has.
//
// The better right is that of the older object, then the smaller namespace, then the smaller name; an address that is a Service's own ClusterIP
// is never another's, however old. It reads the model and never the objects, and knows no carrier.
package compose

import (
	"fmt"
	"slices"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/lower/service"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// Model is the traffic of the cluster as queries. Each gives nil for what does not exist.
type Model struct {
	Services  *derive.Query[store.Key, *model.Service]
	Endpoints *derive.Query[store.Key, *model.Endpoints]
	Nodes     *derive.Query[store.Key, *model.Node]
	Secrets   *derive.Query[store.Key, *model.Secret] // those with TLS material that can be used
	Selectors *derive.Query[store.Key, model.Labels]  // of Services; "" is none

	// ServiceNames and NodeNames are the keys for which there is something to ask.
	ServiceNames, NodeNames *derive.KeySet[store.Key]

	// AllNodes reads which Nodes there are, not what they say.
	AllNodes func(*derive.Reader) []store.Key

	// ServicesIn gives the Services of a namespace, in any order.
	ServicesIn *derive.Query[string, []store.Key]

	// ListServices gives the names of all Services, sorted. It looks from outside: for explanations, never inside a query.
	ListServices func() []store.Key
}

// Define declares the composed queries in db.
func Define(db *derive.DB, objects service.Objects, lowered *service.Lowered) *Model {
	return &Model{
		ServicesIn:   lowered.InNamespace,
		Services:     derive.Define(db, "compose/service", (*model.Service).Equal, settle(lowered)),
		Endpoints:    lowered.Endpoints,
		Nodes:        lowered.Nodes,
		Secrets:      lowered.Secrets,
		Selectors:    lowered.Selectors,
		ServiceNames: objects.Services.KeySet(),
		NodeNames:    objects.Nodes.KeySet(),
		AllNodes:     objects.Nodes.Keys,
		ListServices: func() (keys []store.Key) {
			for _, s := range objects.Services.Snapshot() {
				keys = append(keys, store.Key{Namespace: s.Namespace, Name: s.Name})
			}
			return keys
		},
	}
}

// settle takes from a Service the places that another has the better right to.
func settle(lowered *service.Lowered) func(*derive.Reader, store.Key) *model.Service {
	return func(r *derive.Reader, k store.Key) *model.Service {
		s := lowered.Services.Get(r, k)
		if s == nil {
			return nil
		}
		var lost []model.Claim
		lose := func(c model.Claim, holder store.Key) {
			lost = append(lost, c)
			r.Report(finding.Finding{Object: s.Origin.Object, Field: fieldOf(s, c), Severity: finding.Error, Code: "taken",
				Message: fmt.Sprintf("%v belongs to %v; nothing is carried there for this Service", c, finding.Object{Kind: "Service", Namespace: holder.Namespace, Name: holder.Name})})
		}
		for _, a := range s.ClusterIPs {
			c := model.Claim{Addr: a}
			if holders := lowered.Claimants.Get(r, c); len(holders) > 1 && holders[0] != k {
				lose(c, holders[0])
			}
		}
		for _, c := range s.PortClaims() {
			if slices.Contains(lost, c) {
				continue
			}
			if c.Addr.IsValid() {
				owners := lowered.Claimants.Get(r, model.Claim{Addr: c.Addr})
				if len(owners) > 0 && owners[0] != k {
					lose(c, owners[0])
					continue
				}
			}
			if holders := lowered.Claimants.Get(r, c); len(holders) > 0 && holders[0] != k {
				lose(c, holders[0])
			}
		}
		if len(lost) == 0 {
			return s
		}
		slices.SortFunc(lost, model.Claim.Compare)
		out := *s
		out.Lost = lost
		return &out
	}
}

// fieldOf names the field that asks for a place.
func fieldOf(s *model.Service, c model.Claim) string {
	if slices.Contains(s.ExternalIPs, c.Addr) {
		return "spec.externalIPs"
	}
	if slices.Contains(s.LoadBalancerIPs, c.Addr) {
		return "status.loadBalancer.ingress"
	}
	if slices.Contains(s.ClusterIPs, c.Addr) {
		return "spec.clusterIPs"
	}
	for _, p := range s.Ports {
		if p.NodePort == c.Port && p.Protocol == c.Protocol {
			return p.Origin.Field + ".nodePort"
		}
	}
	return "spec"
}
