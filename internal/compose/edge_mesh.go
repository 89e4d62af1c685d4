package compose

import (
	"fmt"
	"slices"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// takesMeshTLS tells whether a workload takes the mesh's TLS at one of its ports.
func (e *Edge) takesMeshTLS(r *derive.Reader, w *model.Workload, port uint16) bool {
	if !inMesh(w) {
		return false
	}
	mode, _ := e.peers(r, w).For(port)
	return mode != model.MTLSDisable
}

// tlsModeLabel is the label that says "istio" of Pods whose sidecar takes the mesh's TLS, as Istio's injector writes it.
const tlsModeLabel = "security.istio.io/tlsMode"

func inMesh(w *model.Workload) bool {
	mode, _ := w.Labels.Get(tlsModeLabel)
	return mode == "istio"
}

// peers gives what a workload asks of its clients' connections; nil if nobody says.
func (e *Edge) peers(r *derive.Reader, w *model.Workload) *model.PeerAuthentication {
	if e.o.Peers == nil {
		return nil
	}
	return e.o.Peers(r, w.Name.Namespace, w.Labels)
}

// identity is a workload's SPIFFE ID.
func (e *Edge) identity(namespace, account string) string {
	return fmt.Sprintf("spiffe://%s/ns/%s/sa/%s", e.o.TrustDomain, namespace, account)
}

// identitiesOf collects who serves a host with the mesh's TLS. An endpoint that comes or goes with an account that others have leaves it as it was.
func (e *Edge) identitiesOf(r *derive.Reader, k hostKey) (out []string) {
	h := e.hosts.Get(r, k)
	if h == nil || h.service == (model.ServiceName{}) {
		return nil
	}
	seen := map[string]bool{}
	endpoints := e.m.Endpoints.Get(r, store.Key(h.service))
	if endpoints == nil {
		return nil
	}
	for _, p := range endpoints.Ports {
		for _, ep := range p.Endpoints {
			if ep.Workload == "" || seen[ep.Workload] {
				continue
			}
			seen[ep.Workload] = true
			if w := e.pod(r, h.service.Namespace, ep.Workload); w != nil && inMesh(w) {
				out = append(out, e.identity(h.service.Namespace, w.ServiceAccount))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// meshTLS says how those endpoints of a cluster are spoken to that take the mesh's TLS; nil if there are none.
func (e *Edge) meshTLS(r *derive.Reader, k ClusterKey) *model.MeshTLS {
	ids := e.identities.Get(r, hostKey{k.From, k.Host})
	if len(ids) == 0 {
		return nil
	}
	return &model.MeshTLS{SNI: fmt.Sprintf("outbound_.%d_.%s_.%s", k.Port, k.Subset, k.Host), Identities: ids}
}
