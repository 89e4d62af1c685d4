package server

import (
	"context"
	"net/netip"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/proxy/index"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/proxy/outbound"
	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// mesh is what a sidecar's server has beside: the index, and that everything else comes by name.
type mesh struct {
	index   *index.Index
	named   bool                    // clusters and listeners come by name
	awaited map[string]bool         // listeners that the source has said nothing of yet
	absent  map[string]bool         // clusters that there are none of
	arrived chan struct{}           // closed at the next end of a response about clusters
	coming  map[string]*comingTable // by name
	asked   map[netip.Addr]*asked
	indexed bool          // known is closed
	known   chan struct{} // closed when the Services of the index have come
	env     *outbound.Env
}

// blackHole is a cluster that never exists, by Istio's convention: connections that lead to it are refused.
const blackHole = "BlackHoleCluster"

func (s *Server) newMesh() {
	s.mesh = mesh{index: index.New(), awaited: map[string]bool{}, absent: map[string]bool{}, arrived: make(chan struct{}), coming: map[string]*comingTable{},
		asked: map[netip.Addr]*asked{}, known: make(chan struct{})}
	s.mesh.env = &outbound.Env{
		Index: s.mesh.index, HTTP: s.http, TCP: s.tcp, Learned: s.sockets.Learned(),
		Routes: s.routesFor, Clusters: s.clustersFor, Cluster: s.clusterNamed,
		Workload: func(ctx context.Context, ip netip.Addr) *meshpb.Workload { return s.workload(ctx, ip, patience) },
	}
	s.http.Metrics.WorkloadAt = s.workloadAt
	s.sockets.KnowOutside(func(ip netip.Addr) bool {
		w := s.workload(s.ctx, ip, 0)
		return w != nil && !w.GetMeshTls()
	})
}

// workloadAt is who runs at an address, as metrics name it.
func (s *Server) workloadAt(ip netip.Addr) stats.Workload {
	w := s.workload(s.ctx, ip, forName)
	if w == nil {
		return stats.Workload{}
	}
	return stats.Workload{
		Name: w.GetWorkload(), Namespace: w.GetNamespace(), App: w.GetApp(), Version: w.GetVersion(), CanonicalService: w.GetCanonicalName(),
		CanonicalRevision: w.GetCanonicalRevision(), Cluster: w.GetCluster(),
	}
}

// Index is the index of the mesh; it is empty where no control plane sends one.
func (s *Server) Index() *index.Index { return s.mesh.index }

// Learned are the destinations at which servers have been seen to speak first.
func (s *Server) Learned() []netip.AddrPort { return s.sockets.Learned().ServersFirst() }

// followMesh asks for the listeners that a sidecar has.
func (s *Server) followMesh(x *bootstrap.XDS) {
	if x == nil || !x.Index {
		return
	}
	s.mu.Lock()
	s.mesh.named = true
	for _, name := range x.Names {
		s.mesh.awaited[name] = true
	}
	s.mu.Unlock()
	wanted := needs{}
	for _, name := range x.Names {
		wanted[need{xdsclient.ListenerType, name}] = true
	}
	s.need(need{}, wanted)
}

// heard notes that the source has answered for a listener. s.mu is held.
func (s *Server) heard(name string) { delete(s.mesh.awaited, name) }

// indexed notes that the index has come. s.mu is held.
func (s *Server) indexed() {
	if !s.mesh.indexed {
		s.mesh.indexed = true
		close(s.mesh.known)
	}
}

func (s *Server) updateService(name string, resource *anypb.Any) error {
	before := s.mesh.index.Service(name)
	x, err := s.mesh.index.SetService(name, resource)
	if err == nil && before != nil {
		s.withdraw(before.Led(), x.Led())
	}
	return err
}
