package hcm

import (
	"context"
	"errors"
	"os"

	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/route"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// failure is an attempt that brought no response.
type failure struct {
	status        int
	flags         message.Flags
	details, text string
	on            route.RetryOn // the reasons to try again that it is one of
}

const resetText = "upstream connect error or disconnect/reset before headers. reset reason: "

// notStarted says what became of an attempt for which there is no stream.
func (x *exchange) notStarted(err error) failure {
	switch {
	case errors.Is(err, upstream.ErrNoHealthyUpstream):
		return failure{503, message.NoHealthyUpstream, "no_healthy_upstream", "no healthy upstream", 0}
	case errors.Is(err, upstream.ErrOverflow):
		x.resp.Fields.Set("x-envoy-overloaded", "true")
		return failure{503, message.UpstreamOverflow, "upstream_reset_before_response_started{overflow}", resetText + "overflow", 0}
	case errors.Is(err, upstream.ErrDropped):
		return failure{503, message.UpstreamOverflow, "drop_overload", "drop overload", 0}
	case errors.Is(err, upstream.ErrConnect):
		x.info.UpstreamFailure = err.Error()
		reason, details := "remote connection failure", "upstream_reset_before_response_started{remote_connection_failure}"
		if errors.Is(err, upstream.ErrConnectTimeout) {
			reason, details = "connection timeout", "upstream_reset_before_response_started{connection_timeout}"
		}
		return failure{
			503, message.UpstreamConnectionFailure, details, resetText + reason,
			route.On5xx | route.OnGatewayError | route.OnConnectFailure | route.OnReset | route.OnResetBeforeRequest,
		}
	case x.c.ctx.Err() != nil:
		x.gone()
		return failure{}
	}
	return x.broken(err)
}

// broken says why an attempt ended without a response. When that is the client's doing the exchange is ended.
func (x *exchange) broken(err error) failure {
	if x.watch.noticed() || x.c.ctx.Err() != nil {
		x.gone()
		return failure{}
	}
	if lost := x.body.lostClient(); lost != nil {
		x.clientFailed(lost)
		return failure{}
	}
	const onReset = route.On5xx | route.OnGatewayError | route.OnReset
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		switch _, why := x.deadline(); why {
		case limitTry:
			return failure{504, message.UpstreamRequestTimeout, "upstream_per_try_timeout", "upstream request timeout", onReset}
		case limitStream:
			return failure{504, message.UpstreamMaxStreamDuration, "upstream_max_stream_duration_reached", "upstream max stream duration reached", 0}
		case limitIdle:
			return failure{504, message.StreamIdleTimeout, "stream_idle_timeout", "stream timeout", 0}
		}
		return failure{504, message.UpstreamRequestTimeout, "response_timeout", "upstream request timeout", 0}
	}
	var e *message.Error
	if errors.As(err, &e) {
		switch {
		case e.Reason == message.Protocol:
			return failure{
				502, message.UpstreamProtocolError, "upstream_reset_before_response_started{protocol_error}", resetText + "protocol error", onReset,
			}
		case e.Reason == message.Refused:
			return failure{
				503, message.UpstreamReset, "upstream_reset_before_response_started{remote_refused_stream_reset}", resetText + "remote refused stream reset",
				onReset | route.OnRefusedStream | route.OnResetBeforeRequest,
			}
		case e.Reason == message.Cancelled || e.Reason == message.Internal:
			return failure{503, message.UpstreamReset, "upstream_reset_before_response_started{remote_reset}", resetText + "remote reset", onReset}
		}
	}
	return failure{
		503, message.UpstreamTermination, "upstream_reset_before_response_started{connection_termination}", resetText + "connection termination", onReset,
	}
}

// fail answers for an endpoint that did not.
func (x *exchange) fail(f *route.Forward, why failure, exhausted bool) {
	if exhausted && f.Retry != nil {
		x.info.Flags |= message.UpstreamRetryLimit
	}
	overloaded := why.flags&message.UpstreamOverflow != 0
	x.resp.Reset()
	if overloaded {
		x.resp.Fields.Set("x-envoy-overloaded", "true")
	}
	x.local(why.status, why.details, why.text, why.flags)
}
