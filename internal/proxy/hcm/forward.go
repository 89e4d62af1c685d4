package hcm

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/route"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// forward sends the request to the route's cluster and the response to the client.
func (x *exchange) forward(f *route.Forward) {
	req := x.info.Request
	x.cluster = x.m.env.Clusters.Get(x.info.UpstreamCluster)
	if x.cluster == nil {
		x.local(f.NotFoundStatus, "cluster_not_found", "", message.NoCluster)
		return
	}
	x.pick.Downstream, x.pick.Source, x.pick.Local, x.pick.Destination = req.Version, x.info.Client, x.c.Local, x.c.Local
	x.directed()
	if at, ok := x.cluster.OriginalDestination(req); ok {
		x.pick.Destination = at
	}
	x.pick.Introduce = x.m.introduce
	if f.HighPriority {
		x.pick.Priority = upstream.High
	}
	x.pick.Hash, x.pick.HasHash, x.cookie = f.Hash(&x.info)
	x.plan(f)
	f.PrepareRequest(x.dest, &x.info)

	length := x.stream.RequestLength()
	size, inline := length, length > 0 && length <= wholeBytes
	if length == message.Unknown {
		size, inline = x.arrived()
	}
	if inline && !x.whole(size) {
		return
	}
	if len(f.Mirrors) > 0 {
		x.mirror(f, length, inline)
	}
	x.body.keeping = f.Retry != nil && f.Retry.Retries > 0 && f.Retry.Allows(req)
	if length == message.NoBody || inline {
		x.times.requestDone(x.now())
	}
	x.watch.start()
	x.attempts(f, length, inline)
}

// attempts tries until there is a response that is to be the client's, or none is to be had.
func (x *exchange) attempts(f *route.Forward, length int64, inline bool) {
	retries := 0
	if x.body.keeping {
		retries = f.Retry.Retries
	}
	retrying := false // the breaker counts a retry of ours
	endRetry := func(success bool) {
		if retrying {
			x.cluster.EndRetry(x.pick.Priority, success)
			retrying = false
		}
	}
	for {
		if x.watch.noticed() { // a stream that is reset as soon as it is open costs no connection
			endRetry(false)
			x.gone()
			return
		}
		x.info.Attempts++
		if x.route.VirtualHost.AttemptCount {
			fields := &x.info.Request.Fields
			var room [4]byte
			fields.Set("x-envoy-attempt-count", fields.Copy(strconv.AppendInt(room[:0], int64(x.info.Attempts), 10)))
		}
		cs, ep, why := x.attempt(f, length, inline)
		if cs == nil {
			x.endAttempt(0)
		}
		if x.ended { // the client went
			endRetry(false)
			return
		}
		again := retries > 0 && x.body.again()
		if cs != nil && (!again || !f.Retry.Again(&x.resp)) {
			endRetry(true)
			x.relay(f, cs, ep)
			return
		}
		if cs == nil && !(again && f.Retry.On.Has(why.on)) {
			endRetry(false)
			x.fail(f, why, retries == 0 && x.info.Attempts > 1)
			return
		}
		endRetry(false)
		if !x.cluster.BeginRetry(x.pick.Priority) {
			if cs != nil {
				x.info.Flags |= message.UpstreamOverflow
				x.relay(f, cs, ep)
				return
			}
			x.fail(f, why, false)
			return
		}
		retrying = true
		if cs != nil && !x.body.rewind() { // meanwhile more came than is kept
			endRetry(false)
			x.relay(f, cs, ep)
			return
		}
		retries--
		if cs != nil {
			ep.Done(upstream.Result{Status: x.outcome()})
			x.endAttempt(x.resp.Status)
			x.drop(cs)
		}
		x.resp.Reset()
		if f.Retry.PreviousHosts && ep != nil {
			x.tried = append(x.tried, ep)
			x.pick.Exclude = x.tried
		}
		x.endTry()
		if !x.backOff(f.Retry) {
			endRetry(false)
			x.fail(f, failure{504, message.UpstreamRequestTimeout, "response_timeout", "upstream request timeout", 0}, false)
			return
		}
	}
}

// backOff waits before the next attempt: up to the base interval, then twice that, and so on up to the maximum, each time a random part of it. It
// is false when the exchange has no time left.
func (x *exchange) backOff(r *route.Retry) bool {
	base := r.BackOff
	if base <= 0 {
		base = 25 * time.Millisecond
	}
	limit := r.MaxBackOff
	if limit <= 0 {
		limit = 10 * base
	}
	d := rand.N(min(limit, base<<min(x.info.Attempts-1, 16)) + 1)
	at, _ := x.deadline()
	if !at.IsZero() && time.Until(at) <= d {
		return false
	}
	return x.Wait(d)
}

// deadline is the earliest of the exchange's limits.
func (x *exchange) deadline() (time.Time, limit) {
	if x.body.running {
		x.body.mu.Lock()
		defer x.body.mu.Unlock()
	}
	return x.times.earliest()
}

// endTry stops the clocks of an attempt.
func (x *exchange) endTry() {
	if x.body.running {
		x.body.mu.Lock()
		defer x.body.mu.Unlock()
	}
	x.times.try, x.times.quiet = time.Time{}, time.Time{}
}

// beginTry starts the clock of an attempt and gives its deadline. The limit of a try counts from the request's last byte, or from the try's begin if that
// comes later: to wait for a connection is a part of it.
func (x *exchange) beginTry(complete bool) time.Time {
	if x.body.running {
		x.body.mu.Lock()
		defer x.body.mu.Unlock()
		complete = x.body.complete
	}
	if complete && x.times.perTry > 0 {
		x.times.tryDone(time.Now())
	}
	at, _ := x.times.earliest()
	return at
}

// awaitHead starts the clock of silence, for an attempt that has a stream, and gives its deadline.
func (x *exchange) awaitHead(now time.Time, complete bool) time.Time {
	if x.body.running {
		x.body.mu.Lock()
		defer x.body.mu.Unlock()
		complete = x.body.complete
	}
	if complete {
		if x.times.try.IsZero() { // the request came to its end meanwhile
			x.times.tryDone(now)
		}
		x.times.quietFrom(now)
	}
	at, _ := x.times.earliest()
	return at
}

// attempt sends the request to one endpoint and waits for the head of its response, which is then in x.resp. Without a stream, failure says why.
func (x *exchange) attempt(f *route.Forward, length int64, inline bool) (message.ClientStream, *upstream.Endpoint, failure) {
	req := x.info.Request
	complete := length == message.NoBody || inline
	x.pick.Until = x.beginTry(complete)
	ep, err := x.cluster.Pick(x.c.ctx, &x.pick)
	if err != nil {
		return nil, nil, x.notStarted(err)
	}
	if f.AutoHost && ep.Hostname() != "" {
		route.SetAuthority(req, ep.Hostname(), f.AppendForwardedHost)
	}
	x.ep, x.info.Upstream = ep, ep.RemoteAddrPort()
	x.beginAttempt()
	cs, err := ep.Start(x.c.ctx, req, length, &x.pick)
	if err != nil {
		return nil, ep, x.notStarted(err)
	}
	at := x.awaitHead(x.now(), complete)
	if !at.IsZero() {
		_ = cs.SetReadDeadline(at)
	}
	x.live = cs
	x.watch.over(cs)
	switch {
	case inline:
		// A request that could not be sent as a whole may have its answer all the same, and if not, reading it says so.
		if len(x.page) > 0 {
			if !at.IsZero() {
				_ = cs.SetWriteDeadline(at)
			}
			_, err = cs.Write(x.page)
		}
		if err == nil {
			_ = cs.Finish(nil)
		}
	case length != message.NoBody:
		x.body.start(cs, x.info.Attempts > 1)
	}
	if err = x.readHead(cs); err == nil {
		if x.m.exchange {
			x.takeAnswer(cs, ep)
		}
		return cs, ep, failure{}
	}
	why := x.broken(err)
	kind := upstream.Reset
	if why.flags&(message.UpstreamRequestTimeout|message.StreamIdleTimeout|message.UpstreamMaxStreamDuration) != 0 {
		kind = upstream.TimedOut
	}
	if !x.ended {
		ep.Done(upstream.Result{Failure: kind})
	}
	x.drop(cs)
	return nil, ep, why
}

// maxInterim is how many interim responses an endpoint may send before the final one.
const maxInterim = 32

// readHead waits for the final head of the response, and passes on interim ones but 100: the client was told to go on already.
func (x *exchange) readHead(cs message.ClientStream) error {
	for range maxInterim + 1 {
		if err := cs.ReadHead(&x.resp); err != nil {
			return err
		}
		if x.resp.Status >= 200 || x.resp.Status == 101 {
			return nil
		}
		if x.resp.Status != 100 {
			if err := x.stream.WriteInterim(&x.resp); err != nil {
				return err
			}
		}
	}
	return &message.Error{Reason: message.Protocol, Text: "interim responses without an end"}
}

// drop gives up an attempt's stream.
func (x *exchange) drop(cs message.ClientStream) {
	x.body.pause()
	x.watch.over(nil)
	x.live = nil
	cs.Close(message.Cancelled)
}
