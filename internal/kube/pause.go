package kube

import (
	"context"
	"math/rand/v2"
	"time"
)

// pause is an exponential backoff: each wait is twice the one before, between min and max, less up to half of it at random so that a
// cluster's nodes do not come back in step.
type pause struct {
	min, max time.Duration
	next     time.Duration
}

func (p *pause) reset() { p.next = 0 }

// wait tells whether it waited to the end; false is that ctx ended.
func (p *pause) wait(ctx context.Context) bool {
	d := max(p.min, min(p.next, p.max))
	p.next = 2 * d
	return sleep(ctx, d-rand.N(d/2+1))
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
