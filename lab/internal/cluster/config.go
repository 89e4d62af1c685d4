// Package cluster is what process 1 of a lab does: it makes the lab's network
// and machines, starts Kubernetes on them, and answers for them as long as the
// lab lives. It runs in PID, mount and network namespaces of its own, never
// looks at the host's network, and leaves cleaning up to the supervisor, which
// outlives it.
package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// What a lab can have beside Kubernetes itself.
const (
	KubeProxy = "kube-proxy"
	CoreDNS   = "coredns"
)

// Extras lists what Config.With may hold.
func Extras() []string { return []string{KubeProxy, CoreDNS} }

// Config is what a lab is to be. It is written before the lab starts.
type Config struct {
	Name  string   `json:"name"`
	Nodes int      `json:"nodes"`
	With  []string `json:"with"`
	// Program is weft-lab, and Kubernetes lab-kubernetes, by path.
	Program    string `json:"program"`
	Kubernetes string `json:"kubernetes"`
	// KubernetesVersion is for people.
	KubernetesVersion string `json:"kubernetesVersion"`
	// Images are archives that every node loads when it starts.
	Images []string `json:"images"`
	// ContainerdVersion is the one installed: "1.6.20".
	ContainerdVersion string `json:"containerdVersion"`
	// UpTimeout is how long the lab may take to come up.
	UpTimeout time.Duration `json:"upTimeout"`
	// Snapshotter is containerd's: overlayfs, or native where the lab's folder
	// is itself on an overlay.
	Snapshotter string `json:"snapshotter"`
	// DiskAccounting lets kubelets account for the disk, which they can on some
	// file systems only.
	DiskAccounting bool `json:"diskAccounting"`
	// CNI is the folder of CNI plugins.
	CNI string `json:"cni"`
}

func (c *Config) with(extra string) bool { return slices.Contains(c.With, extra) }

// ReadConfig reads what Write wrote.
func ReadConfig(file string) (*Config, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var c Config
	if err := json.Unmarshal(content, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &c, nil
}

// Write writes the configuration to a file.
func (c *Config) Write(file string) error {
	content, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(content, '\n'), 0o600)
}
