// Package limit bounds how often each of many may ask for something: a Pod for certificates, an address for streams.
//
// It owns the bookkeeping only; what is refused, and how that is said, is for who asks.
package limit

import (
	"sync"

	"golang.org/x/time/rate"
)

// remembered is how many keys are known at once. When there are more all are forgotten, and each may ask a burst more.
const remembered = 20_000

// Each is a limit for each key on its own. It is safe for concurrent use.
type Each[K comparable] struct {
	every rate.Limit
	burst int

	mu sync.Mutex
	by map[K]*rate.Limiter
}

// NewEach makes a limit of so many a second, with so many at once.
func NewEach[K comparable](perSecond float64, atOnce int) *Each[K] {
	return &Each[K]{every: rate.Limit(perSecond), burst: atOnce, by: map[K]*rate.Limiter{}}
}

// Allow tells whether the key may ask now, and counts it if so.
func (e *Each[K]) Allow(key K) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.by[key]
	if l == nil {
		if len(e.by) >= remembered {
			clear(e.by)
		}
		l = rate.NewLimiter(e.every, e.burst)
		e.by[key] = l
	}
	return l.Allow()
}
