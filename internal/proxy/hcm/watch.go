package hcm

import (
	"sync"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// watch notices that the client has gone while the exchange waits for the endpoint, on connections that can tell.
type watch struct {
	x       *exchange
	running bool
	onGone  func() // left, made once

	mu   sync.Mutex
	to   message.ClientStream
	gone bool
}

func (w *watch) init(x *exchange) { w.x, w.onGone = x, w.left }

// start watches during the exchange, if the connection can tell.
func (w *watch) start() {
	if !w.running {
		w.gone = false
		w.running = w.x.stream.OnGone(w.onGone)
	}
}

// left wakes who waits for the endpoint.
func (w *watch) left() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
	if w.to != nil {
		_ = w.to.SetReadDeadline(past)
	}
}

// over says which stream to wake; nil before it is closed.
func (w *watch) over(to message.ClientStream) {
	if !w.running {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = to
	if w.gone && to != nil {
		_ = to.SetReadDeadline(past)
	}
}

// noticed tells whether the client has gone.
func (w *watch) noticed() bool {
	if !w.running {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone
}

func (w *watch) stop() {
	if w.running {
		w.x.stream.OnGone(nil)
		w.running, w.to = false, nil
	}
}
