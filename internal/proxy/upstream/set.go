package upstream

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/proxy/tls"
)

// Options is what a Set needs. The zero value is in order.
type Options struct {
	// Secrets is where TLS contexts find what they name by SDS; nil is none.
	Secrets *tls.Secrets
	// Resolver looks up the names of STRICT_DNS and LOGICAL_DNS clusters; nil is the system's.
	Resolver Resolver
	// Log is told of endpoints that are ejected or fail their health check; nil is nobody.
	Log *slog.Logger
}

// Set is the clusters of a proxy, by name. Get may be called at any time by anybody; updates are one after the other.
type Set struct {
	options Options
	seed    maphash.Seed
	names   [256]atomic.Pointer[map[string]*Cluster]

	ctx    context.Context // until Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine
	open   connections
	ending sync.Mutex
	ended  bool // no goroutine begins any more; guarded by ending

	mu          sync.Mutex
	closed      bool
	assignments map[string]*assignment // of EDS, by their names
	users       map[string]map[*Cluster]bool
}

// NewSet makes an empty set. Close it.
func NewSet(o Options) *Set {
	if o.Secrets == nil {
		o.Secrets = tls.NewSecrets()
	}
	if o.Resolver == nil {
		o.Resolver = SystemResolver{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Set{options: o, seed: maphash.MakeSeed(), assignments: map[string]*assignment{}, users: map[string]map[*Cluster]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.open.all = map[closer]struct{}{}
	return s
}

func (s *Set) shard(name string) *atomic.Pointer[map[string]*Cluster] {
	return &s.names[maphash.String(s.seed, name)%uint64(len(s.names))]
}

// Get gives the cluster of a name, or nil. It takes no lock and allocates nothing.
func (s *Set) Get(name string) *Cluster {
	if m := s.shard(name).Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

// put names a cluster; nil takes the name away.
func (s *Set) put(name string, c *Cluster) {
	at := s.shard(name)
	m := map[string]*Cluster{}
	if old := at.Load(); old != nil {
		m = maps.Clone(*old)
	}
	if c == nil {
		delete(m, name)
	} else {
		m[name] = c
	}
	at.Store(&m)
}

// All gives the clusters in the order of their names.
func (s *Set) All() []*Cluster {
	var all []*Cluster
	for i := range s.names {
		if m := s.names[i].Load(); m != nil {
			all = slices.AppendSeq(all, maps.Values(*m))
		}
	}
	slices.SortFunc(all, func(a, b *Cluster) int { return cmp.Compare(a.name, b.name) })
	return all
}

// Snapshot gives all clusters as admin shows them, in the order of their names.
func (s *Set) Snapshot() []ClusterSnapshot {
	all := s.All()
	out := make([]ClusterSnapshot, len(all))
	for i, c := range all {
		out[i] = c.Snapshot()
	}
	return out
}

// UpdateCluster adds a cluster or changes the one of its name. The resource is the set's from now on. The error names the field; the cluster is
// then as it was. An EDS cluster whose assignment has another name than before goes on with the old one until the new one is here.
func (s *Set) UpdateCluster(r *clusterv3.Cluster) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	name := r.GetName()
	c := s.Get(name)
	var prev *config
	if c != nil {
		if prev = c.latest(); proto.Equal(prev.resource, r) {
			c.stats.updateNoRebuild.Add(1)
			return nil
		}
	}
	cfg, err := s.compile(r, prev)
	if err != nil {
		return fmt.Errorf("cluster %s: %w", name, err)
	}
	if c == nil {
		c = newCluster(s, cfg)
		defer s.put(name, c)
	}
	if prev != nil && prev.edsName != cfg.edsName {
		s.unuse(prev.edsName, c)
	}
	if cfg.kind == eds {
		if s.users[cfg.edsName] == nil {
			s.users[cfg.edsName] = map[*Cluster]bool{}
		}
		s.users[cfg.edsName][c] = true
	}
	c.update(cfg, s.assignments[cfg.edsName])
	return nil
}

func (s *Set) unuse(assignment string, c *Cluster) {
	delete(s.users[assignment], c)
	if len(s.users[assignment]) == 0 {
		delete(s.users, assignment)
	}
}

// RemoveCluster takes a cluster away. What was begun on it can be finished; its idle connections are closed.
func (s *Set) RemoveCluster(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.Get(name); c != nil {
		s.put(name, nil)
		s.unuse(c.latest().edsName, c)
		c.close()
	}
}

// UpdateEndpoints gives the clusters that name this assignment their endpoints, now and when they come later. The resource is not kept. The error names the field; the endpoints are then as they were.
func (s *Set) UpdateEndpoints(r *endpointv3.ClusterLoadAssignment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	name := r.GetClusterName()
	sum, err := sumOf(r)
	if err != nil {
		return fmt.Errorf("assignment %s: %w", name, err)
	}
	if old := s.assignments[name]; old != nil && old.sum == sum {
		for c := range s.users[name] {
			c.stats.updateNoRebuild.Add(1)
		}
		return nil
	}
	a, err := compileAssignment(r, false)
	if err != nil {
		return fmt.Errorf("assignment %s: %w", name, err)
	}
	a.sum = sum
	s.assignments[name] = a
	for c := range s.users[name] {
		c.assign(a)
	}
	return nil
}

// RemoveEndpoints forgets an assignment. Clusters that use it keep the endpoints they have: a carrier outlives what told it, and a Service without
// endpoints has an empty assignment.
func (s *Set) RemoveEndpoints(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.assignments, name)
}

// Close ends everything: clusters take no new request, idle connections are closed, and those in use when they are done with, or at once when
// ctx is done. It returns when nothing of the set runs any more; the error is the context's if it had to break off exchanges.
func (s *Set) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	for _, c := range s.All() {
		c.close()
	}
	err := s.open.wait(ctx)
	s.ending.Lock()
	s.ended = true
	s.ending.Unlock()
	s.wg.Wait()
	return err
}

// spawn runs f in a goroutine that Close waits for. It is false if Close waits no more.
func (s *Set) spawn(f func()) bool {
	s.ending.Lock()
	defer s.ending.Unlock()
	if s.ended {
		return false
	}
	s.wg.Go(f)
	return true
}
