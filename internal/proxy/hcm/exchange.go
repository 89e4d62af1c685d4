package hcm

import (
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/proxy/filter"
	http1 "github.com/weftmesh/weft/internal/proxy/http1/transport"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/route"
	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// exchange is one request and its response. It comes from a pool and goes back when ServeExchange returns.
type exchange struct {
	m      *Manager
	c      *conn
	stream message.ServerStream
	info   message.Info
	resp   message.Response
	reply  filter.Reply

	route     *route.Route
	dest      *route.Destination
	settings  *filter.Settings
	cluster   *upstream.Cluster
	direction Direction
	ep        *upstream.Endpoint // of the last attempt
	claim     *claim             // what the client's proxy says of itself; may be nil
	asked     bool               // it wants to know whose we are
	spans     spans
	pick      upstream.PickContext
	tried     []*upstream.Endpoint
	cookie    *route.Cookie

	live   message.ClientStream // of the attempt that is under way
	body   body
	watch  watch
	times  times
	pulse  http1.Pulse
	grpc   bool
	status int    // of gRPC; -1 if it is none or not known
	tunnel bool   // the bytes that follow the head are not HTTP's
	page   []byte // of a body that was read whole

	began bool // the response's head is on its way
	ended bool // the response is complete, or was given up
}

type pool struct {
	sync.Pool
	dates
}

// ServeExchange implements [message.Handler].
func (c *conn) ServeExchange(s message.ServerStream) {
	x, _ := c.m.pool.Get().(*exchange)
	if x == nil {
		x = &exchange{}
		x.body.init(x)
		x.watch.init(x)
	}
	x.begin(c, s)
	defer x.end()
	x.run()
}

func (x *exchange) begin(c *conn, s message.ServerStream) {
	x.m, x.c, x.stream, x.status = c.m, c, s, -1
	x.info = message.Info{
		Request: s.Request(), Start: time.Now(), Random: rand.Uint64(), Client: c.Peer, Source: c.Peer, Peer: c.Transport, Local: c.Local, ConnectionID: c.ID,
		ServerName: c.ServerName, TLSVersion: c.tlsVersion, TLSCipher: c.tlsCipher, PeerURISAN: c.peerURISAN, PeerSubject: c.peerSubject,
		Secure: c.TLS != nil, PeerNames: c.peerNames, Metadata: x.info.Metadata[:0],
	}
	c.m.env.Metrics.Active.Add(1)
}

// end finishes what is left open, counts and logs the exchange, and gives it back.
func (x *exchange) end() {
	p := recover()
	if p != nil {
		x.panicked(p)
	}
	x.watch.stop()
	x.body.stop()
	if !x.ended {
		x.stream.Abort(message.Internal)
	}
	x.info.Duration = time.Since(x.info.Start)
	x.count()
	if x.m.tracer != nil {
		x.endSpan()
	}
	if x.m.log.Enabled() {
		x.m.log.Write(&x.info)
	}
	x.m.env.Metrics.Active.Add(-1)
	if p != nil {
		return // whatever it left in the exchange goes with it
	}
	m := x.m
	x.reset()
	m.pool.Put(x)
}

func (x *exchange) panicked(p any) {
	x.m.env.Metrics.Panics.Add(x.c.Shard, 1)
	x.m.env.Log.Error("a connection was closed: serving a request panicked", "route", x.info.RouteName, "origin", x.info.Origin, "peer", x.c.Peer,
		"panic", p, "stack", string(debug.Stack()))
	x.ended = false
	_ = x.c.Net.Close()
	if cs := x.live; cs != nil {
		x.live = nil
		defer func() { _ = recover() }() // what panicked may be this stream
		x.watch.over(nil)
		cs.Close(message.Internal)
	}
}

// guard is deferred by the goroutines that an exchange has beside its own.
func (x *exchange) guard() {
	if p := recover(); p != nil {
		x.m.env.Metrics.Panics.Add(x.c.Shard, 1)
		x.m.env.Log.Error("a connection was closed: carrying a request panicked", "peer", x.c.Peer, "panic", p, "stack", string(debug.Stack()))
		_ = x.c.Net.Close()
	}
}

func (x *exchange) reset() {
	x.resp.Reset()
	clear(x.tried)
	clear(x.info.Metadata)
	x.m, x.c, x.stream, x.info = nil, nil, nil, message.Info{Metadata: x.info.Metadata[:0]}
	x.reply = filter.Reply{}
	x.route, x.dest, x.settings, x.cluster, x.cookie = nil, nil, nil, nil, nil
	x.ep, x.claim, x.asked = nil, nil, false
	x.spans = spans{attributes: x.spans.attributes[:0], host: x.spans.host[:0]}
	x.direction = Direction{}
	x.pick, x.tried = upstream.PickContext{}, x.tried[:0]
	x.times, x.live = times{}, nil
	x.grpc, x.tunnel, x.began, x.ended = false, false, false, false
	x.page = x.page[:0]
	x.body.reset()
	x.pulse.Reset()
}

// Info implements [filter.Exchange].
func (x *exchange) Info() *message.Info { return &x.info }

// Wait implements [filter.Exchange].
func (x *exchange) Wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-x.c.ctx.Done():
	case <-x.stream.Gone():
	}
	x.info.Flags |= message.DownstreamTermination
	return false
}

// run serves the exchange: head, route, filters, and then an answer of our own or the endpoint's.
func (x *exchange) run() {
	req := x.info.Request
	x.grpc = isGRPC(req)
	if status, details := x.prepare(); status != 0 {
		x.local(status, details, "", 0)
		return
	}
	if x.m.exchange {
		x.takeClaim()
	}
	if x.m.tracer != nil {
		x.beginSpan()
	}
	switch x.m.paths.Apply(req) {
	case route.Reject:
		x.local(400, "path_normalization_failed", "", 0)
		return
	case route.RedirectToNormal:
		x.resp.Fields.Set("location", req.Path)
		x.local(307, "path_normalization_failed", "", 0)
		return
	}
	if table := x.table(); table != nil {
		x.route = table.Match(&x.info)
	}
	if r := x.route; r != nil {
		x.info.RouteName, x.info.VirtualHost, x.info.Origin = r.Name, r.VirtualHost.Name, r.Origin
		x.settings = &r.Filters
		if r.Forward != nil {
			x.dest = r.Forward.Pick(&x.info)
			x.settings = &x.dest.Filters
			x.info.UpstreamCluster = x.dest.ClusterOf(req)
		}
	}
	if x.refusesUpgrade() {
		return
	}
	x.reply.Response = &x.resp
	if x.m.chain.Request(x, x.settings, &x.reply) {
		x.answerCall()
		return
	}
	switch {
	case x.route == nil:
		x.local(404, "route_not_found", "", message.NoRoute)
	case x.route.Answer(&x.info, &x.reply):
		if x.route.Redirect != nil {
			x.answer()
		} else {
			x.answerCall()
		}
	default:
		x.forward(x.route.Forward)
	}
}

// refusesUpgrade answers a request to switch protocols where that is not allowed.
func (x *exchange) refusesUpgrade() bool {
	req := x.info.Request
	protocol := req.Protocol
	if protocol == "" {
		if req.Method != "CONNECT" {
			return false
		}
		protocol = "connect"
	}
	allowed := x.m.upgrades[protocol]
	if !allowed {
		allowed = x.m.upgrades[strings.ToLower(protocol)]
	}
	if x.route != nil && x.route.Forward != nil {
		if on, said := x.route.Forward.Upgrade(protocol); said {
			allowed = on
		}
	}
	if !allowed {
		x.local(403, "upgrade_failed", "", 0)
	}
	return !allowed
}

// count adds the exchange to what is counted of its destination.
func (x *exchange) count() {
	o := stats.Outcome{Flags: x.info.Flags, GRPC: -1}
	if x.info.Response != nil {
		o.Status = x.info.Response.Status
	}
	if x.grpc {
		o.GRPC = max(x.status, 0)
		if x.status < 0 {
			o.GRPC = 2 // UNKNOWN: there was none
		}
	}
	x.counters().Request(x.c.Shard, o, x.info.Duration, x.info.BytesReceived, x.info.BytesSent)
}

// isGRPC tells whether a request is a gRPC call, by its content-type.
func isGRPC(req *message.Request) bool {
	v, _ := req.Fields.Get("content-type")
	const kind = "application/grpc"
	return len(v) >= len(kind) && v[:len(kind)] == kind && (len(v) == len(kind) || v[len(kind)] == '+' || v[len(kind)] == ';')
}

// grpcStatus reads a grpc-status; -1 is none, or one that is no number.
func grpcStatus(f *message.Fields) int {
	if f == nil {
		return -1
	}
	v, ok := f.Get("grpc-status")
	if !ok {
		return -1
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 16 {
		return -1
	}
	return n
}
