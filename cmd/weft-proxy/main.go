// Command weft-proxy is what weft puts into Pods: its L7 data plane, which is what weft proxy is without the rest of weft, and as a command of its
// own what turns a Pod's traffic to it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/proxy/command"
	redirectcommand "github.com/weftmesh/weft/internal/redirect/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "weft-proxy:", err)
	if errors.Is(err, command.ErrUsage) || errors.Is(err, redirectcommand.ErrUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

// newRoot makes the command line: called without a command, it is the proxy.
func newRoot() *cobra.Command {
	root := command.New("weft-proxy", version())
	root.AddCommand(redirectcommand.New(), command.NewWait(), command.NewAgent("weft-proxy", version()))
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
