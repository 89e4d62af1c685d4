package admin

import (
	"time"

	"github.com/weftmesh/weft/internal/finding"
)

// Status is what a component says of itself at /status. It is the same type that the command line decodes and prints, so it holds facts
// and moments, never sentences about how long ago something was.
type Status struct {
	Component string    `json:"component"`          // "node", "dns", "control"
	Instance  string    `json:"instance"`           // the Pod's name, or the host's
	Node      string    `json:"node,omitempty"`     // the Node it runs on
	Version   string    `json:"version"`            // of the binary
	Started   time.Time `json:"started"`            // of the process
	Ready     bool      `json:"ready"`              // what /readyz answers
	NotReady  []string  `json:"notReady,omitempty"` // why not, one line a failed check

	Sources  []Source          `json:"sources"`
	Sections []Section         `json:"sections"`
	Findings []finding.Finding `json:"findings"` // in the order of finding.Compare
}

// Source is where one kind of object comes from, and how well that goes.
type Source struct {
	Kind      string    `json:"kind"`
	From      string    `json:"from"`                // "api-server", "folder:<dir>"
	Objects   int       `json:"objects"`             // how many it has given
	Synced    bool      `json:"synced"`              // everything was seen once
	Connected bool      `json:"connected"`           // changes arrive
	Absent    bool      `json:"absent,omitempty"`    // the API server does not know the kind
	Since     time.Time `json:"since,omitzero"`      // of Connected being what it is
	LastEvent time.Time `json:"lastEvent,omitzero"`  // when a change, or a sign that there was none, arrived
	LastError string    `json:"lastError,omitempty"` // the last thing that went wrong; kept when it works again
}

// Origin says where the state that a section shows was learnt.
type Origin string

// The origins of state.
const (
	FromLive   Origin = "live"   // from sources that were synced by this process
	FromDisk   Origin = "disk"   // from what an earlier process kept, because no source is synced yet
	FromKernel Origin = "kernel" // found in the kernel and not yet compared with anything
	FromNobody Origin = "none"   // there is none yet
)

// Section is one thing that a component has programmed: a kernel table, a zone, a set of addresses.
type Section struct {
	Name     string    `json:"name"`               // "nftables", "names", "addresses"
	Origin   Origin    `json:"origin"`             // of the state that is programmed
	Revision uint64    `json:"revision,omitempty"` // of the store, counted since Started; 0 if it is not from the store
	Changed  time.Time `json:"changed,omitzero"`   // when something was last programmed
	Checked  time.Time `json:"checked,omitzero"`   // when it was last known to be what it should be
	Error    string    `json:"error,omitempty"`    // why the last change could not be programmed; empty if it was
	Facts    []Fact    `json:"facts,omitempty"`    // in the order to print
}

// Fact is one thing worth printing: a count, a mode, a name.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}
