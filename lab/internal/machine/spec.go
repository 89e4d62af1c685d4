// Package machine makes one machine of a lab out of namespaces: PID, mount,
// network, UTS and IPC, with process 1 in it, its own /var, /run and /etc, and
// services that process 1 runs. Client is the side of the lab, Main the side of
// the machine; a socket pair between them carries net/rpc. When Client goes
// away, or process 1 is killed, the machine loses power: everything in it is
// gone but its /var.
//
// The package knows nothing of Kubernetes and never changes anything outside
// the namespaces it makes.
package machine

import (
	"net/netip"
	"time"
)

// Places in every machine.
const (
	// Lab is a folder in a machine with what the lab puts there.
	Lab = "/run/weft-lab"
	// Link is the name of a machine's network interface.
	Link = "eth0"
)

// Spec is what a machine is.
type Spec struct {
	Hostname string
	Network  Network
	// Var is the folder, outside, that is /var in the machine and outlives it.
	Var string
	// Binds are files and folders of outside that the machine sees.
	Binds []Bind
	// Files are contents of files in the machine, by path in /etc or /run.
	Files map[string][]byte
}

// Bind puts Source, of outside, at Target of the machine. Target is made if it
// is in /run or /etc.
type Bind struct {
	Source, Target string
	ReadOnly       bool
}

// Network is how a machine takes part in the lab's network, by one interface.
type Network struct {
	Addresses []netip.Prefix
	Routes    []Route
	// Own are the ranges that this machine gives addresses from: what nobody has of them is unreachable, and not sent on.
	Own []netip.Prefix
	// Forward makes the machine a router.
	Forward bool
}

// Route is a way to a destination through a neighbour.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Service is a program that a machine runs, by a name of its own.
type Service struct {
	Name string
	// Argv is the program, by absolute path in the machine or looked up in
	// PATH, and its arguments.
	Argv []string
	Env  []string
	// Ready, if set, is a file or socket whose appearance tells that the
	// service serves, within Timeout. It is removed before the start.
	Ready   string
	Timeout time.Duration
	// Log is the file in the machine that the output is appended to.
	Log string
}

// ServiceStatus is how a service does.
type ServiceStatus struct {
	Name    string `json:"name"`
	Running bool   `json:"running"`
	// Pid is the process's number in the machine.
	Pid int `json:"-"`
	// Ended says how a service that does not run ended.
	Ended string `json:"ended,omitempty"`
}
