package transport

import (
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often it is looked whether the client is still there. An exchange that is answered sooner is seldom looked at.
const lookEvery = 500 * time.Millisecond

// lookout notices that the client has gone while its exchange waits for somebody else. It looks at the socket now and then and reads nothing, so whoever
// reads is not disturbed, and what the client sends early stays where it is. Its timer runs on from one exchange to the next and stops on a connection
// without any.
//
// A client that closes its own direction only is taken to be gone, as Envoy takes it.
type lookout struct {
	w      *wire
	onGone func() // of the exchange; who looks reads it while on
	on     atomic.Bool
	armed  atomic.Bool // the timer runs; changed under mu

	mu    sync.Mutex // held by who looks
	looks atomic.Bool
	timer *time.Timer
}

// begin has f called once when the client has gone, until end.
func (l *lookout) begin(f func()) {
	l.onGone = f
	l.on.Store(true)
	if !l.armed.Load() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.arm()
	}
}

// end takes f back: it is not running and will not be called.
func (l *lookout) end() {
	l.on.Store(false)
	if l.looks.Load() {
		l.mu.Lock()
		l.mu.Unlock() //nolint:staticcheck // to wait is all
	}
	l.onGone = nil
}

// arm is called with mu held.
func (l *lookout) arm() {
	if !l.armed.Load() {
		l.armed.Store(true)
		l.timer = time.AfterFunc(lookEvery, l.look)
	}
}

func (l *lookout) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		return // stopped
	}
	l.looks.Store(true)
	defer l.looks.Store(false)
	if l.on.Load() && l.w.left() {
		l.on.Store(false)
		l.onGone()
	}
	if l.on.Load() {
		l.timer.Reset(lookEvery)
		return
	}
	l.timer = nil
	l.armed.Store(false)
	if l.on.Load() { // it was begun meanwhile, and took the timer to be running
		l.arm()
	}
}

// stop ends it with the connection, after the last exchange.
func (l *lookout) stop() {
	if !l.armed.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}
