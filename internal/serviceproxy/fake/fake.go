// Package fake is a plan.Backend without a kernel, for unit tests of what stands above backends, and the contract that every backend passes.
//
// It owns a [Kernel] that outlives its backends, as the real one does, and the ways in which a kernel can misbehave: it can refuse a frontend, fail
// whole transactions, lose its state, and be slow. It never carries a packet.
package fake

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// Kernel is what backends program. The zero value is not ready; use NewKernel.
type Kernel struct {
	mu        sync.Mutex
	frontends map[plan.Key]*plan.Frontend
	refuse    map[plan.Key]error
	failures  []error
	hold      chan struct{}
	calls     []Call
}

// Call is a call that a backend got.
type Call struct {
	Restore   bool
	Frontends int // given to a Restore
	Diff      plan.Diff
	Result    plan.Result
	Err       error
}

// NewKernel gives an empty kernel.
func NewKernel() *Kernel {
	return &Kernel{frontends: map[plan.Key]*plan.Frontend{}, refuse: map[plan.Key]error{}}
}

// Open gives a backend that programs the kernel, and adopts what is there.
func (k *Kernel) Open() *Backend { return &Backend{kernel: k} }

// Refuse makes the kernel refuse to set a frontend from now on; a nil error makes it take it again.
func (k *Kernel) Refuse(key plan.Key, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		delete(k.refuse, key)
	} else {
		k.refuse[key] = err
	}
}

// Fail makes the next calls fail, each with one of the errors, after half of what they should do is done.
func (k *Kernel) Fail(errs ...error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failures = append(k.failures, errs...)
}

// Lose makes the kernel forget frontends behind everybody's back; without keys all of them.
func (k *Kernel) Lose(keys ...plan.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(keys) == 0 {
		clear(k.frontends)
	}
	for _, key := range keys {
		delete(k.frontends, key)
	}
}

// Hold makes calls wait until the function it gives is called.
func (k *Kernel) Hold() (release func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	hold := make(chan struct{})
	k.hold = hold
	return sync.OnceFunc(func() {
		k.mu.Lock()
		k.hold = nil
		k.mu.Unlock()
		close(hold)
	})
}

// Frontends gives what is in force.
func (k *Kernel) Frontends() map[plan.Key]*plan.Frontend {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.frontends)
}

// Calls gives the calls of all backends so far that changed or should have changed the kernel.
func (k *Kernel) Calls() []Call {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.calls)
}

// Backend is a plan.Backend onto a Kernel.
type Backend struct {
	kernel *Kernel
	lost   bool // a call failed: only Restore helps
}

var _ plan.Backend = (*Backend)(nil)

// Restore implements plan.Backend.
func (b *Backend) Restore(ctx context.Context, frontends []*plan.Frontend) (plan.Result, error) {
	var diff plan.Diff
	want := map[plan.Key]bool{}
	b.kernel.mu.Lock()
	for _, f := range frontends {
		if want[f.Key] {
			b.kernel.mu.Unlock()
			return plan.Result{}, fmt.Errorf("fake: key %v is there twice", f.Key)
		}
		want[f.Key] = true
		if old := b.kernel.frontends[f.Key]; old == nil || !old.Equal(f) {
			diff.Set = append(diff.Set, f)
		}
	}
	for key := range b.kernel.frontends {
		if !want[key] {
			diff.Delete = append(diff.Delete, key)
		}
	}
	b.kernel.mu.Unlock()
	b.lost = false
	return b.run(ctx, Call{Restore: true, Frontends: len(frontends), Diff: diff})
}

// Apply implements plan.Backend. It checks that the diff is one.
func (b *Backend) Apply(ctx context.Context, diff *plan.Diff) (plan.Result, error) {
	if b.lost {
		return plan.Result{}, fmt.Errorf("fake: Apply after a failure, without Restore")
	}
	seen := map[plan.Key]bool{}
	keys := slices.Clone(diff.Delete)
	for _, f := range diff.Set {
		keys = append(keys, f.Key)
	}
	for _, key := range keys {
		if seen[key] {
			return plan.Result{}, fmt.Errorf("fake: key %v is there twice", key)
		}
		seen[key] = true
	}
	return b.run(ctx, Call{Diff: plan.Diff{Set: slices.Clone(diff.Set), Delete: slices.Clone(diff.Delete)}})
}

func (b *Backend) run(ctx context.Context, c Call) (plan.Result, error) {
	k := b.kernel
	k.mu.Lock()
	hold := k.hold
	k.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			b.lost = true
			return plan.Result{}, ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	diff := c.Diff
	if len(k.failures) > 0 {
		c.Err, k.failures = k.failures[0], k.failures[1:]
		diff.Set, diff.Delete = diff.Set[:len(diff.Set)/2], diff.Delete[:len(diff.Delete)/2]
		b.lost = true
	}
	for _, key := range diff.Delete {
		if k.frontends[key] != nil {
			delete(k.frontends, key)
			c.Result.Elements++
		}
	}
	for _, f := range diff.Set {
		if err := k.refuse[f.Key]; err != nil {
			delete(k.frontends, f.Key)
			c.Result.Refused = append(c.Result.Refused, plan.Refuse{Key: f.Key, Err: err})
			continue
		}
		k.frontends[f.Key] = f
		c.Result.Elements++
	}
	k.calls = append(k.calls, c)
	if c.Err != nil {
		return plan.Result{}, c.Err
	}
	return c.Result, nil
}

// Lookup implements plan.Backend.
func (b *Backend) Lookup(_ context.Context, key plan.Key) ([]string, error) {
	b.kernel.mu.Lock()
	defer b.kernel.mu.Unlock()
	f := b.kernel.frontends[key]
	if f == nil {
		return nil, nil
	}
	return []string{fmt.Sprintf("%v %v leads to %v", f.Kind, f.Service, f.Endpoints)}, nil
}

// Close implements plan.Backend.
func (b *Backend) Close() error { return nil }
