// Package cli is the weft-lab command: it checks the machine, builds what is
// missing, and talks to the lab's supervisor. What a lab is, other packages
// say.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/state"
)

// Exit codes beside 0.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitNoLab   = 3 // the lab is not up
	exitRefused = 4 // this machine cannot run labs
)

// coded is an error with an exit code of its own.
type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }

// Main runs the command and returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	// The supervisor and process 1 decide for themselves what signals mean.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := rootCommand(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "weft-lab:", err)
	var c coded
	if errors.As(err, &c) {
		return c.code
	}
	return exitFailed
}

// app is what commands share.
type app struct {
	name           string
	stdout, stderr io.Writer
}

// nameVariable is where the lab's name comes from if no flag gives it.
const nameVariable = "WEFT_LAB"

func rootCommand(stdout, stderr io.Writer) *cobra.Command {
	a := &app{stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:   "weft-lab",
		Short: "Real Kubernetes clusters on one Linux machine",
		Long: `weft-lab brings up real Kubernetes clusters on one Linux machine, from Go modules and Debian packages: every node
is a set of namespaces with a containerd and a kubelet of its own. A lab has no Service proxy and no cluster DNS
unless they are asked for, both IP families, and no way out. The host's links, routes, firewall and sysctls are not
touched, and nothing stays after a lab went down.`,
		Example: `  weft-lab up
  weft-lab kubectl get nodes -o wide
  weft-lab down`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return coded{err, exitUsage} })
	name := os.Getenv(nameVariable)
	if name == "" {
		name = "lab"
	}
	root.PersistentFlags().StringVar(&a.name, "name", name, "name of the lab ($"+nameVariable+")")
	root.AddCommand(
		a.upCommand(), a.downCommand(), a.statusCommand(), a.listCommand(),
		a.kubectlCommand(), a.kubeconfigCommand(), a.shellCommand(), a.netnsCommand(),
		a.buildCommand(), a.loadImageCommand(), buildImageCommand(), a.tunnelCommand(),
		a.nodeCommand(), a.controlPlaneCommand(),
		a.superviseCommand(), a.initCommand(), machineCommand(),
	)
	return root
}

// dir is the folder of the lab that the flags name.
func (a *app) dir() (state.Dir, error) {
	dir, err := state.Open(a.name)
	if err != nil {
		return dir, coded{err, exitUsage}
	}
	return dir, nil
}

// lab finds the running lab.
func (a *app) lab(ctx context.Context) (*control.Client, *control.Status, error) {
	dir, err := a.dir()
	if err != nil {
		return nil, nil, err
	}
	if os.Geteuid() != 0 {
		return nil, nil, coded{errors.New("labs belong to root: use sudo"), exitRefused}
	}
	client := control.NewClient(dir.Control())
	status, err := client.Status(ctx)
	if err != nil {
		if !dir.Exists() {
			err = fmt.Errorf("there is no lab %q; bring it up: weft-lab up --name %s", a.name, a.name)
		}
		return nil, nil, coded{err, exitNoLab}
	}
	return client, status, nil
}
