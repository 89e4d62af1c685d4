package transport

import (
	"os"
	"sync"
	"time"
)

// waiter is where one goroutine waits for something to change. It is under the lock that wait gives up: what changes does so under it too, before
// the signal, so that nobody need be told who does not wait yet.
type waiter struct {
	ch       chan struct{}
	waiting  bool
	deadline time.Time
	timer    *time.Timer
}

// signal makes the one who waits look again.
func (w *waiter) signal() {
	if w.waiting {
		w.waiting = false
		w.ch <- struct{}{} // there is room: it is the only one
	}
}

// wait gives mu up until signal, the deadline, or limit if that is positive. The caller looks then what changed, and waits again.
func (w *waiter) wait(mu *sync.Mutex, limit time.Duration) error {
	if w.deadline.IsZero() && limit <= 0 {
		w.waiting = true
		mu.Unlock()
		<-w.ch
		mu.Lock()
		return nil
	}
	d := limit
	if !w.deadline.IsZero() {
		if left := time.Until(w.deadline); limit <= 0 || left < limit {
			d = left
		}
		if d <= 0 {
			return os.ErrDeadlineExceeded
		}
	}
	if w.timer == nil {
		w.timer = time.NewTimer(d)
	} else {
		w.timer.Reset(d)
	}
	w.waiting = true
	mu.Unlock()
	select {
	case <-w.ch:
		w.timer.Stop()
		mu.Lock()
		return nil
	case <-w.timer.C:
	}
	mu.Lock()
	if !w.waiting { // and signalled all the same
		<-w.ch
		return nil
	}
	w.waiting = false
	return os.ErrDeadlineExceeded
}

// set changes the deadline, of one who waits too.
func (w *waiter) set(t time.Time) {
	w.deadline = t
	w.signal()
}

// reset makes it fit for another stream. Nobody waits.
func (w *waiter) reset() { w.deadline = time.Time{} }
