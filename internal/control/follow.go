package control

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/internal/address"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/status"
	"github.com/weftmesh/weft/internal/store"
)

// follower gathers what changed in the model, one commit or several at a time, and lets the Control take it in. It is used by one goroutine.
type follower struct {
	c     *Control
	feed  *derive.Feed
	stops []func()

	services []address.ServiceChange
	nodes    []address.NodeChange
	findings map[finding.Object][]finding.Finding
}

func (c *Control) follow() *follower {
	db, m := c.o.Store.DB(), c.o.Model
	f := &follower{c: c, feed: db.NewFeed(), findings: map[finding.Object][]finding.Finding{}}
	derive.Each(m.Endpoints, m.ServiceNames) // for what they have to say of EndpointSlices: findings come with results that somebody wants
	f.stops = []func(){
		derive.Each(m.Services, m.ServiceNames).Follow(f.feed, func(d derive.Delta[store.Key, *model.Service]) {
			f.services = append(f.services, address.ServiceChange{Name: model.ServiceName(d.Key), Service: d.Value})
		}),
		derive.Each(m.Nodes, m.NodeNames).Follow(f.feed, func(d derive.Delta[store.Key, *model.Node]) {
			f.nodes = append(f.nodes, address.NodeChange{Name: d.Key.Name, Node: d.Value})
		}),
		db.FollowFindings(f.feed, func(d derive.Delta[finding.Object, []finding.Finding]) { f.findings[d.Key] = d.Value }),
	}
	if c.o.Ingress != nil {
		f.stops = append(f.stops, c.followIngresses(f.feed))
	}
	return f
}

func (f *follower) stop() {
	for _, stop := range f.stops {
		stop()
	}
}

func (f *follower) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.feed.Wake():
			f.step()
		}
	}
}

// step takes in everything that has changed.
func (f *follower) step() {
	_, rev := f.feed.Drain()
	f.c.take(rev, f.services, f.nodes, f.findings)
	f.services, f.nodes = nil, nil
	clear(f.findings)
}

// take decides what the changes mean, and tells the writers.
func (c *Control) take(rev derive.Rev, services []address.ServiceChange, nodes []address.NodeChange, derived map[finding.Object][]finding.Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for object, fs := range derived {
		s := c.findings[object]
		s.derived = fs
		c.say(object, s)
	}
	for _, ch := range services {
		if o := c.o.Ingress; o != nil && ch.Name == o.Service {
			var ips []netip.Addr
			if ch.Service != nil && ch.Service.LoadBalancer {
				ips = ch.Service.LoadBalancerIPs
			}
			c.reach(ips)
		}
		if ch.Service == nil || !ch.Service.LoadBalancer {
			delete(c.published, ch.Name)
		} else {
			c.published[ch.Name] = ch.Service.LoadBalancerIPs
		}
	}
	for _, o := range c.allocator.Apply(services, nodes) {
		if o.Write {
			c.writer.Want(o.Name, status.Addresses{IPs: o.Addresses, Exclusive: o.Exclusive})
		} else {
			c.writer.Settled(o.Name)
		}
		object := finding.Object{Kind: "Service", Namespace: o.Name.Namespace, Name: o.Name.Name}
		s := c.findings[object]
		s.here = o.Findings
		c.say(object, s)
	}
	if pools := c.allocator.PoolFindings(); !c.following || !slices.Equal(pools, c.poolFindings) {
		c.poolFindings = pools
		c.sayPools()
	}
	c.following, c.revision = true, rev
}

// sayPools notes what is wrong with the pools, by how they are written and by how the cluster is.
func (c *Control) sayPools() {
	by := map[finding.Object][]finding.Finding{}
	for object := range c.findings {
		if object.Kind == poolKind {
			by[object] = nil
		}
	}
	for _, f := range slices.Concat(c.o.PoolFindings, c.poolFindings) {
		by[f.Object] = append(by[f.Object], f)
	}
	for object, fs := range by {
		c.say(object, said{here: fs})
	}
}

// poolKind is the Kind of a pool in findings; no other object has it.
const poolKind = "Pool"

// say keeps the findings on an object, logs those that are new, and has them told as Events.
func (c *Control) say(object finding.Object, s said) {
	before, now := c.findings[object].all(), s.all()
	if len(now) == 0 {
		delete(c.findings, object)
	} else {
		c.findings[object] = s
	}
	if slices.Equal(before, now) {
		return
	}
	for _, f := range now {
		if !slices.Contains(before, f) {
			level := slog.LevelWarn
			if f.Severity < finding.Warning {
				level = slog.LevelInfo
			}
			c.log.Log(context.Background(), level, "finding", "object", object.String(), "field", f.Field, "severity", f.Severity.String(), "code", f.Code, "message", f.Message)
		}
	}
	c.events.Set(object, now)
}
