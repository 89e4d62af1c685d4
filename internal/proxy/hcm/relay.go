package hcm

import (
	"errors"
	"os"
	"strconv"
	"time"

	http1 "github.com/weftmesh/weft/internal/proxy/http1/transport"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/route"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// outcome is the response's status as outlier detection sees it.
func (x *exchange) outcome() int {
	if x.grpc && x.resp.Status == 200 && x.status > 0 {
		return httpStatus(x.status)
	}
	return x.resp.Status
}

// relay sends the response to the client.
func (x *exchange) relay(f *route.Forward, cs message.ClientStream, ep *upstream.Endpoint) {
	x.info.Details = "via_upstream"
	if x.grpc {
		x.status = grpcStatus(&x.resp.Fields) // in the head if there is no body
	}
	if x.body.running {
		x.body.mu.Lock()
		x.body.headed = true
		x.body.mu.Unlock()
	}
	if !x.relayHead(f, cs) {
		x.release(cs, nil, message.Cancelled, upstream.NoFailure)
		return
	}
	x.relayBody(cs, ep)
}

// release gives the stream back. ep, unless it is nil, is told what came of the exchange.
func (x *exchange) release(cs message.ClientStream, ep *upstream.Endpoint, reason message.Reason, failed upstream.Failure) {
	if ep != nil {
		ep.Done(upstream.Result{Status: x.outcome(), Failure: failed})
	}
	x.body.pause()
	x.watch.over(nil)
	x.live = nil
	cs.Close(reason)
}

// relayHead sends the head of the response; it is false when the client went.
func (x *exchange) relayHead(f *route.Forward, cs message.ClientStream) bool {
	r := &x.resp
	x.info.Response = r
	var room [24]byte
	if x.cookie != nil {
		r.Fields.Add("set-cookie", r.Fields.Copy(x.cookie.Append(nil)))
	}
	x.info.ResponseDuration = time.Since(x.info.Start)
	r.Fields.Set("x-envoy-upstream-service-time", r.Fields.Copy(strconv.AppendInt(room[:0], x.info.ResponseDuration.Milliseconds(), 10)))
	if x.route.VirtualHost.ResponseAttemptCount {
		r.Fields.Set("x-envoy-attempt-count", r.Fields.Copy(strconv.AppendInt(room[:0], int64(x.info.Attempts), 10)))
	}
	x.dest.FinishResponse(&x.info)
	x.finishHead(r)
	x.tunnel = r.Status == 101 || r.Status/100 == 2 && x.info.Request.Method == "CONNECT"
	length := cs.ResponseLength()
	if x.tunnel {
		length = message.Unknown
	}
	if err := x.sendHead(r, length); err != nil {
		x.gone()
		return false
	}
	return true
}

// unwrapper is a stream that only stands before another by now.
type unwrapper interface{ Unwrap() message.ClientStream }

func (x *exchange) relayBody(cs message.ClientStream, ep *upstream.Endpoint) {
	var from http1.Reader = cs
	if u, ok := cs.(unwrapper); ok {
		from = u.Unwrap()
	}
	if x.tunnel {
		x.runTunnel(cs, from)
		x.release(cs, ep, message.Done, upstream.NoFailure)
		return
	}
	if cs.ResponseLength() != message.NoBody && x.info.Request.Method != "HEAD" {
		x.endTry() // those limits were for the head
		until, _ := x.deadline()
		if until.IsZero() && x.times.idle == 0 {
			_ = cs.SetReadDeadline(until)
			x.watch.renew(cs)
		}
		n, readErr, writeErr := http1.CopyWithin(x.stream, from, http1.Limits{Idle: x.times.idle, Until: until, Pulse: &x.pulse})
		x.info.BytesSent = n
		if writeErr != nil {
			x.gone()
			if errors.Is(writeErr, os.ErrDeadlineExceeded) {
				x.info.Flags |= message.StreamIdleTimeout
				x.info.Details = "downstream_takes_nothing"
			}
			x.release(cs, nil, message.Cancelled, upstream.NoFailure)
			return
		}
		if readErr != nil {
			if failed := x.cutOff(readErr); failed != upstream.NoFailure {
				x.release(cs, ep, message.Cancelled, failed)
			} else {
				x.release(cs, nil, message.Cancelled, failed)
			}
			return
		}
	}
	trailers := cs.ResponseTrailers()
	if trailers == nil || trailers.Len() == 0 {
		// The connection is there for the next request before the client can send it.
		x.release(cs, ep, message.Done, upstream.NoFailure)
		x.finish(nil)
		return
	}
	if x.grpc && x.status < 0 {
		x.status = grpcStatus(trailers)
	}
	x.finish(trailers)
	x.release(cs, ep, message.Done, upstream.NoFailure)
}

func (x *exchange) finish(trailers *message.Fields) {
	if err := x.stream.Finish(trailers); err != nil {
		x.gone()
		return
	}
	x.ended = true
}

// cutOff ends a response that the endpoint did not finish: the client must notice.
func (x *exchange) cutOff(err error) upstream.Failure {
	failed := upstream.Reset
	switch {
	case x.body.lostClient() != nil || x.watch.noticed():
		x.gone()
		return upstream.NoFailure
	case errors.Is(err, os.ErrDeadlineExceeded):
		failed = upstream.TimedOut
		at, why := x.deadline()
		if time.Now().Before(at) {
			why = limitIdle
		}
		switch why {
		case limitStream:
			x.info.Flags |= message.UpstreamMaxStreamDuration
			x.info.Details = "upstream_max_stream_duration_reached"
		case limitTimeout:
			x.info.Flags |= message.UpstreamRequestTimeout
			x.info.Details = "response_timeout"
		default:
			x.info.Flags |= message.StreamIdleTimeout
			x.info.Details = "stream_idle_timeout"
		}
	default:
		x.info.Flags |= message.UpstreamTermination
		x.info.Details = "upstream_reset_after_response_started{connection_termination}"
	}
	x.stream.Abort(message.Internal)
	x.ended = true
	return failed
}

// runTunnel carries bytes both ways until the endpoint ends its direction, or either side fails.
func (x *exchange) runTunnel(cs message.ClientStream, from http1.Reader) {
	up := make(chan int64, 1)
	limits := http1.Limits{Idle: x.times.idle, Pulse: &x.pulse}
	_ = cs.SetReadDeadline(time.Time{})
	_ = cs.SetWriteDeadline(time.Time{})
	go func() {
		var n int64
		defer func() { up <- n }()
		defer x.guard()
		var readErr, writeErr error
		n, readErr, writeErr = http1.CopyWithin(cs, x.stream, limits)
		if readErr == nil && writeErr == nil {
			_ = cs.Finish(nil)
		} else {
			x.pulse.Stop()
			_ = cs.SetReadDeadline(past)
		}
	}()
	n, _, writeErr := http1.CopyWithin(x.stream, from, limits)
	x.info.BytesSent = n
	if writeErr == nil {
		_ = x.stream.Finish(nil)
	}
	x.pulse.Stop()
	_ = x.stream.SetReadDeadline(past)
	_ = cs.SetWriteDeadline(past)
	x.info.BytesReceived = <-up
	x.ended = true
	if writeErr != nil {
		x.info.Flags |= message.DownstreamTermination
		x.stream.Abort(message.Cancelled)
	}
}
