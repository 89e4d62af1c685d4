package control

import (
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/status"
)

// IngressOptions say where Ingresses are reached: what a gateway carries of them gets the addresses of its Service.
type IngressOptions struct {
	Edge    *compose.Edge
	Fleet   model.Fleet       // that carries Ingresses
	Service model.ServiceName // in front of it
}

// ingressKind is how the model calls what an Ingress implies.
const ingressKind = "Ingress"

// followIngresses keeps account of the Ingresses that are carried. It runs on the goroutine that drains the feed.
func (c *Control) followIngresses(feed *derive.Feed) (stop func()) {
	o := c.o.Ingress
	return o.Edge.Gateways.Subscribe(feed, o.Fleet, func(d derive.Delta[model.Fleet, []*model.Gateway]) {
		now := map[model.ObjectName]bool{}
		for _, g := range d.Value {
			if g.Name.Kind == ingressKind {
				now[g.Name.Name] = true
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for name := range c.ingresses {
			if !now[name] {
				delete(c.ingresses, name)
				c.ingressWriter.Want(name, status.Addresses{}) // what is ours there goes
			}
		}
		for name := range now {
			if !c.ingresses[name] {
				c.ingresses[name] = true
				c.wantIngress(name)
			}
		}
	})
}

// reach takes in the addresses of the gateway's Service. c.mu is held.
func (c *Control) reach(ips []netip.Addr) {
	if slices.Equal(ips, c.reached) {
		return
	}
	c.reached = ips
	for name := range c.ingresses {
		c.wantIngress(name)
	}
}

func (c *Control) wantIngress(name model.ObjectName) {
	c.ingressWriter.Want(name, status.Addresses{IPs: c.reached, Exclusive: true})
}
