package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// weftImage is the name that weft's image has in the lab.
const weftImage = "weft.test/weft:conformance"

// labCluster is a lab with weft in it, for the specs.
type labCluster struct {
	root string // of the repository
	work string // a folder for files
	name string
}

// up builds weft and weft-lab, brings a lab up, loads the images of an archive, and installs weft. It gives the place that the specs run at: a
// machine beside the nodes, which reaches what a user outside the cluster reaches.
func (l labCluster) up(ctx context.Context, images string) (at place, err error) {
	weft, program := filepath.Join(l.root, "bin", "weft"), filepath.Join(l.work, "weft.tar")
	err = step("build weft and weft-lab", func() error {
		if err := l.run(ctx, filepath.Join(l.root, "scripts", "build.sh")); err != nil {
			return err
		}
		return l.run(ctx, l.weftLab(), "build-image", "--tag", weftImage, "--output", program, "/weft="+weft)
	})
	if err != nil {
		return at, err
	}
	if err := step("bring up the lab "+l.name, func() error { return l.lab(ctx, "up", "--nodes", "3") }); err != nil {
		return at, err
	}
	if err := step("load the images into its nodes", func() error { return l.lab(ctx, "load-image", program, images) }); err != nil {
		return at, err
	}
	status, err := l.status(ctx)
	if err != nil {
		return at, err
	}
	// Some specs want nodes in zones, and there is no cloud that says where they are.
	for i, n := range status.Nodes {
		if err := l.lab(ctx, "kubectl", "--", "label", "--overwrite", "node", n.Name, fmt.Sprintf("topology.kubernetes.io/zone=zone-%d", i+1)); err != nil {
			return at, err
		}
	}
	at = place{kubeconfig: status.Kubeconfig, enter: []string{"nsenter", "--net=" + status.Outside.Netns, "--"}, nodes: len(status.Nodes)}
	return at, step("install weft", func() error {
		args := append(at.enter, weft, "--kubeconfig", at.kubeconfig, "install", "--image", weftImage, "--image-pull-policy", "Never")
		for _, c := range status.Network.PodCIDRs {
			args = append(args, "--cluster-cidr", c)
		}
		for _, r := range status.Network.LoadBalancers {
			args = append(args, "--lb-pool", r)
		}
		return l.run(ctx, args...)
	})
}

func (l labCluster) down(ctx context.Context) error { return l.lab(ctx, "down") }

// labStatus is what is wanted of `weft-lab status -o json`.
type labStatus struct {
	Kubeconfig string `json:"kubeconfig"`
	Outside    struct {
		Netns string `json:"netns"`
	} `json:"outside"`
	Nodes []struct {
		Name string `json:"name"`
	} `json:"nodes"`
	Network struct {
		PodCIDRs      []string `json:"podCIDRs"`
		LoadBalancers []string `json:"loadBalancers"`
	} `json:"network"`
}

func (l labCluster) status(ctx context.Context) (s labStatus, err error) {
	cmd := exec.CommandContext(ctx, l.weftLab(), "status", "--name", l.name, "-o", "json")
	out, err := cmd.Output()
	if err != nil {
		return s, fmt.Errorf("weft-lab status: %w", err)
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("weft-lab status: %w", err)
	}
	return s, nil
}

func (l labCluster) weftLab() string { return filepath.Join(l.root, "bin", "weft-lab") }

// lab runs weft-lab on this lab.
func (l labCluster) lab(ctx context.Context, command string, args ...string) error {
	return l.run(ctx, append([]string{l.weftLab(), command, "--name", l.name}, args...)...)
}

// run runs a command and shows what it prints if it fails.
func (l labCluster) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = l.root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Run(); err != nil {
		os.Stderr.Write(out.Bytes())
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}
