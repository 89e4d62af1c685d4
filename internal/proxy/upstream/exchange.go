package upstream

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// Start begins an exchange with the endpoint: it takes a connection from the pool, or makes one within the cluster's connect_timeout, and sends
// the head. ctx and pc.Until bound that, also when the exchange is begun again; what comes later is bounded by the stream's deadlines. req stays as it is until
// ReadHead has returned.
//
// The stream is to be closed, once, and [Endpoint.Done] to be told what came of it. Errors are [ErrOverflow], [ErrConnect] (that was told to
// Done already), the context's, or context.DeadlineExceeded for Until. An error with Unprocessed ([message.Error]) means that another try is safe.
func (e *Endpoint) Start(ctx context.Context, req *message.Request, length int64, pc *PickContext) (message.ClientStream, error) {
	c := e.cluster
	if !take(&c.breakers[pc.Priority].requests, c.config.Load().limits[pc.Priority].requests) {
		c.stats.rqPendingOverflow.Add(1)
		return nil, c.errOverflow
	}
	x := exchanges.Get().(*exchange)
	x.endpoint, x.ctx, x.req, x.length, x.pc = e, ctx, req, length, *pc
	c.stats.rqTotal.Add(1)
	e.stats.rqTotal.Add(1)
	e.active.Add(1)
	x.from = e.pools.Load().choose(req, pc)
	if err := x.from.begin(x, false); err != nil {
		x.end()
		return nil, err
	}
	if x.reused {
		x.phase.Store(keep)
	}
	return x, nil
}

// exchanges are used again: a request makes none.
var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// exchange is a stream on one of the pools' connections. As long as the endpoint may turn out to have closed that before it saw the request, it
// keeps what was sent, and begins again on another connection.
type exchange struct {
	endpoint *Endpoint
	from     *pool
	pc       PickContext
	ctx      context.Context
	req      *message.Request
	length   int64

	stream message.ClientStream // changed by ReadHead while phase is keep, under mu and swap
	on1    *conn1
	on2    *conn2
	avoid  *conn2 // which sent the request back
	reused bool   // the connection carried exchanges before: only then had the endpoint a reason to close it
	rounds int    // how often it was begun again

	phase atomic.Uint32
	mu    sync.Mutex // of what is kept, while phase is keep
	kept  *[]byte
	sent  struct {
		flushed, finished bool
		trailers          *message.Fields
	}
	swap            sync.Mutex // of the deadlines, and of the stream they are set on
	readBy, writeBy time.Time
}

// The phases of an exchange.
const (
	settled uint32 = iota // it is on its connection for good
	keep                  // it may be begun again
)

// keepBytes is how much of a body is kept.
const keepBytes = 16 << 10

var keptBodies = sync.Pool{New: func() any { b := make([]byte, 0, keepBytes); return &b }}

// carry puts the exchange on a stream.
func (x *exchange) carry(stream message.ClientStream, reused bool) {
	x.swap.Lock()
	defer x.swap.Unlock()
	x.stream = stream
	if !x.readBy.IsZero() {
		_ = stream.SetReadDeadline(x.readBy)
	}
	if !x.writeBy.IsZero() {
		_ = stream.SetWriteDeadline(x.writeBy)
	}
	x.reused = reused
}

// Unwrap gives the connection's own stream, for who copies a body below us. Not before ReadHead has returned without an error.
func (x *exchange) Unwrap() message.ClientStream { return x.stream }

// Write implements [message.ClientStream].
func (x *exchange) Write(p []byte) (int, error) {
	if x.phase.Load() == settled {
		return x.stream.Write(p)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase.Load() == settled {
		return x.stream.Write(p)
	}
	if x.kept == nil {
		x.kept = keptBodies.Get().(*[]byte)
	}
	if len(*x.kept)+len(p) > keepBytes { // too much to be sent twice
		x.phase.Store(settled)
		return x.stream.Write(p)
	}
	*x.kept = append(*x.kept, p...)
	x.sent.flushed = false
	if n, err := x.stream.Write(p); errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	return len(p), nil // if that failed ReadHead finds out, and begins again
}

// Flush implements [message.ClientStream].
func (x *exchange) Flush() error {
	if x.phase.Load() == settled {
		return x.stream.Flush()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase.Load() == settled {
		return x.stream.Flush()
	}
	x.sent.flushed = true
	if err := x.stream.Flush(); errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// Finish implements [message.ClientStream].
func (x *exchange) Finish(trailers *message.Fields) error {
	if x.phase.Load() == settled {
		return x.stream.Finish(trailers)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase.Load() == settled {
		return x.stream.Finish(trailers)
	}
	x.sent.finished, x.sent.trailers = true, trailers
	if err := x.stream.Finish(trailers); errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// ReadHead implements [message.ClientStream].
func (x *exchange) ReadHead(r *message.Response) error {
	for {
		err := x.stream.ReadHead(r)
		switch {
		case x.phase.Load() == settled:
			return err
		case err == nil:
			x.phase.Store(settled)
			return nil
		case !x.repeatable(err):
			return err
		}
		if again, failure := x.again(); failure != nil {
			return failure
		} else if !again {
			return err
		}
	}
}

// maxRounds is how often an exchange is begun again. Once is enough, but where connections are few and it has to take one that others used.
const maxRounds = 3

// again begins the exchange on another connection and sends what was kept. It is false if that was too much.
func (x *exchange) again() (bool, error) {
	if x.on1 != nil {
		_ = x.on1.client.Close() // who writes to it stops
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase.Load() == settled {
		return false, nil
	}
	x.rounds++
	x.leave(message.Refused)
	x.endpoint.cluster.stats.rqReplayed.Add(1)
	x.swap.Lock()
	limit := x.readBy
	x.swap.Unlock()
	if !limit.IsZero() {
		ctx, cancel := context.WithDeadline(x.ctx, limit)
		defer cancel()
		before := x.ctx
		x.ctx = ctx
		defer func() { x.ctx = before }()
	}
	if err := x.from.begin(x, true); err != nil {
		x.phase.Store(settled)
		return false, err
	}
	err := x.resend()
	if !x.reused || x.rounds == maxRounds {
		x.phase.Store(settled)
	}
	return !errors.Is(err, os.ErrDeadlineExceeded), nil // of any other error ReadHead has more to say
}

// resend sends what was kept.
func (x *exchange) resend() (err error) {
	if x.kept != nil && len(*x.kept) > 0 {
		_, err = x.stream.Write(*x.kept)
	}
	switch {
	case err != nil:
	case x.sent.finished:
		err = x.stream.Finish(x.sent.trailers)
	case x.sent.flushed:
		err = x.stream.Flush()
	}
	return err
}

// leave lets go of the stream and its connection.
func (x *exchange) leave(reason message.Reason) {
	if x.stream == nil {
		return
	}
	x.swap.Lock()
	stream := x.stream
	x.stream = over{}
	x.swap.Unlock()
	stream.Close(reason)
	if c := x.on1; c != nil {
		x.on1 = nil
		c.pool.done(c)
	}
	if c := x.on2; c != nil {
		x.on2, x.avoid = nil, c
		c.pool.wake()
	}
}

// Close implements [message.ClientStream].
func (x *exchange) Close(reason message.Reason) {
	x.leave(reason)
	x.end()
}

// end counts the exchange out and gives it back.
func (x *exchange) end() {
	e := x.endpoint
	e.active.Add(-1)
	e.cluster.breakers[x.pc.Priority].requests.Add(-1)
	if x.kept != nil {
		*x.kept = (*x.kept)[:0]
		keptBodies.Put(x.kept)
	}
	x.reset()
	exchanges.Put(x)
}

func (x *exchange) reset() {
	x.endpoint, x.from, x.pc, x.ctx, x.req, x.length = nil, nil, PickContext{}, nil, nil, 0
	x.stream, x.on1, x.on2, x.avoid, x.kept, x.reused, x.rounds = nil, nil, nil, nil, nil, false, 0
	x.sent.flushed, x.sent.finished, x.sent.trailers = false, false, nil
	x.readBy, x.writeBy = time.Time{}, time.Time{}
	x.phase.Store(settled)
}

// ResponseLength implements [message.ClientStream].
func (x *exchange) ResponseLength() int64 { return x.stream.ResponseLength() }

// Read implements [message.ClientStream].
func (x *exchange) Read(p []byte) (int, error) { return x.stream.Read(p) }

// ResponseTrailers implements [message.ClientStream].
func (x *exchange) ResponseTrailers() *message.Fields { return x.stream.ResponseTrailers() }

// SetReadDeadline implements [message.ClientStream].
func (x *exchange) SetReadDeadline(t time.Time) error {
	if x.phase.Load() == settled {
		return x.stream.SetReadDeadline(t)
	}
	x.swap.Lock()
	defer x.swap.Unlock()
	x.readBy = t
	return x.stream.SetReadDeadline(t)
}

// SetWriteDeadline implements [message.ClientStream].
func (x *exchange) SetWriteDeadline(t time.Time) error {
	if x.phase.Load() == settled {
		return x.stream.SetWriteDeadline(t)
	}
	x.swap.Lock()
	defer x.swap.Unlock()
	x.writeBy = t
	return x.stream.SetWriteDeadline(t)
}

// repeatable tells whether an error before the first of the response says that the endpoint closed the connection while it was idle.
//
// Where the protocol or the kernel is sure that nothing of the request was seen it says so. Else the server may have read the request and acted on it,
// whether the connection ended in good order or was reset: then the request goes again only if its method is idempotent (RFC 9110, section 9.2.2).
func (x *exchange) repeatable(err error) bool {
	switch {
	case unprocessed(err):
		return true
	case x.on1 == nil:
		return false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		switch x.req.Method {
		case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
			return true
		}
	}
	return false
}

// unprocessed tells whether an error says that the endpoint did not begin with the request.
func unprocessed(err error) bool {
	var e *message.Error
	return errors.As(err, &e) && e.Unprocessed
}

// over is the stream of an exchange that has none any more.
type over struct{}

var errOver = &message.Error{Reason: message.Refused, Text: "upstream: the exchange could not be begun again"}

func (over) Write([]byte) (int, error)         { return 0, errOver }
func (over) Flush() error                      { return errOver }
func (over) Finish(*message.Fields) error      { return errOver }
func (over) ReadHead(*message.Response) error  { return errOver }
func (over) ResponseLength() int64             { return message.NoBody }
func (over) Read([]byte) (int, error)          { return 0, errOver }
func (over) ResponseTrailers() *message.Fields { return nil }
func (over) Close(message.Reason)              {}
func (over) SetReadDeadline(time.Time) error   { return nil }
func (over) SetWriteDeadline(time.Time) error  { return nil }
