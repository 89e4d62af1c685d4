package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/lab/internal/cluster"
	"github.com/weftmesh/weft/lab/internal/machine"
	"github.com/weftmesh/weft/lab/internal/supervisor"
)

// The commands here are weft-lab starting itself in another role. They decide
// for themselves which signals end them, so they do not use the context that
// signals end.

func (a *app) superviseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "supervise", Short: "Supervise a lab; started by up", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			return supervisor.Main(context.Background(), dir)
		},
	}
}

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use: "init", Short: "Be process 1 of a lab; started by supervise", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			return cluster.Main(context.Background(), dir)
		},
	}
}

func machineCommand() *cobra.Command {
	return &cobra.Command{
		Use: "machine NAME", Short: "Be process 1 of a machine; started by init", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(*cobra.Command, []string) error { return machine.Main(context.Background()) },
	}
}
