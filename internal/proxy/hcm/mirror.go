package hcm

import (
	"context"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/route"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

const (
	// maxMirrors is how many copies are under way at a time; what comes on top is not mirrored.
	maxMirrors = 1024
	// mirrorTimeout ends a copy whose route has no timeout.
	mirrorTimeout = 15 * time.Second
)

// Mirrors sends copies of requests, whose responses nobody reads. Make it with NewMirrors.
type Mirrors struct{ free chan struct{} }

// NewMirrors makes it.
func NewMirrors() *Mirrors { return &Mirrors{make(chan struct{}, maxMirrors)} }

// Wait waits for the copies that are under way. No others may begin meanwhile.
func (m *Mirrors) Wait() {
	for range cap(m.free) {
		m.free <- struct{}{}
	}
}

// mirror sends copies of the request to where the route wants them.
func (x *exchange) mirror(f *route.Forward, length int64, inline bool) {
	for i := range f.Mirrors {
		m := &f.Mirrors[i]
		name, ok := m.ClusterOf(i, &x.info)
		if !ok {
			continue
		}
		c := x.m.env.Clusters.Get(name)
		if c == nil {
			continue
		}
		if length != message.NoBody && !inline {
			x.m.env.Metrics.MirrorDropped.Add(x.c.Shard, 1)
			continue
		}
		select {
		case x.m.env.Mirrors.free <- struct{}{}:
		default:
			x.m.env.Metrics.MirrorDropped.Add(x.c.Shard, 1)
			continue
		}
		req := clone(x.info.Request)
		if m.Host != "" {
			req.Authority = m.Host
		} else if m.ShadowHost {
			req.Authority = shadow(req.Authority)
		}
		var body []byte
		if inline {
			body = slices.Clone(x.page)
		}
		timeout := x.times.timeout
		if timeout <= 0 {
			timeout = mirrorTimeout
		}
		env, shard := x.m.env, x.c.Shard
		go func() {
			defer func() {
				<-env.Mirrors.free
				if p := recover(); p != nil {
					env.Metrics.Panics.Add(shard, 1)
					env.Log.Error("a copy of a request was given up: sending it panicked", "cluster", c.Name(), "panic", p, "stack", string(debug.Stack()))
				}
			}()
			send(c, req, body, timeout)
		}()
	}
}

// shadow puts -shadow behind the host of an authority, before its port.
func shadow(authority string) string {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.IndexByte(authority[i:], ']') >= 0 {
		return authority + "-shadow"
	}
	return authority[:i] + "-shadow" + authority[i:]
}

// send makes a request and reads its response for nobody.
func send(c *upstream.Cluster, req *message.Request, body []byte, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	length := int64(len(body))
	cs, ep, err := c.Start(ctx, req, length, &upstream.PickContext{Downstream: req.Version})
	if err != nil {
		return
	}
	_ = cs.SetReadDeadline(deadline)
	_ = cs.SetWriteDeadline(deadline)
	reason := message.Cancelled
	result := upstream.Result{Failure: upstream.Reset}
	defer func() {
		ep.Done(result)
		cs.Close(reason)
	}()
	if length > 0 {
		if _, err := cs.Write(body); err != nil {
			return
		}
		if err := cs.Finish(nil); err != nil {
			return
		}
	}
	var resp message.Response
	for resp.Status < 200 {
		if err := cs.ReadHead(&resp); err != nil {
			return
		}
	}
	result = upstream.Result{Status: resp.Status}
	page := pages.Get().(*[]byte)
	defer pages.Put(page)
	for {
		if _, err := cs.Read(*page); err != nil {
			reason = message.Done
			return
		}
	}
}

// clone copies a request's head, for one that outlives the exchange.
func clone(req *message.Request) *message.Request {
	c := &message.Request{}
	room := make([]byte, 0, 1024)
	keep := func(s string) string {
		room = append(room, s...)
		return string(room[len(room)-len(s):])
	}
	c.Method, c.Scheme, c.Authority, c.Path, c.Version = keep(req.Method), keep(req.Scheme), keep(req.Authority), keep(req.Path), req.Version
	for _, h := range slices.All(req.Fields.All()) {
		c.Fields.Add(keep(h.Name), keep(h.Value))
	}
	return c
}
