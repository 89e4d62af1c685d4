package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/proxy/command"
)

// proxyCommand runs the data plane: the same that cmd/weft-proxy is alone.
func proxyCommand() *cobra.Command {
	cmd := command.New("proxy", Version())
	cmd.AddCommand(command.NewAgent("weft proxy", Version()))
	for _, c := range append(cmd.Commands(), cmd) {
		run := c.RunE
		c.RunE = func(cmd *cobra.Command, args []string) error {
			err := run(cmd, args)
			if errors.Is(err, command.ErrUsage) {
				return usageError{err}
			}
			return err
		}
	}
	return cmd
}
