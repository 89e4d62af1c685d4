package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/lab/internal/cluster"
	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/host"
	"github.com/weftmesh/weft/lab/internal/network"
	"github.com/weftmesh/weft/lab/internal/state"
)

func (a *app) kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [--name LAB] [--] ARGUMENTS",
		Short: "Run kubectl as the lab's administrator",
		Long: `Runs the kubectl of the lab's own version as the administrator, on the machine outside, with this shell's folder,
files and standard input. --name must come first. What kubectl port-forward and proxy listen on is inside the lab: lead a
tunnel there, or straight to the Service.`,
		Example: `  weft-lab kubectl get pods -A
  weft-lab kubectl --name two apply -f - < pods.yaml`,
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			name, args, err := kubectlArgs(a.name, args)
			if err != nil {
				return coded{err, exitUsage}
			}
			a.name = name
			_, status, err := a.lab(c.Context())
			if err != nil {
				return err
			}
			dir, err := state.Open(name)
			if err != nil {
				return err
			}
			config, err := cluster.ReadConfig(dir.Config())
			if err != nil {
				return err
			}
			at, err := findMachine(status, network.Outside)
			if err != nil {
				return err
			}
			argv := append([]string{"nsenter", "--net=" + at.Netns, "--", config.Kubernetes, "kubectl"}, args...)
			return enter(argv, environment("KUBECONFIG", status.Kubeconfig))
		},
	}
}

// kubectlArgs takes weft-lab's own arguments from before kubectl's.
func kubectlArgs(name string, args []string) (string, []string, error) {
	for len(args) > 0 {
		value, own := strings.CutPrefix(args[0], "--name=")
		switch {
		case own:
			name, args = value, args[1:]
		case args[0] == "--name" && len(args) == 1:
			return "", nil, fmt.Errorf("--name needs a value")
		case args[0] == "--name":
			name, args = args[1], args[2:]
		case args[0] == "--":
			return name, args[1:], nil
		default:
			return name, args, nil
		}
	}
	return name, args, nil
}

func (a *app) shellCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "shell MACHINE [-- COMMAND]",
		Short: "Open a shell on a machine, or run a command there",
		Long: `Opens a shell on a node, on control-plane, on outside (a machine of the nodes' network that is no node), or on router, or
runs a command there. The machine's network, processes, /var, /run and /etc are its own; programs and other files are
this machine's.`,
		Example: `  weft-lab shell node-1
  weft-lab shell node-1 -- crictl ps
  weft-lab shell outside -- curl http://10.89.0.11:30080/`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			_, status, err := a.lab(c.Context())
			if err != nil {
				return err
			}
			m, err := findMachine(status, args[0])
			if err != nil {
				return err
			}
			command := args[1:]
			if len(command) > 0 && command[0] == "--" {
				command = command[1:]
			}
			return enter(shellArgv(m, command), shellEnvironment(status))
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}

func shellArgv(m control.Machine, command []string) []string {
	argv := []string{"nsenter", "--target=" + strconv.Itoa(m.PID), "--mount", "--net", "--pid", "--ipc"}
	if m.Name != network.Router {
		argv = append(argv, "--uts") // the router's name is the host's
	}
	argv = append(argv, "--")
	if len(command) == 0 {
		shell := "/bin/bash"
		if _, err := os.Stat(shell); err != nil {
			shell = "/bin/sh"
		}
		command = []string{shell}
	}
	return append(argv, command...)
}

func shellEnvironment(s *control.Status) []string {
	env := environment("KUBECONFIG", s.Kubeconfig)
	return append(env, "CONTAINERD_NAMESPACE=k8s.io", "CONTAINER_RUNTIME_ENDPOINT=unix:///run/containerd/containerd.sock")
}

// enter becomes nsenter.
func enter(argv, env []string) error {
	path, err := host.Find(argv[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, argv, env))
}
