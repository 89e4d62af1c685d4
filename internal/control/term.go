package control

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// term is the Lease as one campaign uses it. It sees to it that the work stops when the Lease was not renewed for RenewDeadline, which the elector
// alone does not: it tries to give up the Lease before it says that it is lost.
type term struct {
	resourcelock.Interface
	c        *Control
	stopWork context.CancelFunc
	held     atomic.Bool

	mu     sync.Mutex
	expiry *time.Timer
}

// Get reads the Lease.
func (t *term) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, t.c.o.RenewDeadline/2)
	defer cancel()
	record, raw, err := t.Interface.Get(ctx)
	t.note(record, err)
	return record, raw, err
}

// Create makes the Lease, held by this replica.
func (t *term) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return t.renew(ctx, record, t.Interface.Create)
}

// Update renews the Lease, takes it, or gives it up.
func (t *term) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return t.renew(ctx, record, t.Interface.Update)
}

func (t *term) renew(ctx context.Context, record resourcelock.LeaderElectionRecord, write func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	ctx, cancel := context.WithTimeout(ctx, t.c.o.RenewDeadline/2)
	defer cancel()
	began := time.Now()
	err := write(ctx, record)
	t.note(&record, err)
	if err == nil && record.HolderIdentity == t.Identity() {
		t.mu.Lock()
		defer t.mu.Unlock()
		left := time.Until(began.Add(t.c.o.RenewDeadline))
		if t.expiry == nil {
			t.expiry = time.AfterFunc(left, t.stopWork)
		} else {
			t.expiry.Reset(left)
		}
		t.held.Store(true)
	}
	return err
}

func (t *term) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.expiry != nil {
		t.expiry.Stop()
	}
}

// note remembers what the Lease says, or why it could not be asked.
func (t *term) note(record *resourcelock.LeaderElectionRecord, err error) {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		if c.election.err != "" {
			c.log.Info("the Lease can be used again")
		}
		c.election.err = ""
		if c.election.leader != record.HolderIdentity {
			c.election.leader = record.HolderIdentity
			if c.election.leader == "" {
				c.log.Info("nobody holds the Lease")
			} else {
				c.log.Info("the Lease is held", "by", c.election.leader)
			}
		}
	case apierrors.IsNotFound(err) && record == nil, apierrors.IsConflict(err), apierrors.IsAlreadyExists(err): // nobody has it yet, or another was faster
	default:
		if c.election.err == "" {
			c.log.Warn("cannot use the Lease, trying again", "lease", c.o.Namespace+"/"+c.o.LeaseName, "error", err)
		}
		c.election.err = fmt.Sprintf("Lease %s/%s: %v", c.o.Namespace, c.o.LeaseName, err)
	}
}
