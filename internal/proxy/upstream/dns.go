package upstream

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// Resolver looks names up.
type Resolver interface {
	// Lookup gives the addresses of a name, of the network's family: "ip", "ip4" or "ip6"; and how long they hold, 0 if that is not known.
	Lookup(ctx context.Context, network, name string) ([]netip.Addr, time.Duration, error)
}

// SystemResolver is the process's resolver. It does not tell how long an answer holds.
type SystemResolver struct{}

// Lookup implements [Resolver].
func (SystemResolver) Lookup(ctx context.Context, network, name string) ([]netip.Addr, time.Duration, error) {
	all, err := net.DefaultResolver.LookupNetIP(ctx, network, name)
	return all, 0, err
}

// dnsConfig is how a cluster's names are looked up.
type dnsConfig struct {
	refresh    time.Duration
	respectTTL bool
	failureMin time.Duration // between tries after a failure, at first
	failureMax time.Duration
	jitter     time.Duration
	family     clusterv3.Cluster_DnsLookupFamily
}

func compileDNS(r *clusterv3.Cluster) (c dnsConfig, err error) {
	c.respectTTL, c.family, c.jitter = r.GetRespectDnsTtl(), r.GetDnsLookupFamily(), r.GetDnsJitter().AsDuration() //nolint:staticcheck // deprecated, and what control planes send
	if c.refresh, err = positive("dns_refresh_rate", r.GetDnsRefreshRate(), 5*time.Second); err != nil {           //nolint:staticcheck // deprecated, and what control planes send
		return c, err
	}
	f := r.GetDnsFailureRefreshRate() //nolint:staticcheck // deprecated, and what control planes send
	if c.failureMin, err = positive("dns_failure_refresh_rate.base_interval", f.GetBaseInterval(), c.refresh); err != nil {
		return c, err
	}
	c.failureMax, err = positive("dns_failure_refresh_rate.max_interval", f.GetMaxInterval(), max(c.failureMin, min(10*c.failureMin, time.Minute)))
	return c, err
}

// named tells whether the endpoints are names.
func (k kind) named() bool { return k == strictDNS || k == logicalDNS }

// names follows the names of a DNS cluster. Everything in it is under Cluster.mu.
type names struct {
	cluster *Cluster
	follows map[string]*follow // by name
}

// follow is one name that is looked up again and again.
type follow struct {
	name   string
	cancel context.CancelFunc
	tried  bool
	found  []netip.Addr // what was found last
}

func newNames(c *Cluster) *names { return &names{cluster: c, follows: map[string]*follow{}} }

// follow begins with names that are new and lets go of those that are not wanted any more. It gives what resolved gives.
func (n *names) follow(cfg *config) *assignment {
	wanted := map[string]bool{}
	for i := range cfg.declared.localities {
		for _, d := range cfg.declared.localities[i].endpoints {
			if d.address.host != "" {
				wanted[d.address.host] = true
			}
		}
	}
	for name, f := range n.follows {
		if !wanted[name] {
			f.cancel()
			delete(n.follows, name)
		}
	}
	for name := range wanted {
		if n.follows[name] == nil {
			ctx, cancel := context.WithCancel(n.cluster.set.ctx)
			f := &follow{name: name, cancel: cancel}
			n.follows[name] = f
			n.cluster.set.spawn(func() { n.run(ctx, f) })
		}
	}
	return n.resolved(cfg)
}

func (n *names) close() {
	for _, f := range n.follows {
		f.cancel()
	}
}

// run looks a name up until ctx is done.
func (n *names) run(ctx context.Context, f *follow) {
	wait := time.Duration(0)
	failures := 0
	for {
		d := n.cluster.latest().dns
		found, ttl, err := lookup(ctx, n.cluster.set.options.Resolver, f.name, d.family)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			n.cluster.set.options.Log.Warn("a name of a cluster could not be looked up", "cluster", n.cluster.name, "name", f.name, "err", err)
			wait = min(d.failureMax, d.failureMin<<min(failures, 16))
			failures++
		} else {
			failures, wait = 0, d.refresh
			if d.respectTTL && ttl > 0 {
				wait = ttl
			}
		}
		n.take(ctx, f, found, err)
		if d.jitter > 0 {
			wait += rand.N(d.jitter)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// take puts in force what a name stands for. A failure leaves what was known.
func (n *names) take(ctx context.Context, f *follow, found []netip.Addr, err error) {
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	first := !f.tried
	f.tried = true
	if err == nil {
		slices.SortFunc(found, netip.Addr.Compare)
		found = slices.Compact(found)
		if !first && slices.Equal(found, f.found) {
			return
		}
		f.found = found
	} else if !first {
		return
	}
	if a := n.resolved(c.config.Load()); a != nil {
		c.stats.updates.Add(1)
		c.apply(a)
	}
}

// resolved is the assignment that the names stand for now. A name that was not tried yet holds up the others only as long as they stand for nothing: then
// it is nil.
func (n *names) resolved(cfg *config) *assignment {
	untried := false
	out := *cfg.declared
	out.localities = slices.Clone(out.localities)
	for i := range out.localities {
		l := &out.localities[i]
		declared := l.endpoints
		l.endpoints = nil
		for _, d := range declared {
			if d.address.host == "" {
				l.endpoints = append(l.endpoints, d)
				continue
			}
			f := n.follows[d.address.host]
			if f == nil || !f.tried {
				untried = true
				continue
			}
			if d.attrs.hostname == "" {
				d.attrs.hostname = d.address.host
			}
			if cfg.kind == logicalDNS {
				if len(f.found) > 0 {
					l.endpoints = append(l.endpoints, logical(d, f.found))
				}
				continue
			}
			for _, ip := range f.found {
				one := d
				one.address = ipAddress(netip.AddrPortFrom(ip, d.address.port))
				l.endpoints = append(l.endpoints, one)
			}
		}
	}
	if untried && out.len() == 0 {
		return nil
	}
	return &out
}

// logical is one endpoint that stays the same whatever its name stands for: new connections go to the addresses of now.
func logical(d declaration, found []netip.Addr) declaration {
	d.further = nil
	for i, ip := range found {
		at := ipAddress(netip.AddrPortFrom(ip, d.address.port))
		if i == 0 {
			d.connect = at
		} else {
			d.further = append(d.further, at)
		}
	}
	return d
}

// lookup asks for the families that the cluster wants.
func lookup(ctx context.Context, r Resolver, name string, family clusterv3.Cluster_DnsLookupFamily) ([]netip.Addr, time.Duration, error) {
	networks := []string{"ip"}
	switch family {
	case clusterv3.Cluster_V4_ONLY:
		networks = []string{"ip4"}
	case clusterv3.Cluster_V6_ONLY:
		networks = []string{"ip6"}
	case clusterv3.Cluster_V4_PREFERRED:
		networks = []string{"ip4", "ip6"}
	case clusterv3.Cluster_AUTO:
		networks = []string{"ip6", "ip4"}
	}
	var found []netip.Addr
	var ttl time.Duration
	var err error
	for _, network := range networks {
		if found, ttl, err = r.Lookup(ctx, network, name); err == nil && len(found) > 0 {
			break
		}
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return found, ttl, err
}
