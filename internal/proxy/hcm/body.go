package hcm

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	http1 "github.com/weftmesh/weft/internal/proxy/http1/transport"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// past is a deadline that was reached.
var past = time.Unix(1, 0)

const (
	// keepBytes is how much of a request's body is kept for another attempt.
	keepBytes = 64 << 10
	// wholeBytes is up to what length a body is read before an attempt begins.
	wholeBytes = 16 << 10
)

// pages are buffers for bodies.
var pages = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// body carries the request's body to the endpoint, in a goroutine of its own, while the exchange's goroutine waits for the response. If the request
// may be tried again it keeps what it read, as long as that is not too much, and a new attempt gets that first.
type body struct {
	x       *exchange
	running bool
	done    sync.WaitGroup

	mu       sync.Mutex
	changed  sync.Cond
	to       message.ClientStream // of the current attempt; nil between attempts
	using    message.ClientStream // what carry writes to at this moment
	kept     []byte
	keeping  bool
	complete bool  // the request was read to its end
	stopped  bool  // nobody wants more of it
	failed   error // why nothing more comes of the request before its end
	moved    bool  // something was sent that is not kept: there is no other attempt
	headed   bool  // the response has begun
	silent   bool  // the client said nothing for as long as it may, and the endpoint did; of carry alone
	received int64
	took     time.Duration // until it was complete
}

func (b *body) init(x *exchange) {
	b.x = x
	b.changed.L = &b.mu
}

func (b *body) reset() {
	b.running, b.to, b.using, b.keeping, b.complete, b.stopped, b.failed, b.moved, b.headed = false, nil, nil, false, false, false, nil, false, false
	b.received, b.took, b.silent = 0, 0, false
	if cap(b.kept) > wholeBytes {
		b.kept = nil // seldom needed, and large
	}
	b.kept = b.kept[:0]
}

// start begins to carry the body to an attempt's stream, from its beginning. again says that there was an attempt before.
func (b *body) start(to message.ClientStream, again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if again && len(b.kept) > 0 {
		at, _ := b.x.times.earliest()
		if !at.IsZero() {
			_ = to.SetWriteDeadline(at)
		}
		if _, err := to.Write(b.kept); err == nil && !b.complete {
			_ = to.Flush()
			if !at.IsZero() {
				_ = to.SetWriteDeadline(time.Time{})
			}
		}
	}
	if again && b.complete {
		_ = to.Finish(b.x.trailers())
	}
	b.to = to
	if b.failed != nil {
		_ = to.SetReadDeadline(past)
	}
	if !b.running {
		b.running = true
		b.done.Add(1)
		go b.carry()
	}
	b.changed.Broadcast()
}

// pause takes the stream away, before it is closed: nobody uses it any more when pause returns.
func (b *body) pause() {
	if !b.running {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leave()
}

// rewind is pause if another attempt can be given the whole body; else it does nothing and is false.
func (b *body) rewind() bool {
	if !b.running {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.keeping || b.failed != nil {
		return false
	}
	b.leave()
	return true
}

// leave is pause with b.mu held.
func (b *body) leave() {
	to := b.to
	b.to = nil
	if b.using == nil {
		return
	}
	_ = to.SetWriteDeadline(past) // wakes who waits for the endpoint to read
	if b.moved {
		b.x.pulse.Stop()
		_ = b.x.stream.SetReadDeadline(past) // and who waits for the client, with nothing to do after this attempt
	}
	for b.using != nil {
		b.changed.Wait()
	}
}

// again tells whether another attempt can be given the whole body.
func (b *body) again() bool {
	if !b.running {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keeping && b.failed == nil
}

// stop ends the goroutine and waits for it.
func (b *body) stop() {
	if !b.running {
		return
	}
	b.pause()
	b.mu.Lock()
	b.stopped = true
	complete := b.complete
	b.changed.Broadcast()
	b.mu.Unlock()
	if !complete {
		b.x.pulse.Stop()
		_ = b.x.stream.SetReadDeadline(past)
	}
	b.done.Wait()
	b.running = false
	if !complete {
		_ = b.x.stream.SetReadDeadline(time.Time{})
	}
	b.x.info.BytesReceived, b.x.info.RequestDuration = b.received, b.took
}

// target waits for an attempt other than the one that failed; nil is the end.
func (b *body) target(failed message.ClientStream) message.ClientStream {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.stopped && (b.to == nil || b.to == failed) {
		b.changed.Wait()
	}
	if b.stopped {
		return nil
	}
	return b.to
}

// send runs f on a stream that is in use, and notes that it is no more.
func (b *body) send(to message.ClientStream, f func(message.ClientStream) error) error {
	err := f(to)
	b.release()
	return err
}

// carry reads the request's body to its end.
func (b *body) carry() {
	defer b.done.Done()
	defer b.x.guard()
	defer b.release()
	page := pages.Get().(*[]byte)
	defer pages.Put(page)
	var failed message.ClientStream
	for {
		to := b.target(failed)
		if to == nil {
			return
		}
		b.mu.Lock()
		complete, keeping := b.complete, b.keeping
		b.mu.Unlock()
		if complete { // the attempt was given all there is
			failed = to
			continue
		}
		if !keeping && b.x.m.requestTimeout == 0 { // which looks at the clock between pieces
			b.rest()
			return
		}
		end := false
		if failed, end = b.piece(*page); end {
			return
		}
	}
}

// release notes that carry uses no stream any more, however it ended.
func (b *body) release() {
	b.mu.Lock()
	b.using = nil
	b.changed.Broadcast()
	b.mu.Unlock()
}

// piece carries what can be read at once. It gives the stream that took no more, and whether there is nothing left to do.
func (b *body) piece(page []byte) (failed message.ClientStream, end bool) {
	b.limit()
	n, err := b.x.stream.Read(page)
	b.mu.Lock()
	b.received += int64(n)
	if len(b.kept)+n <= keepBytes {
		b.kept = append(b.kept, page[:n]...)
	} else {
		for b.to == nil && !b.stopped {
			b.changed.Wait() // the next attempt gets what was kept, and then this
		}
		b.keeping, b.moved = false, true
	}
	if err == io.EOF {
		b.finished()
	}
	to := b.to // an attempt that begins from here on has what is kept
	if err == nil || err == io.EOF {
		b.using = to
	}
	b.mu.Unlock()
	if b.silent = n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && b.answered(); b.silent {
		return nil, false
	}
	if err != nil && err != io.EOF {
		b.lost(err)
		return nil, true
	}
	if to == nil {
		return nil, false
	}
	failure := b.send(to, func(to message.ClientStream) error {
		if d := b.x.times.idle; d > 0 {
			_ = to.SetWriteDeadline(time.Now().Add(d))
		}
		if n > 0 {
			if _, err := to.Write(page[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return to.Finish(b.x.trailers())
		}
		return to.Flush()
	})
	if failure != nil {
		b.refused(to)
		return to, false
	}
	if err == io.EOF {
		return to, false
	}
	return nil, false
}

// limit bounds the next read from the client.
func (b *body) limit() {
	x := b.x
	now := x.now()
	if x.times.idle > 0 && !b.silent {
		x.pulse.Beat(now)
	}
	if d := x.m.requestTimeout; d > 0 {
		_ = x.stream.SetReadDeadline(x.info.Start.Add(d))
	} else if x.times.idle > 0 {
		_ = x.stream.SetReadDeadline(now.Add(x.pulse.Left(now, x.times.idle)))
	}
	if x.pulse.Stopped() {
		_ = x.stream.SetReadDeadline(past)
	}
}

// answered tells whether the endpoint sent something while the client was silent for as long as it may.
func (b *body) answered() bool {
	x := b.x
	return x.m.requestTimeout == 0 && x.times.idle > 0 && !x.pulse.Stopped() && x.pulse.Left(time.Now(), x.times.idle) > 0
}

// rest carries what is left of a body of which nothing is kept.
func (b *body) rest() {
	x := b.x
	b.mu.Lock()
	b.moved = true
	to := b.to
	b.using = to
	b.mu.Unlock()
	if to == nil {
		return
	}
	failure := b.send(to, func(to message.ClientStream) error {
		n, readErr, writeErr := http1.CopyWithin(to, x.stream, http1.Limits{Idle: x.times.idle, Pulse: &x.pulse})
		b.mu.Lock()
		b.received += n
		if readErr == nil && writeErr == nil {
			b.finished()
		}
		b.mu.Unlock()
		switch {
		case readErr != nil:
			b.lost(readErr)
		case writeErr == nil:
			return to.Finish(x.trailers())
		}
		return writeErr
	})
	if failure != nil {
		b.refused(to)
	}
}

// refused starts the clock of silence for an endpoint that takes no more of the body: it may have answered before that.
func (b *body) refused(to message.ClientStream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.to == to && !b.headed {
		b.x.times.quietFrom(time.Now())
		b.limitHead()
	}
}

// limitHead sets how long the response's head is waited for. b.mu is held.
func (b *body) limitHead() {
	if at, _ := b.x.times.earliest(); !at.IsZero() {
		_ = b.to.SetReadDeadline(at)
		b.x.watch.renew(b.to)
	}
}

// lost ends the attempt because the client is gone, sends nothing any more, or something that is no body.
func (b *body) lost(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped || b.to == nil && errors.Is(err, os.ErrDeadlineExceeded) { // that is who paused us
		return
	}
	b.failed = err
	b.x.pulse.Stop()
	if b.to != nil {
		_ = b.to.SetReadDeadline(past) // wakes who waits for the response
	}
}

// lostClient gives why the client sent no more before its request was complete; nil is that it did not stop.
func (b *body) lostClient() error {
	if !b.running {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// finished notes that the client has sent all. b.mu is held.
func (b *body) finished() {
	now := time.Now()
	b.complete = true
	b.took = now.Sub(b.x.info.Start)
	b.x.times.requestDone(now)
	if b.to != nil && !b.headed {
		b.x.times.tryDone(now)
		b.x.times.quietFrom(now)
		b.limitHead()
	}
}

// arrived tells how long a body of unknown length is, if all of it is here and it is small: most calls of gRPC are so.
func (x *exchange) arrived() (length int64, small bool) {
	s, ok := x.stream.(interface{ Arrived() (int, bool) })
	if !ok || x.info.Request.Method == "CONNECT" || x.info.Request.Protocol != "" {
		return 0, false
	}
	n, all := s.Arrived()
	return int64(n), all && n <= wholeBytes
}

// whole reads a body of a known small length into x.page. It is false if the client did not send it.
func (x *exchange) whole(length int64) bool {
	if cap(x.page) < int(length) {
		x.page = make([]byte, 0, wholeBytes)
	}
	x.page = x.page[:length]
	limit := x.m.requestTimeout
	if limit <= 0 {
		limit = x.times.idle
	}
	if limit > 0 {
		_ = x.stream.SetReadDeadline(x.info.Start.Add(limit))
	}
	n, err := io.ReadFull(x.stream, x.page)
	x.info.BytesReceived = int64(n)
	if limit > 0 {
		_ = x.stream.SetReadDeadline(time.Time{})
	}
	if err == nil {
		if x.m.log.Enabled() { // nobody else asks
			x.info.RequestDuration = time.Since(x.info.Start)
		}
		return true
	}
	x.clientFailed(err)
	return false
}

// clientFailed ends an exchange whose request did not come to its end.
func (x *exchange) clientFailed(err error) {
	var broken *message.Error
	if errors.As(err, &broken) && broken.Reason == message.Protocol {
		x.info.Flags |= message.DownstreamProtocolError
		if x.info.Request.Version < message.HTTP2 { // else only the stream is over, and the client knows
			x.m.env.Metrics.ProtocolErrors.Add(x.c.Shard, 1)
			if !x.began {
				x.local(400, "downstream_protocol_error", "", 0)
				return
			}
		}
	}
	switch {
	case x.began || !errors.Is(err, os.ErrDeadlineExceeded):
		x.gone()
	case x.m.requestTimeout > 0:
		x.local(408, "request_overall_timeout", "request timeout", message.StreamIdleTimeout)
	default:
		x.local(408, "stream_idle_timeout", "stream timeout", message.StreamIdleTimeout)
	}
}
