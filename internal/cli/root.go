// Package cli is weft's commands, one file a verb, and the composition root: it wires the parts of each component together and holds no
// logic of its own.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
)

// Exit codes that scripts can rely on.
const (
	exitOK       = 0
	exitFailed   = 1 // the command could not do its work
	exitUsage    = 2 // it was called wrongly
	exitFindings = 3 // it did its work, and what it found is not all well
)

// exitError carries an exit code; its text is already printed, or nothing is to be said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main runs a command line and gives the process's exit code.
func Main(args []string, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	var code exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintln(errs, "weft:", err)
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func badUsage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// globals are the flags of every command.
type globals struct {
	kubeconfig string
	context    string
	namespace  string // of the user
	system     string // where weft lives
	logLevel   slog.Level
}

func newRoot() *cobra.Command {
	g := &globals{}
	root := &cobra.Command{
		Use:   "weft",
		Short: "Carry a Kubernetes cluster's traffic from the inside out",
		Long: `weft carries a Kubernetes cluster's traffic: Services on every node, cluster DNS, and addresses for LoadBalancer Services.

Install it with "weft install", look at it with "weft status", and ask it about one connection with "weft explain".`,
		SilenceUsage: true, SilenceErrors: true,
		Version: Version(),
	}
	root.SetVersionTemplate("weft {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.StringVar(&g.kubeconfig, "kubeconfig", "", "kubeconfig file (default: $KUBECONFIG, then ~/.kube/config, then the Pod's own account)")
	f.StringVar(&g.context, "context", "", "context of the kubeconfig")
	f.StringVarP(&g.namespace, "namespace", "n", "", "namespace that short names are in (default: the context's)")
	f.StringVar(&g.system, "weft-namespace", "weft-system", "namespace that weft is installed in")
	f.TextVar(&g.logLevel, "log-level", slog.LevelInfo, "DEBUG, INFO, WARN or ERROR")
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) {
		log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: g.logLevel}))
		slog.SetDefault(log)
		klog.SetLogger(logr.FromSlogHandler(log.Handler()))
	}
	root.AddGroup(&cobra.Group{ID: "use", Title: "Use:"}, &cobra.Group{ID: "run", Title: "Components, as their Pods run them:"})
	for _, c := range []*cobra.Command{installCommand(g), uninstallCommand(g), statusCommand(g), explainCommand(g), analyzeCommand(g), convertIngressCommand(g), injectCommand(g), proxyConfigCommand(g)} {
		c.GroupID = "use"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{nodeCommand(g), dnsCommand(g), controlCommand(g), proxyCommand(), gatewayCommand(g)} {
		c.GroupID = "run"
		root.AddCommand(c)
	}
	return root
}

// Version is the version of this binary: the module's, or the commit it was built from.
func Version() string {
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
