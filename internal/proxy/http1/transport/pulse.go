package transport

import (
	"sync/atomic"
	"time"
)

// Pulse is when an exchange moved a byte last, in either direction. It is shared by those who carry the two. The zero value is that nothing moved yet.
type Pulse struct {
	at      atomic.Int64
	stopped atomic.Bool
}

// Beat says that something moved.
func (p *Pulse) Beat(now time.Time) { p.at.Store(now.UnixNano()) }

// Left is how much of a time in which something has to move is left.
func (p *Pulse) Left(now time.Time, idle time.Duration) time.Duration {
	return idle - time.Duration(now.UnixNano()-p.at.Load())
}

// Stop ends the copies that share it, once their deadlines pass: it is called before whoever waits is woken by a deadline, so that he does not wait
// again.
func (p *Pulse) Stop() { p.stopped.Store(true) }

// Stopped tells whether Stop was called.
func (p *Pulse) Stopped() bool { return p.stopped.Load() }

// Reset makes it ready for another exchange, when nobody uses it.
func (p *Pulse) Reset() {
	p.at.Store(0)
	p.stopped.Store(false)
}
