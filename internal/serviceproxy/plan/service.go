package plan

import (
	"slices"

	"github.com/weftmesh/weft/internal/model"
)

// Service is what a node does for one Service.
type Service struct {
	Name        model.ServiceName
	Frontends   []*Frontend // sorted by key, no key twice
	HealthCheck HealthCheck
}

// HealthCheck is what the node answers on a Service's healthCheckNodePort.
type HealthCheck struct {
	Port           uint16 // 0: none
	LocalEndpoints int    // ready endpoints on this node
}

// Equal tells whether nothing is different for the node.
func (s *Service) Equal(o *Service) bool {
	if s == o {
		return true
	}
	if s == nil || o == nil {
		return false
	}
	return s.Name == o.Name && s.HealthCheck == o.HealthCheck && slices.EqualFunc(s.Frontends, o.Frontends, (*Frontend).Equal)
}
