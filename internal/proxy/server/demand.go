package server

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/hcm"
	"github.com/weftmesh/weft/internal/proxy/index"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/proxy/route"
	"github.com/weftmesh/weft/internal/proxy/upstream"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// How long a connection or a request waits for what the control plane is to send.
const (
	patience = 5 * time.Second
	// forName is how long it waits to learn who the other side is, where only metrics ask.
	forName = 50 * time.Millisecond
)

// onDemand is the type of what is asked for because somebody used it.
const onDemand = "on demand"

func demanded(one need) need { return need{onDemand, one.typeURL + " " + one.name} }

// demand asks for what somebody uses. It is kept until its Service goes.
func (s *Server) demand(all ...need) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mesh.named {
		return
	}
	for _, one := range all {
		if of := demanded(one); s.needs[of] == nil {
			s.renew(of, needs{one: true})
		}
	}
}

// withdraw takes back the demand for clusters that rules led to and do not any more. s.mu is not held.
func (s *Server) withdraw(before, now []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range before {
		if of := demanded(need{xdsclient.ClusterType, name}); !slices.Contains(now, name) && s.needs[of] != nil {
			s.renew(of, nil)
		}
	}
}

// release takes back what was demanded of a port of a Service. s.mu is not held.
func (s *Server) release(x *index.Service) {
	s.withdraw(x.Led(), nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range x.Ports {
		port := x.Ports[i].Number
		for _, one := range []need{{xdsclient.RouteType, x.Routes(port)}, {xdsclient.ClusterType, x.Cluster(port)}} {
			if of := demanded(one); s.needs[of] != nil {
				s.renew(of, nil)
			}
		}
	}
}

// Restoring implements [xdsclient.Handler]: what was in use when the process ended is in use again.
func (s *Server) Restoring(typeURL string, names []string) {
	for _, name := range names {
		switch typeURL {
		case xdsclient.RouteType, xdsclient.ClusterType:
			s.demand(need{typeURL, name})
		case xdsclient.WorkloadType:
			if ip, err := netip.ParseAddr(name); err == nil {
				s.ask(ip)
			}
		}
	}
}

// reachable tells whether it is worth waiting for the source.
func (s *Server) reachable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.source != nil && s.source.Reachable()
}

// routesFor gives the routes of a Service at a port. It waits for the first of them.
func (s *Server) routesFor(ctx context.Context, x *index.Service, port uint16) *hcm.Routes {
	s.demand(need{xdsclient.RouteType, x.Routes(port)}) // also if there is a table: it may be left of a Service that went and came back
	r := s.routesOf(x.Routes(port))
	if r.Table() != nil || !s.reachable() {
		return r
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-r.Ready():
	case <-t.C:
	case <-ctx.Done():
	}
	return r
}

// clustersFor gives the clusters of Services at a port, those that there are. It waits until they have their first endpoints.
func (s *Server) clustersFor(ctx context.Context, port uint16, services ...*index.Service) []*upstream.Cluster {
	names := make([]string, len(services))
	for i, x := range services {
		names[i] = x.Cluster(port)
	}
	return s.clustersNamed(ctx, names...)
}

// clusterNamed is clustersNamed of one; nil if there is none.
func (s *Server) clusterNamed(ctx context.Context, name string) *upstream.Cluster {
	if found := s.clustersNamed(ctx, name); len(found) > 0 {
		return found[0]
	}
	return nil
}

// clustersNamed gives the clusters of these names that there are. It waits until they have their first endpoints.
func (s *Server) clustersNamed(ctx context.Context, names ...string) (found []*upstream.Cluster) {
	all := make([]need, len(names))
	for i, name := range names {
		all[i] = need{xdsclient.ClusterType, name}
	}
	s.demand(all...)
	limit := patience
	if !s.reachable() {
		limit = 0
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, name := range names {
		if c := s.readyCluster(ctx, name); c != nil {
			found = append(found, c)
		}
	}
	return found
}

// clusterOf waits for a cluster that comes by name, until ctx is done or there is known to be none; nil is none.
func (s *Server) clusterOf(ctx context.Context, name string) *upstream.Cluster {
	for {
		s.mu.Lock()
		arrived, absent := s.mesh.arrived, s.mesh.absent[name] || !s.mesh.named || name == blackHole
		s.mu.Unlock()
		if c := s.clusters.Get(name); c != nil || absent {
			return c
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return s.clusters.Get(name)
		}
	}
}

// updateRoutes puts a table in force. In a sidecar that is when the clusters are there that it leads to: they come after it.
func (s *Server) updateRoutes(name string, resource *anypb.Any) error {
	r := s.routesOf(name)
	s.mu.Lock()
	coming := s.mesh.coming[name]
	s.mu.Unlock()
	before := r.Table()
	if coming != nil {
		before = coming.table
	}
	table, err := route.Revise(resource.GetValue(), before, route.Options{Format: s.http.Format, Filters: s.http.Filters})
	if err != nil {
		return err
	}
	if coming != nil {
		coming.cancel()
	}
	if !s.mesh.named {
		r.Set(table)
		return nil
	}
	wanted := s.clustersOf(resource)
	s.need(need{xdsclient.RouteType, name}, wanted)
	ctx, cancel := context.WithTimeout(s.ctx, s.options.WarmTimeout)
	next := &comingTable{table, cancel}
	s.mu.Lock()
	s.mesh.coming[name] = next
	s.mu.Unlock()
	put := func() {
		defer cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mesh.coming[name] == next {
			delete(s.mesh.coming, name)
			r.Set(table)
		}
	}
	missing := s.missing(wanted)
	if len(missing) == 0 {
		put()
		return nil
	}
	s.running.Go(func() {
		for _, name := range missing {
			s.readyCluster(ctx, name)
		}
		put()
	})
	return nil
}

// readyCluster is clusterOf, and waits for the first endpoints too.
func (s *Server) readyCluster(ctx context.Context, name string) *upstream.Cluster {
	c := s.clusterOf(ctx, name)
	if c != nil {
		select {
		case <-c.Ready():
		case <-ctx.Done():
		}
	}
	return c
}

// comingTable is a route table that waits for clusters.
type comingTable struct {
	table  *route.Table
	cancel func()
}

// missing are the clusters that are to come, or their first endpoints.
func (s *Server) missing(wanted needs) (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for one := range wanted {
		if one.typeURL != xdsclient.ClusterType || s.mesh.absent[one.name] {
			continue
		}
		if c := s.clusters.Get(one.name); c == nil || !c.IsReady() {
			names = append(names, one.name)
		}
	}
	return names
}

// maxAsked is how many addresses are asked for at a time. Of more, those go that were not looked at for longest.
const maxAsked = 4096

// asked is an address for which a sidecar has asked who runs there.
type asked struct {
	since    time.Time
	used     atomic.Int64  // Unix nanoseconds
	answered chan struct{} // closed once the source has said who, or that nobody does
	known    bool          // it is closed; s.mu guards it
}

// workload is who runs at an address; nil is nobody that the mesh knows. It waits for the source's first word, so long after that was first asked for.
func (s *Server) workload(ctx context.Context, ip netip.Addr, patience time.Duration) *meshpb.Workload {
	a := s.ask(ip)
	if a == nil {
		return nil
	}
	select {
	case <-a.answered:
		return s.mesh.index.Workload(ip)
	default:
	}
	left := time.Until(a.since.Add(patience))
	if left <= 0 || !s.reachable() {
		return s.mesh.index.Workload(ip)
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-a.answered:
	case <-t.C:
	case <-ctx.Done():
	}
	return s.mesh.index.Workload(ip)
}

// ask asks for who runs at an address; nil if nobody can be asked.
func (s *Server) ask(ip netip.Addr) *asked {
	if !ip.IsValid() || ip.IsLoopback() || ip.IsUnspecified() {
		return nil
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mesh.named {
		return nil
	}
	a := s.mesh.asked[ip]
	if a == nil {
		if len(s.mesh.asked) >= maxAsked {
			s.forgetOldest()
		}
		a = &asked{since: now, answered: make(chan struct{})}
		s.mesh.asked[ip] = a
		one := need{xdsclient.WorkloadType, ip.String()}
		s.renew(demanded(one), needs{one: true})
	}
	a.used.Store(now.UnixNano())
	return a
}

// forgetOldest takes back a quarter of the addresses. s.mu is held.
func (s *Server) forgetOldest() {
	type use struct {
		ip netip.Addr
		at int64
	}
	var all []use
	for ip, a := range s.mesh.asked {
		all = append(all, use{ip, a.used.Load()})
	}
	slices.SortFunc(all, func(a, b use) int { return int(min(1, max(-1, a.at-b.at))) })
	for _, u := range all[:len(all)/4+1] {
		delete(s.mesh.asked, u.ip)
		s.renew(demanded(need{xdsclient.WorkloadType, u.ip.String()}), nil)
	}
}

// updateWorkload notes who runs at an address; nil is nobody.
func (s *Server) updateWorkload(name string, resource *anypb.Any) error {
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return err
	}
	if resource == nil {
		s.mesh.index.RemoveWorkload(ip)
	} else if err := s.mesh.index.SetWorkload(ip, resource); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.mesh.asked[ip]; a != nil && !a.known {
		a.known = true
		close(a.answered)
	}
	return nil
}
