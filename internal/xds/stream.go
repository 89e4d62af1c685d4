package xds

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

// stream is one client. All but its status belongs to the goroutine of run.
type stream struct {
	server *Server
	client Client
	log    *slog.Logger
	began  time.Time
	peer   string
	agent  string // what the client says it is
	own    bool   // it says that it knows what weft's own proxies do

	channels [kinds]*channel

	// shape brings listeners, routes and clusters, and is drained only when the client has what came before. quick brings endpoints and secrets.
	shape, quick *derive.Feed
	again        bool // something came up while it was sent

	clusterStops map[compose.ClusterKey]func()
	inboundPorts map[uint16]func() // of a sidecar: the clusters of its Pod's ports
	ruled        map[string]func() // of a sidecar: Services of the index with rules for connections
	stops        []func()
	allowed      map[model.ObjectName]bool // the Secrets that the client may have

	// awaited are the endpoints and secrets that a cluster wants before it can be used.
	awaited map[awaited]bool // true: they were asked for, so the next answer counts
	warm    *time.Timer

	status atomic.Pointer[ProxyStatus]
}

type awaited struct {
	kind kind
	name string
}

func newStream(s *Server, c Client, peer string) *stream {
	db := s.o.DB
	st := &stream{
		server: s, client: c, peer: peer, began: time.Now(), shape: db.NewFeed(), quick: db.NewFeed(),
		clusterStops: map[compose.ClusterKey]func(){}, inboundPorts: map[uint16]func(){}, ruled: map[string]func(){}, allowed: map[model.ObjectName]bool{}, awaited: map[awaited]bool{},
		log: s.o.Log.With("proxy", c.String(), "peer", peer), warm: time.NewTimer(time.Hour),
	}
	st.warm.Stop()
	for k := range kinds {
		st.channels[k] = newChannel(k)
	}
	st.publish()
	return st
}

// close ends what the stream follows.
func (st *stream) close() {
	st.warm.Stop()
	for _, stop := range st.stops {
		stop()
	}
	for _, stop := range st.clusterStops {
		stop()
	}
	for _, stop := range st.inboundPorts {
		stop()
	}
	for _, stop := range st.ruled {
		stop()
	}
	for _, c := range st.channels {
		for _, e := range c.entries {
			if e.stop != nil {
				e.stop()
			}
		}
	}
}

// run serves the client until ctx ends or it cannot be sent to.
func (st *stream) run(ctx context.Context, requests <-chan *discoveryv3.DeltaDiscoveryRequest, send func(*discoveryv3.DeltaDiscoveryResponse) error) error {
	for {
		if st.quiet() {
			st.drain()
		} else {
			st.quick.Drain()
		}
		for st.again = true; st.again; {
			st.again = false
			if err := st.push(send); err != nil {
				return err
			}
		}
		st.publish()
		select {
		case <-ctx.Done():
			return nil
		case r, open := <-requests:
			if !open {
				return nil
			}
			if err := st.receive(r); err != nil {
				return err
			}
		case <-st.shape.Wake():
		case <-st.quick.Wake():
		case <-st.warm.C:
			st.log.Debug("endpoints or secrets of a cluster were not asked for; going on", "waiting", len(st.awaited))
			clear(st.awaited)
		}
	}
}

// drain takes in what has changed. Afterwards the shape is no older than the endpoints: what is gone from both is not taken from the client before
// routes have left it.
func (st *stream) drain() {
	for {
		st.quick.Drain()
		if n, _ := st.shape.Drain(); n == 0 {
			return
		}
	}
}

// quiet tells whether the client has what was taken in last, apart from what may be held back for long.
func (st *stream) quiet() bool {
	c := st.channels[clusters]
	return c.flight == nil && !c.hasNews() && len(st.awaited) == 0 && st.channels[listeners].settled() && st.channels[routes].settled()
}

// push sends what may be sent now.
func (st *stream) push(send func(*discoveryv3.DeltaDiscoveryResponse) error) error {
	// What nobody refers to any more goes when the client has said that it uses the new listeners and routes.
	l, r := st.channels[listeners], st.channels[routes]
	c := st.channels[clusters]
	ready := func() bool {
		return len(st.awaited) == 0 && !c.hasNews() && (c.flight == nil || len(c.flight.names) == 0)
	}
	free := ready() && c.flight == nil && l.settled() && r.settled() && len(l.rejected) == 0 && len(r.rejected) == 0
	for _, step := range []struct {
		kind     kind
		may      func() bool
		removals bool
	}{
		{clusters, nil, free},
		{endpoints, nil, free},
		{secrets, nil, true},
		{listeners, ready, true},
		{routes, func() bool { return ready() && l.settled() }, true},
		{services, nil, true},
		{workloads, nil, true},
	} {
		if step.may != nil && !step.may() {
			continue
		}
		if err := st.send(st.channels[step.kind], step.removals, send); err != nil {
			return err
		}
	}
	return nil
}

func (st *stream) send(c *channel, removals bool, send func(*discoveryv3.DeltaDiscoveryResponse) error) error {
	f, bodies := c.next(time.Now(), removals, st.server.o.MaxResponseBytes)
	if f == nil {
		return nil
	}
	resp := &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: typeURLs[c.kind], Nonce: f.nonce, RemovedResources: f.removed, SystemVersionInfo: c.wanted.String(),
		ControlPlane: &corev3.ControlPlane{Identifier: st.server.o.Identifier},
	}
	size := 0
	for _, b := range bodies {
		resp.Resources = append(resp.Resources, &discoveryv3.Resource{Name: b.Name, Version: b.Version, Resource: b.Body})
		size += len(b.Body.Value)
		if c.kind == clusters {
			st.await(b)
		}
	}
	if c.kind == secrets {
		st.countDenied(f.removed)
	}
	if c.kind == endpoints {
		st.catchUp(f.removed)
	}
	st.server.metrics.pushed(c.kind, size)
	if st.log.Enabled(context.Background(), slog.LevelDebug) {
		st.log.Debug("sending", "type", c.kind.String(), "nonce", f.nonce, "resources", len(bodies), "removed", len(f.removed), "bytes", size)
	}
	return send(resp)
}

// catchUp takes in what is new if the endpoints of a cluster are gone that is about to be used: routes must not be brought there any more.
func (st *stream) catchUp(removed []string) {
	for _, name := range removed {
		if e := st.channels[clusters].entries[name]; e != nil && e.want != nil {
			st.drain()
			st.again = true
			return
		}
	}
}

// await notes what the client will want before it can use a cluster. Envoy makes a changed cluster anew, waits for its endpoints and does not
// acknowledge it before, but does not ask again for what it has asked for: they follow unasked.
func (st *stream) await(c *Resource) {
	if c.eds {
		e := st.channels[endpoints].entries[c.Name]
		asked := e != nil && e.byName
		st.awaited[awaited{endpoints, c.Name}] = asked
		if asked {
			st.channels[endpoints].resend(c.Name, e)
		}
	}
	for _, name := range c.secrets {
		if e := st.channels[secrets].entries[name]; e == nil || e.acked == "" {
			st.awaited[awaited{secrets, name}] = e != nil && e.byName
		}
	}
	st.warm.Reset(st.server.o.WarmWait)
}

var errTooMany = errors.New("too many names are subscribed to")

// receive takes in a request: what it says of a response, and what it asks for.
func (st *stream) receive(r *discoveryv3.DeltaDiscoveryRequest) error {
	if n := r.GetNode(); n != nil && st.agent == "" {
		st.own = slices.Contains(n.GetClientFeatures(), meshpb.Feature)
		st.agent = shorten(n.GetUserAgentName()+" "+n.GetUserAgentVersion(), 100)
	}
	k := kind(slices.Index(typeURLs[:], r.GetTypeUrl()))
	if k < 0 {
		st.log.Debug("resources of an unknown type are asked for", "type", r.GetTypeUrl())
		return nil
	}
	c := st.channels[k]
	if c.flight != nil && r.GetResponseNonce() == c.flight.nonce {
		st.answered(c, r)
	}
	first := !c.asked
	if first {
		c.asked = true
		if st.client.Sidecar == nil {
			st.follow(k)
		}
		for name, version := range r.GetInitialResourceVersions() {
			e := c.entry(name)
			e.has, e.byName = version, false
			c.use(name, e, version)
		}
		if len(r.GetResourceNamesSubscribe()) == 0 && len(r.GetResourceNamesUnsubscribe()) == 0 {
			st.subscribeAll(c, len(r.GetInitialResourceVersions()) == 0)
		}
	}
	for _, name := range r.GetResourceNamesSubscribe() {
		if name == "*" {
			st.subscribeAll(c, len(r.GetInitialResourceVersions()) == 0)
			continue
		}
		e := c.entry(name)
		again := e.byName || e.has != "" && !first
		e.byName = true
		st.track(c, name, e)
		e.stale = e.stale || again
		if a := (awaited{k, name}); !first || e.has == "" {
			if _, waits := st.awaited[a]; waits {
				st.awaited[a] = true
				e.stale = true
			}
		}
		c.check(name, e)
	}
	for _, name := range r.GetResourceNamesUnsubscribe() {
		if name == "*" {
			c.wildcard, c.greet = false, false
			for name, e := range c.entries {
				c.check(name, e)
			}
			continue
		}
		st.unsubscribe(c, name)
	}
	if first { // what it has and did not name is not its to have
		for name, e := range c.entries {
			c.check(name, e)
		}
	}
	if len(c.entries) > st.server.o.MaxNames && !(c.wildcard && k == services) {
		return errTooMany
	}
	if k != endpoints && k != services && (first || len(r.GetResourceNamesSubscribe()) > 0) {
		st.drain() // what is subscribed to anew is there at once
	}
	return nil
}

func (st *stream) subscribeAll(c *channel, greet bool) {
	if c.wildcard {
		return
	}
	c.wildcard = true
	if st.client.Sidecar != nil {
		st.followMesh(c.kind)
	}
	c.greet = greet && c.kind.wildcards()
	for name, e := range c.entries {
		c.check(name, e)
	}
}

func (st *stream) unsubscribe(c *channel, name string) {
	e := c.entries[name]
	if e == nil || !e.byName {
		return
	}
	e.byName = false
	if a := (awaited{c.kind, name}); st.awaited[a] {
		st.awaited[a] = false // it has gone back on it, and may ask again for what was sent since
	}
	if !c.kind.wildcards() {
		if e.stop != nil {
			e.stop()
			e.stop = nil
		}
		e.want, e.kept, e.secret = nil, nil, secretKey{}
	} else if c.wildcard { // the client has dropped it, and may be due it all the same
		e.stale = true
	} else if e.stop != nil {
		e.stop()
		e.stop, e.want = nil, nil
	}
	c.check(name, e)
}

// answered takes in that the client accepts or rejects a response.
func (st *stream) answered(c *channel, r *discoveryv3.DeltaDiscoveryRequest) {
	text := ""
	if d := r.GetErrorDetail(); d != nil {
		if text = shorten(d.GetMessage(), 2000); text == "" {
			text = "rejected without a word"
		}
	}
	took := time.Since(c.flight.sent)
	f := c.answered(text)
	st.server.metrics.answered(c.kind, took, text != "")
	if text != "" && len(f.names) <= 1 {
		st.log.Warn("the proxy rejects a resource and keeps what it had", "type", c.kind.String(), "names", f.names, "error", text)
	}
	switch c.kind {
	case clusters:
		for _, name := range f.names {
			if text != "" {
				st.unwait(name)
			}
		}
	case endpoints, secrets:
		for _, name := range slices.Concat(f.names, f.removed) {
			a := awaited{c.kind, name}
			if e := c.entries[name]; st.awaited[a] && (e == nil || !e.stale) {
				delete(st.awaited, a)
			}
		}
	}
	if len(st.awaited) == 0 {
		st.warm.Stop()
	}
}

// unwait goes on without what a rejected cluster would have wanted.
func (st *stream) unwait(name string) {
	delete(st.awaited, awaited{endpoints, name})
	if e := st.channels[clusters].entries[name]; e != nil && e.want != nil {
		for _, s := range e.want.secrets {
			delete(st.awaited, awaited{secrets, s})
		}
	}
}

// countDenied notes which Secrets the client is not given because they are none of its own.
func (st *stream) countDenied(names []string) {
	for _, name := range names {
		if e := st.channels[secrets].entries[name]; e != nil && e.secret.object == (model.ObjectName{}) {
			st.server.metrics.denied.Inc()
			st.log.Warn("a proxy asks for a Secret that none of its listeners and clusters names", "secret", shorten(name, 300))
		}
	}
}

// shorten bounds a text that a client chose.
func shorten(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return s
}
