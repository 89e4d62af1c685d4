package control

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// election is what is known of who writes.
type election struct {
	leader  string // by the Lease, as last seen
	leading bool   // this replica does
	since   time.Time
	err     string // why the Lease could not be read or renewed the last time; empty if it could
}

// elect stands for election until ctx ends.
func (c *Control) elect(ctx context.Context) {
	for ctx.Err() == nil {
		c.campaign(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(c.o.RetryPeriod):
		}
	}
}

// campaign waits for the Lease, writes while it is held, and returns when it is not held any more. When ctx ends, the Lease is given up only after
// the last write has ended: who gets it next must be the only one.
func (c *Control) campaign(ctx context.Context) {
	election, end := context.WithCancel(logr.NewContext(context.WithoutCancel(ctx), logr.Discard())) // we log ourselves
	defer end()
	work, stopWork := context.WithCancel(ctx)
	defer stopWork()

	t := &term{Interface: c.lease(), c: c, stopWork: stopWork}
	over := make(chan struct{})
	elector, err := c.newElector(t, func(held context.Context) {
		defer close(over)
		defer end()
		defer context.AfterFunc(held, stopWork)()
		c.lead(work)
	})
	if err != nil { // New has tried the same
		c.log.Error("cannot stand for election", "error", err)
		return
	}
	defer context.AfterFunc(ctx, func() {
		if !t.held.Load() {
			end()
		}
	})()
	elector.Run(election)
	stopWork()
	if t.held.Load() {
		<-over
	}
	t.close()
}

func (c *Control) lease() resourcelock.Interface {
	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: c.o.Namespace, Name: c.o.LeaseName},
		Client:     c.o.Client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: c.o.Identity},
	}
}

func (c *Control) newElector(t *term, lead func(context.Context)) (*leaderelection.LeaderElector, error) {
	lock := c.lease()
	if t != nil {
		lock = t
	}
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: c.o.LeaseDuration, RenewDeadline: c.o.RenewDeadline, RetryPeriod: c.o.RetryPeriod,
		ReleaseOnCancel: true, Name: c.o.LeaseName,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: lead, OnStoppedLeading: func() {}},
	})
}

// lead writes until ctx ends, and returns when no request is in flight any more.
func (c *Control) lead(ctx context.Context) {
	c.setLeading(true)
	defer c.setLeading(false)
	if !c.catchUp(ctx) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.writer.Run(ctx) })
	if c.ingressWriter != nil {
		wg.Go(func() { c.ingressWriter.Run(ctx) })
	}
	wg.Go(func() { c.events.Run(ctx) })
	if c.o.Beside != nil {
		wg.Go(func() { c.o.Beside(ctx) })
	}
	wg.Wait()
}

func (c *Control) setLeading(leading bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.election.leading, c.election.since = leading, time.Now()
	if leading {
		c.log.Info("this replica writes now", "lease", c.o.Namespace+"/"+c.o.LeaseName)
	} else {
		c.log.Info("this replica does not write any more")
	}
}
