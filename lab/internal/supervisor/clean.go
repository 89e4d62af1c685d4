package supervisor

import (
	"context"
	"errors"
	"time"

	"github.com/weftmesh/weft/lab/internal/borrowed"
	"github.com/weftmesh/weft/lab/internal/cgroup"
	"github.com/weftmesh/weft/lab/internal/state"
)

// cleanTimeout is how long removing what a lab left may take.
const cleanTimeout = 30 * time.Second

// Clean removes what is left of a lab whose lock is held by the caller, and of
// which nothing is wanted any more.
func Clean(ctx context.Context, dir state.Dir) error {
	ctx, cancel := context.WithTimeout(ctx, cleanTimeout)
	defer cancel()
	groups, err := cgroup.Find()
	if err != nil {
		return err
	}
	return errors.Join(groups.Remove(ctx, dir.Name), dir.Remove(), giveBack(ctx))
}

// Borrow changes what of the machine labs need to be other. The lab's folder
// must exist already: it is what keeps others from changing it back.
func Borrow(ctx context.Context) error {
	groups, err := cgroup.Find()
	if err != nil {
		return err
	}
	return shared(ctx, func(dir state.Dir) error {
		return borrowed.Take(dir.Borrowed(), append(borrowed.Inotify(), groups.Settings()...))
	})
}

// giveBack undoes Borrow if there are no labs any more.
func giveBack(ctx context.Context) error {
	return shared(ctx, func(dir state.Dir) error {
		names, err := state.Names()
		if err != nil || len(names) > 0 {
			return err
		}
		return errors.Join(borrowed.Return(dir.Borrowed()), dir.Remove())
	})
}

// shared calls f while nobody else changes what labs have in common.
func shared(ctx context.Context, f func(state.Dir) error) error {
	dir, err := state.Shared()
	if err != nil {
		return err
	}
	lock, err := dir.WaitLock(ctx)
	if err != nil {
		return err
	}
	return errors.Join(f(dir), lock.Release())
}
