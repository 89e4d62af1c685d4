package service

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// claimsOf lists the places a Service asks for: each ClusterIP as a whole, each external and load-balancer address by port, each node port.
func claimsOf(s *corev1.Service) (out []model.Claim) {
	m := lowerService(s, func(finding.Finding) {})
	for _, a := range m.ClusterIPs {
		out = append(out, model.Claim{Addr: a})
	}
	return append(out, m.PortClaims()...)
}

// bySeniority orders those who claim the same place: oldest first, then by namespace and name.
func bySeniority(list []*corev1.Service) (out []store.Key) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, s := range list {
		out = append(out, store.Key{Namespace: s.Namespace, Name: s.Name})
	}
	return out
}

func sameKeys(a, b []store.Key) bool { return slices.Equal(a, b) }
