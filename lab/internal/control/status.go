// Package control is what a running lab can be asked and told, and how: JSON
// over HTTP over a Unix socket in the lab's folder. The types here are also
// what `weft-lab status -o json` prints. It holds no state.
package control

import (
	"net/netip"
	"time"

	"github.com/weftmesh/weft/lab/internal/machine"
	"github.com/weftmesh/weft/lab/internal/network"
)

// States of a lab.
const (
	Starting = "starting"
	Running  = "running"
)

// Status is a lab as it is now.
type Status struct {
	Name       string `json:"name"`
	State      string `json:"state"`
	Kubernetes string `json:"kubernetes"` // version
	// With is what was asked for beside Kubernetes itself.
	With       []string `json:"with"`
	APIServer  string   `json:"apiServer"`  // URL, inside the lab
	Kubeconfig string   `json:"kubeconfig"` // path, of the administrator
	Dir        string   `json:"dir"`        // the lab's folder
	// PID is the lab's process 1; killing it ends the lab.
	PID          int           `json:"pid"`
	Network      *network.Plan `json:"network"`
	Nodes        []Machine     `json:"nodes"`
	ControlPlane Machine       `json:"controlPlane"`
	Outside      Machine       `json:"outside"`
	Router       Machine       `json:"router"`
	Tunnels      []Tunnel      `json:"tunnels"`
}

// Machine is a machine of a lab.
type Machine struct {
	Name     string         `json:"name"`
	IPs      []netip.Addr   `json:"ips"`                // IPv4 first
	PodCIDRs []netip.Prefix `json:"podCIDRs,omitempty"` // of a node
	On       bool           `json:"on"`
	// PID is the machine's process 1 and Netns the path of its network
	// namespace, both as seen on the machine that the lab runs on.
	PID      int                     `json:"pid,omitempty"`
	Netns    string                  `json:"netns,omitempty"`
	Services []machine.ServiceStatus `json:"services,omitempty"`
}

// Machine finds a machine by name.
func (s *Status) Machine(name string) (Machine, bool) {
	for _, m := range s.machines() {
		if m.Name == name {
			return *m, true
		}
	}
	return Machine{}, false
}

func (s *Status) machines() []*Machine {
	all := []*Machine{&s.ControlPlane, &s.Outside, &s.Router}
	for i := range s.Nodes {
		all = append(all, &s.Nodes[i])
	}
	return all
}

// Locate replaces process numbers as the lab sees them by those that translate
// gives, and tells the paths that follow from them. A number that translate
// does not know means that the machine is off.
func (s *Status) Locate(translate func(pid int) (int, bool), netns func(pid int) string) {
	for _, m := range s.machines() {
		pid, ok := translate(m.PID)
		if !m.On || !ok {
			m.On, m.PID, m.Netns = false, 0, ""
			continue
		}
		m.PID, m.Netns = pid, netns(pid)
	}
}

// Tunnel leads from a port of 127.0.0.1 to an address in the lab.
type Tunnel struct {
	Port uint16 `json:"port"` // 0 means any free one
	// Host is a machine's name or an address.
	Host     string `json:"host"`
	HostPort uint16 `json:"hostPort"`
}

// Event is a step on the way up.
type Event struct {
	Text string        `json:"text,omitempty"`
	Took time.Duration `json:"took,omitempty"`
	// Ready tells that the lab is up, Error why it will not be.
	Ready bool   `json:"ready,omitempty"`
	Error string `json:"error,omitempty"`
}
