package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/lab/internal/artefact"
	"github.com/weftmesh/weft/lab/internal/cluster"
	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/host"
	"github.com/weftmesh/weft/lab/internal/network"
	"github.com/weftmesh/weft/lab/internal/state"
	"github.com/weftmesh/weft/lab/internal/supervisor"
)

func (a *app) upCommand() *cobra.Command {
	var shape cluster.Config
	c := &cobra.Command{
		Use:   "up",
		Short: "Bring a lab up, or find it up",
		Long: `Brings a lab up and returns when every node is Ready. What it runs is built once and kept in $WEFT_LAB_CACHE or the
user's cache folder. Ended half-way, by Ctrl-C or a kill, it leaves nothing behind. A lab that is up already is left alone.`,
		Example: `  weft-lab up
  weft-lab up --name two --nodes 1
  weft-lab up --name reference --with kube-proxy,coredns`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, w := range shape.With {
				if !slices.Contains(cluster.Extras(), w) {
					return coded{fmt.Errorf("--with %s: known are %s", w, strings.Join(cluster.Extras(), ", ")), exitUsage}
				}
			}
			slices.Sort(shape.With)
			shape.With = slices.Compact(shape.With)
			if _, err := network.New(shape.Nodes); err != nil {
				return coded{fmt.Errorf("--nodes: %w", err), exitUsage}
			}
			return a.up(c.Context(), &shape)
		},
	}
	c.Flags().IntVar(&shape.Nodes, "nodes", 3, "number of nodes")
	c.Flags().DurationVar(&shape.UpTimeout, "timeout", 5*time.Minute, "how long it may take once everything is built")
	c.Flags().StringSliceVar(&shape.With, "with", nil, "what to run beside Kubernetes itself: "+strings.Join(cluster.Extras(), ", "))
	return c
}

// up brings up a lab of that shape, the rest of which it fills in.
func (a *app) up(ctx context.Context, config *cluster.Config) error {
	began := time.Now()
	dir, err := a.dir()
	if err != nil {
		return err
	}
	machine, err := host.Inspect()
	if err != nil {
		return coded{err, exitRefused}
	}
	lock, err := dir.Lock()
	if errors.Is(err, state.ErrLocked) {
		return a.foundUp(ctx, dir, config)
	}
	if err != nil {
		return err
	}
	if err := a.prepare(ctx, dir, machine, config); err != nil {
		return errors.Join(err, supervisor.Clean(context.WithoutCancel(ctx), dir), lock.Release())
	}
	if err := supervisor.Start(ctx, dir, lock, func(e control.Event) { progress(a.stdout, e.Text, e.Took) }); err != nil {
		return fmt.Errorf("lab %s: %w", dir.Name, err)
	}
	fmt.Fprintf(a.stdout, "lab %s is up, in %.1f s: weft-lab kubectl --name %s get nodes\n", dir.Name, time.Since(began).Seconds(), dir.Name)
	return nil
}

// foundUp tells whether the lab that is there is the one that was asked for.
func (a *app) foundUp(ctx context.Context, dir state.Dir, want *cluster.Config) error {
	status, err := control.NewClient(dir.Control()).Status(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("lab %s is on its way up or down: try again, or weft-lab down --name %s (%w)", dir.Name, dir.Name, err)
	case status.State != control.Running:
		return fmt.Errorf("lab %s is on its way up, started by somebody else", dir.Name)
	case len(status.Nodes) != want.Nodes || !slices.Equal(status.With, want.With):
		return fmt.Errorf("lab %s is up with %d nodes and %v, not %d and %v: weft-lab down --name %s first", dir.Name, len(status.Nodes), status.With, want.Nodes, want.With, dir.Name)
	}
	fmt.Fprintf(a.stdout, "lab %s is up already\n", dir.Name)
	return nil
}

// prepare builds what is missing and writes down what the lab is to be.
func (a *app) prepare(ctx context.Context, dir state.Dir, machine *host.Host, config *cluster.Config) error {
	if dir.Exists() {
		progress(a.stdout, "remove what an earlier lab left", 0)
	}
	if err := supervisor.Clean(ctx, dir); err != nil {
		return err
	}
	config.Name, config.Program = dir.Name, dir.Program()
	config.ContainerdVersion, config.CNI = machine.ContainerdVersion, machine.CNI
	if err := a.build(ctx, config); err != nil {
		return err
	}
	if err := dir.Create(); err != nil {
		return err
	}
	if err := supervisor.Borrow(ctx); err != nil {
		return err
	}
	disk, err := host.InspectDisk(dir.Path())
	if err != nil {
		return err
	}
	config.Snapshotter, config.DiskAccounting = disk.Snapshotter, disk.Accounting
	// A lab outlives what was built where it was started from.
	if err := copyProgram(dir.Program()); err != nil {
		return err
	}
	return config.Write(dir.Config())
}

func (a *app) buildCommand() *cobra.Command {
	var config cluster.Config
	c := &cobra.Command{
		Use:   "build",
		Short: "Build what labs run, so that up need not",
		Long:  "Builds what labs run, if it is not in the cache, and prints where it is. Needs no root.",
		Example: `  weft-lab build
  WEFT_LAB_CACHE=/srv/cache weft-lab build --with coredns`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.build(c.Context(), &config); err != nil {
				return err
			}
			for _, path := range append([]string{config.Kubernetes}, config.Images...) {
				fmt.Fprintln(a.stdout, path)
			}
			return nil
		},
	}
	c.Flags().StringSliceVar(&config.With, "with", nil, "what labs are to run beside Kubernetes itself: "+strings.Join(cluster.Extras(), ", "))
	return c
}

// build builds what the lab runs, and tells the configuration where it is.
func (a *app) build(ctx context.Context, config *cluster.Config) error {
	cacheDir, err := artefact.DefaultDir()
	if err != nil {
		return err
	}
	cache := &artefact.Cache{Dir: cacheDir, Progress: func(what string) func() {
		began := time.Now()
		fmt.Fprintf(a.stdout, "         %s …\n", what)
		return func() { progress(a.stdout, what, time.Since(began)) }
	}}
	if config.KubernetesVersion, err = artefact.KubernetesVersion(); err != nil {
		return err
	}
	if config.Kubernetes, err = cache.Kubernetes(ctx); err != nil {
		return err
	}
	pause, err := cache.Pause(ctx)
	if err != nil {
		return err
	}
	config.Images = []string{pause}
	if slices.Contains(config.With, cluster.CoreDNS) {
		archive, err := cache.CoreDNS(ctx)
		if err != nil {
			return err
		}
		config.Images = append(config.Images, archive)
	}
	return nil
}

// progress prints a step and how long it took.
func progress(w io.Writer, text string, took time.Duration) {
	if took == 0 {
		fmt.Fprintf(w, "         %s\n", text)
		return
	}
	fmt.Fprintf(w, "%6.1f s %s\n", took.Seconds(), text)
}

func copyProgram(target string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	out, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, self); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

func (a *app) downCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "down",
		Short: "Take a lab down, and remove everything of it",
		Long: `Takes a lab down, running or half-dead, and removes everything of it. What was built stays in the cache. A lab that is
not there is down already.`,
		Example: `  weft-lab down
  weft-lab down --all`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := host.CheckUser(); err != nil {
				return coded{err, exitRefused}
			}
			names := []string{a.name}
			if all {
				var err error
				if names, err = state.Names(); err != nil {
					return err
				}
			}
			for _, name := range names {
				dir, err := state.Open(name)
				if err != nil {
					return coded{err, exitUsage}
				}
				if err := supervisor.Stop(c.Context(), dir); err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "lab %s is down\n", name)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all labs")
	return c
}
