package serviceproxy

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// Source says where the plan that is in force came from.
type Source string

const (
	// SourceNone: nothing has been programmed yet. What an earlier run left in the kernel carries on.
	SourceNone Source = "none"
	// SourceDisk: the last plan kept on disk, because the sources are not full yet.
	SourceDisk Source = "disk"
	// SourceLive: the sources.
	SourceLive Source = "live"
)

// Status is how a Proxy is doing, for a status page. Durations are nanoseconds in JSON.
type Status struct {
	Source   Source `json:"source"`
	Revision uint64 `json:"revision"` // of the commit that is in force; 0 from disk

	Frontends int `json:"frontends"` // told to the kernel, less those refused
	Endpoints int `json:"endpoints"` // of all frontends together

	LastFlush      time.Time     `json:"lastFlush,omitzero"`    // when the kernel last was known to be right
	LastRestore    time.Time     `json:"lastRestore,omitzero"`  // when the whole was last compared
	WaitingSince   time.Time     `json:"waitingSince,omitzero"` // since when a change is not in force; zero: none
	Flushes        uint64        `json:"flushes"`
	LastDuration   time.Duration `json:"lastDuration"`
	MedianDuration time.Duration `json:"medianDuration"` // of the last 127 flushes

	Failures    int       `json:"failures"` // flushes that failed since the last that did not
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`

	Refused      []RefusedStatus     `json:"refused,omitempty"`
	HealthChecks []HealthCheckStatus `json:"healthChecks,omitempty"`
	PlanFile     *PlanFileStatus     `json:"planFile,omitempty"` // nil: none is kept
}

// RefusedStatus is a frontend that is not in force.
type RefusedStatus struct {
	Frontend string       `json:"frontend"`
	Service  string       `json:"service"`
	Origin   model.Origin `json:"origin"`
	Error    string       `json:"error"`
}

// HealthCheckStatus is a Service's health-check port on this node.
type HealthCheckStatus struct {
	Port           uint16 `json:"port"`
	Service        string `json:"service"`
	LocalEndpoints int    `json:"localEndpoints"`
	Error          string `json:"error,omitempty"` // why it is not open
}

// PlanFileStatus is the plan on disk.
type PlanFileStatus struct {
	Path    string    `json:"path"`
	Written time.Time `json:"written,omitzero"` // when it was last known to be right
	Error   string    `json:"error,omitempty"`  // why it could not be read or written
}

// Status never waits for the kernel.
func (p *Proxy) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.state
	out := Status{
		Source: SourceNone, Revision: s.revision,
		Frontends: s.frontends - len(s.refused), Endpoints: s.endpoints,
		LastFlush: s.lastFlush, LastRestore: s.lastRestore, WaitingSince: p.waitingSince(),
		Flushes: s.flushes, Failures: s.failures, LastError: s.lastError, LastErrorAt: s.errorAt,
		HealthChecks: p.checks.status(),
	}
	switch {
	case s.lastFlush.IsZero():
	case s.fromDisk:
		out.Source, out.Revision = SourceDisk, 0
	default:
		out.Source = SourceLive
	}
	if n := len(s.durations); n > 0 {
		out.LastDuration = s.durations[n-1]
		sorted := slices.Sorted(slices.Values(s.durations))
		out.MedianDuration = sorted[n/2]
	}
	for _, r := range s.refused {
		out.Refused = append(out.Refused, RefusedStatus{
			Frontend: describe(r.Frontend.Key), Service: r.Frontend.Service.String(), Origin: r.Frontend.Origin, Error: r.Err.Error(),
		})
	}
	if p.file != nil {
		out.PlanFile = &PlanFileStatus{Path: p.file.path(), Written: s.diskWritten, Error: s.fileError}
	}
	return out
}

// Refused gives the frontends that are not in force, sorted by key.
func (p *Proxy) Refused() []Refused {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.state.refused)
}

// describe reads "UDP 10.96.0.10:53", and for a node port "TCP node port 30080 (IPv4)".
func describe(k plan.Key) string {
	if k.NodePort() {
		return fmt.Sprintf("%v node port %d (IPv%d)", k.Protocol, k.Port, k.Family)
	}
	return fmt.Sprintf("%v %v", k.Protocol, netip.AddrPortFrom(k.Addr, k.Port))
}
