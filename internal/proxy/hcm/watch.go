package hcm

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// watch notices that the client has gone while the exchange waits for the endpoint, on connections that can tell. As long as the client is there it takes
// no lock.
type watch struct {
	x       *exchange
	running bool
	onGone  func() // left, made once

	to    message.ClientStream // left uses it while there is one
	is    atomic.Bool          // there is
	gone  atomic.Bool
	waker sync.Mutex // held by left
}

func (w *watch) init(x *exchange) { w.x, w.onGone = x, w.left }

// start watches during the exchange, if the connection can tell.
func (w *watch) start() {
	if !w.running {
		w.gone.Store(false)
		w.running = w.x.stream.OnGone(w.onGone)
	}
}

// left wakes who waits for the endpoint.
func (w *watch) left() {
	w.waker.Lock()
	defer w.waker.Unlock()
	w.gone.Store(true)
	w.x.pulse.Stop()
	if w.is.Load() {
		_ = w.to.SetReadDeadline(past)
	}
}

// over says which stream to wake; nil before it is closed.
func (w *watch) over(to message.ClientStream) {
	switch {
	case !w.running:
	case to != nil:
		w.to = to
		w.is.Store(true)
		w.renew(to)
	default:
		w.is.Store(false)
		if w.gone.Load() { // left may be using it
			w.waker.Lock()
			w.waker.Unlock() //nolint:staticcheck // to wait is all
		}
		w.to = nil
	}
}

// renew wakes again who reads from the endpoint, if the client has gone: for who has moved the deadline.
func (w *watch) renew(to interface{ SetReadDeadline(time.Time) error }) {
	if w.noticed() {
		_ = to.SetReadDeadline(past)
	}
}

// noticed tells whether the client has gone.
func (w *watch) noticed() bool { return w.running && w.gone.Load() }

func (w *watch) stop() {
	if w.running {
		w.x.stream.OnGone(nil)
		w.running, w.to = false, nil
		w.is.Store(false)
	}
}
