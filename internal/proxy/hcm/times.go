package hcm

import (
	"strconv"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/route"
)

// times are the limits of an exchange with its endpoint. The zero time is no limit.
type times struct {
	timeout time.Duration // from the request's last byte to the response's
	idle    time.Duration // of the stream
	perTry  time.Duration

	whole  time.Time // from timeout, once the request is complete
	stream time.Time // from max_stream_duration
	try    time.Time // of this attempt
	quiet  time.Time // from idle, until the response's head
}

// limit is why a deadline was reached.
type limit uint8

const (
	noLimit limit = iota
	limitTimeout
	limitTry
	limitStream
	limitIdle
)

// earliest is the deadline, and what it comes from.
func (t *times) earliest() (at time.Time, why limit) {
	for i, one := range [...]time.Time{t.whole, t.try, t.stream, t.quiet} {
		if !one.IsZero() && (at.IsZero() || one.Before(at)) {
			at, why = one, [...]limit{limitTimeout, limitTry, limitStream, limitIdle}[i]
		}
	}
	return at, why
}

// plan reads the limits that a route and the request set.
func (x *exchange) plan(f *route.Forward) {
	t := &x.times
	t.timeout, t.idle = f.Timeout, x.m.idle
	if f.HasIdleTimeout {
		t.idle = f.IdleTimeout
	}
	if f.GRPCTimeout && x.grpc {
		if d, ok := grpcTimeout(&x.info.Request.Fields); ok {
			if f.GRPCTimeoutMax > 0 {
				d = min(d, f.GRPCTimeoutMax)
			}
			if d > f.GRPCTimeoutOffset {
				d -= f.GRPCTimeoutOffset
			}
			t.timeout = d
		} else {
			t.timeout = f.GRPCTimeoutMax
		}
	}
	if f.Retry != nil {
		t.perTry = f.Retry.PerTry
	}
	if f.MaxStreamDuration > 0 {
		t.stream = x.info.Start.Add(f.MaxStreamDuration)
	}
	if d := t.timeout; d > 0 || t.perTry > 0 {
		if t.perTry > 0 && (d == 0 || t.perTry < d) {
			d = t.perTry
		}
		fields := &x.info.Request.Fields
		var room [20]byte
		fields.Set("x-envoy-expected-rq-timeout-ms", fields.Copy(strconv.AppendInt(room[:0], d.Milliseconds(), 10)))
	}
}

// now is the time, if some limit is to be counted from it: to look at the clock is not free.
func (x *exchange) now() (now time.Time) {
	if t := &x.times; t.timeout > 0 || t.perTry > 0 || t.idle > 0 {
		now = time.Now()
	}
	return now
}

// quietFrom starts the clock of silence. Before the request is complete there is none: whoever carries its body limits how long either side may
// move no byte.
func (t *times) quietFrom(now time.Time) {
	if t.idle > 0 {
		t.quiet = now.Add(t.idle)
	}
}

// requestDone starts the clock of the timeout.
func (t *times) requestDone(now time.Time) {
	if t.timeout > 0 && t.whole.IsZero() {
		t.whole = now.Add(t.timeout)
	}
}

// tryDone starts the clock of this attempt's limit.
func (t *times) tryDone(now time.Time) {
	if t.perTry > 0 {
		t.try = now.Add(t.perTry)
	}
}

// grpcTimeout reads grpc-timeout: a number of up to eight digits and a unit.
func grpcTimeout(f *message.Fields) (time.Duration, bool) {
	v, ok := f.Get("grpc-timeout")
	if !ok || len(v) < 2 || len(v) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(v[:len(v)-1], 10, 64)
	if err != nil {
		return 0, false
	}
	var unit time.Duration
	switch v[len(v)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	if n > uint64(1<<62/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}
