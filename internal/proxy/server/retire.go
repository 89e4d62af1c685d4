package server

import (
	"sync"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// retirement is how long a cluster stays that the control plane has taken away: an exchange that was matched by the routes before comes to it
// only now, and one that is under way may try again.
const retirement = 5 * time.Second

// retired are clusters that are about to go.
type retired struct {
	mu     sync.Mutex // held while a cluster comes or goes, so that the one that came is not the one that goes
	timers map[string]*time.Timer
	closed bool
}

// updateCluster puts a cluster in force, also one that was about to go.
func (s *Server) updateCluster(m *clusterv3.Cluster) error {
	s.retired.mu.Lock()
	defer s.retired.mu.Unlock()
	if err := s.clusters.UpdateCluster(m); err != nil {
		return err
	}
	if t := s.retired.timers[m.GetName()]; t != nil {
		t.Stop()
		delete(s.retired.timers, m.GetName())
	}
	s.mu.Lock()
	delete(s.mesh.absent, m.GetName())
	s.mu.Unlock()
	s.need(need{xdsclient.ClusterType, m.GetName()}, needsOf(m))
	return nil
}

// noCluster notes that the source has no cluster of a name, for who waits for it.
func (s *Server) noCluster(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mesh.named {
		s.mesh.absent[name] = true
	}
}

// retire lets a cluster go in a while.
func (s *Server) retire(name string) {
	r := &s.retired
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.timers[name] != nil {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(retirement, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.closed || r.timers[name] != t {
			return // it came back
		}
		delete(r.timers, name)
		s.clusters.RemoveCluster(name)
		s.need(need{xdsclient.ClusterType, name}, nil)
		s.http.Metrics.Forget(s.clusters)
	})
	r.timers[name] = t
}

// close lets nobody go any more.
func (r *retired) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, t := range r.timers {
		t.Stop()
	}
}
