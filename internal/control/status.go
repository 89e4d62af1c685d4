package control

import (
	"slices"
	"time"

	"github.com/weftmesh/weft/internal/address"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/status"
)

// Status is how a Control is doing, for a status page.
type Status struct {
	Identity   string    `json:"identity"`
	Leading    bool      `json:"leading"`              // this replica writes
	Since      time.Time `json:"since,omitzero"`       // of Leading being what it is; zero if it never led
	Leader     string    `json:"leader,omitempty"`     // who holds the Lease, as last seen; empty: nobody, or not known yet
	LeaseError string    `json:"leaseError,omitempty"` // why the Lease could not be used the last time

	Following bool   `json:"following"` // the store was full, and the model is followed
	Revision  uint64 `json:"revision"`  // of what was decided last

	Pools    []address.PoolStatus `json:"pools"`
	Services int                  `json:"services"` // of type LoadBalancer
	Writer   status.WriterStatus  `json:"writer"`
}

// Status tells how the Control is doing.
func (c *Control) Status() Status {
	w := c.writer.Status()
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{
		Identity: c.o.Identity, Leading: c.election.leading, Since: c.election.since, Leader: c.election.leader, LeaseError: c.election.err,
		Following: c.following, Revision: uint64(c.revision),
		Pools: append([]address.PoolStatus{}, c.allocator.Pools()...), Services: len(c.published), Writer: w,
	}
}

// Findings lists what this package has found, in the order of [finding.Compare]: on pools, and on Services that do not get the addresses they
// ask for. Those that come with the model are the engine's to list.
func (c *Control) Findings() (out []finding.Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.findings {
		out = append(out, s.here...)
	}
	if !c.following {
		out = append(out, c.o.PoolFindings...)
	}
	slices.SortFunc(out, finding.Compare)
	return out
}
