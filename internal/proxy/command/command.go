// Package command is the data plane's command line: the same for weft-proxy, which is nothing else, and for weft proxy.
//
// It owns the flags and their meaning. It decides nothing about traffic.
package command

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
)

type flags struct {
	file                   string
	xds                    bootstrap.XDS
	identity               bootstrap.Identity
	admin, metrics, health string
	state                  string
	drain                  time.Duration
	level                  slog.LevelVar
}

// ErrUsage is a command line that cannot be understood.
var ErrUsage = errors.New("wrong usage")

// New makes the command. Name is how it is called, version what it says it is.
func New(name, version string) *cobra.Command {
	f := &flags{identity: bootstrap.Identity{Version: version}}
	cmd := &cobra.Command{
		Use:   name,
		Short: "Carry HTTP and TCP as an xDS server says",
		Long: `Runs weft's L7 data plane: with a bootstrap file of Envoy's, or with everything from one xDS server.

It serves metrics (/stats/prometheus) and readiness (/healthz/ready), and an admin endpoint like Envoy's for who is on the same machine.
SIGTERM drains it: it is no longer ready, answers say that connections end, and what is left after --drain-time is cut off.`,
		Example: `  ` + name + ` -c envoy.yaml
  ` + name + ` --xds weft-control.weft-system.svc:15012 --token-file /var/run/secrets/tokens/weft --ca-file /etc/weft/root-cert.pem`,
		Args:         cobra.NoArgs,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd, version) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.file, "config", "c", "", "bootstrap file of Envoy's, YAML or JSON")
	fs.StringVar(&f.xds.Address, "xds", "", "xDS server that everything comes from, host:port or unix:PATH")
	fs.StringVar(&f.xds.TokenFile, "token-file", "", "token to show to the xDS server; read anew for each stream")
	fs.StringVar(&f.xds.CAFile, "ca-file", "", "certificates to trust as the xDS server's (default: the system's)")
	fs.StringVar(&f.xds.ServerName, "server-name", "", "name in the xDS server's certificate (default: the host of --xds)")
	fs.StringVar(&f.xds.CertFile, "cert-file", "", "certificate to show to the xDS server")
	fs.StringVar(&f.xds.KeyFile, "key-file", "", "key of --cert-file")
	fs.BoolVar(&f.xds.Plaintext, "plaintext", false, "speak to the xDS server without TLS")
	fs.StringVar(&f.identity.Name, "id", "", "name of this proxy (default: $POD_NAME, then the host's)")
	fs.StringVar(&f.identity.Namespace, "pod-namespace", "", "namespace of this proxy (default: $POD_NAMESPACE)")
	fs.StringVar(&f.identity.Cluster, "workload", "", "name of the workload that this proxy is of")
	fs.StringToStringVar(&f.identity.Labels, "labels", nil, "labels of this proxy's Pod, as a=b,c=d; a server that knows the Pod does not believe them")
	fs.StringVar(&f.state, "state-dir", "", "where the last good configuration is kept, keys among it; its parent must be there (default: nowhere)")
	fs.StringVar(&f.admin, "admin-address", "", "address of the admin endpoint (default: the bootstrap's, else 127.0.0.1:15000); none for none")
	fs.StringVar(&f.metrics, "metrics-address", ":15020", "address of /stats/prometheus; none for none")
	fs.StringVar(&f.health, "health-address", ":15021", "address of /healthz/ready; none for none")
	fs.DurationVar(&f.drain, "drain-time", 30*time.Second, "how long connections have to end after SIGTERM")
	fs.TextVar(&f.level, "log-level", &f.level, "DEBUG, INFO, WARN or ERROR")
	return cmd
}

func (f *flags) run(ctx context.Context, cmd *cobra.Command, version string) error {
	config, err := f.config()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: &f.level}))
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	o := proxy.Options{
		Bootstrap: config, Directory: f.state, Log: log, Level: &f.level, Version: version, Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(),
		DrainTime: f.drain, Quit: quit, OwnProcess: true,
	}
	for _, a := range []struct {
		to         *netip.AddrPort
		text, flag string
	}{{&o.Admin, f.adminAddress(config), "admin-address"}, {&o.Metrics, f.metrics, "metrics-address"}, {&o.Health, f.health, "health-address"}} {
		if *a.to, err = address(a.text); err != nil {
			return errors.Join(ErrUsage, errors.New("--"+a.flag+": "+err.Error()))
		}
	}
	if f.drain == 0 {
		o.DrainTime = -1
	}
	p, err := proxy.New(o)
	if err != nil {
		return err
	}
	admin, metrics, health := p.Admin().Addresses()
	log.Info("running", "version", version, "node", config.Node.GetId(), "admin", admin, "metrics", metrics, "health", health)
	return p.Run(ctx)
}

func (f *flags) config() (*bootstrap.Config, error) {
	switch {
	case f.file != "" && f.xds.Address != "":
		return nil, errors.Join(ErrUsage, errors.New("--config and --xds exclude each other"))
	case f.file != "":
		return bootstrap.ReadFile(f.file)
	case f.xds.Address != "":
		return bootstrap.Told(f.identity.FromEnvironment().Node(), f.xds), nil
	}
	return nil, errors.Join(ErrUsage, errors.New("one of --config and --xds is needed"))
}

func (f *flags) adminAddress(c *bootstrap.Config) string {
	switch {
	case f.admin != "":
		return f.admin
	case c.Admin.IsValid():
		return c.Admin.String()
	case c.Message != nil: // a bootstrap without admin asks for none
		return "none"
	}
	return "127.0.0.1:15000"
}

// address reads host:port; no host is every address.
func address(text string) (netip.AddrPort, error) {
	switch {
	case text == "none":
		return netip.AddrPort{}, nil
	case text != "" && text[0] == ':':
		text = "[::]" + text
	}
	return netip.ParseAddrPort(text)
}
