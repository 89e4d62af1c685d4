package upstream

import (
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// originalConfig is what a cluster of type ORIGINAL_DST is told.
type originalConfig struct {
	header  string // which names the destination; "": none does
	port    uint16 // instead of the destination's; 0: the destination's
	cleanup time.Duration
}

// maxOriginal bounds the endpoints of such a cluster: with the header, clients choose them.
const maxOriginal = 10000

func compileOriginal(r *clusterv3.Cluster) (c originalConfig, err error) {
	o := r.GetOriginalDstLbConfig()
	if o.GetMetadataKey() != nil {
		return c, field.Errorf("original_dst_lb_config.metadata_key", "not supported")
	}
	if o.GetUseHttpHeader() {
		if c.header = o.GetHttpHeaderName(); c.header == "" {
			c.header = "x-envoy-original-dst-host"
		}
	}
	if p := o.GetUpstreamPortOverride(); p != nil {
		if p.GetValue() == 0 || p.GetValue() > 65535 {
			return c, field.Errorf("original_dst_lb_config.upstream_port_override", "%d is no port", p.GetValue())
		}
		c.port = uint16(p.GetValue())
	}
	c.cleanup, err = positive("cleanup_interval", r.GetCleanupInterval(), 5*time.Second)
	return c, err
}

// OriginalDestination gives the destination that a request's header names, where the cluster is of type ORIGINAL_DST and goes by one: it belongs
// in PickContext.Destination. [Cluster.Start] does it.
func (c *Cluster) OriginalDestination(req *message.Request) (netip.AddrPort, bool) {
	o := &c.config.Load().original
	if o.header == "" {
		return netip.AddrPort{}, false
	}
	v, ok := req.Fields.Get(o.header)
	if !ok {
		return netip.AddrPort{}, false
	}
	at, err := netip.ParseAddrPort(v)
	return at, err == nil
}

// originalEndpoint gives the endpoint at an address, and makes it if there is none.
func (c *Cluster) originalEndpoint(at netip.AddrPort) (*Endpoint, error) {
	cfg := c.config.Load()
	if !at.IsValid() || at.Port() == 0 && cfg.original.port == 0 {
		c.stats.lbNone.Add(1)
		return nil, c.errNoHealthy
	}
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	if cfg.original.port != 0 {
		at = netip.AddrPortFrom(at.Addr(), cfg.original.port)
	}
	var room [64]byte
	text := at.AppendTo(room[:0])
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.endpoints[string(text)]; e != nil { // the text costs no memory here
		e.born = time.Now()
		return e, nil
	}
	if c.closed || len(c.endpoints) >= maxOriginal {
		return nil, c.errNoHealthy
	}
	a := ipAddress(at)
	e := c.newEndpoint(&declaration{address: a, attrs: attributes{weight: 1}}, cfg)
	c.endpoints[a.text] = e
	c.localsOfOriginal()
	c.rebuild()
	return e, nil
}

// localsOfOriginal makes the endpoints that requests named one locality.
func (c *Cluster) localsOfOriginal() {
	l := local{}
	for _, e := range c.endpoints {
		l.endpoints = append(l.endpoints, e)
	}
	c.locals = []local{l}
}

// startCleanup drops endpoints that nobody used for the cleanup interval, again and again. Under mu.
func (c *Cluster) startCleanup() {
	if c.cleaning {
		return
	}
	c.cleaning = true
	c.set.spawn(func() {
		for {
			cfg := c.config.Load()
			if cfg.kind != originalDst {
				return
			}
			select {
			case <-time.After(cfg.original.cleanup):
			case <-c.done:
				return
			}
			c.cleanup(cfg.original.cleanup)
		}
	})
}

func (c *Cluster) cleanup(unused time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := false
	for key, e := range c.endpoints {
		if e.active.Load() == 0 && time.Since(e.born) >= unused {
			delete(c.endpoints, key)
			c.drop(e)
			changed = true
		}
	}
	if changed {
		c.localsOfOriginal()
		c.rebuild()
	}
}
