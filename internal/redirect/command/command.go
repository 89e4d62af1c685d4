// Package command is the command line of package redirect: what a Pod's first init container runs.
//
// It owns the flags and their meaning. It decides nothing about traffic.
package command

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/internal/redirect"
)

// ErrUsage is a command line that cannot be understood.
var ErrUsage = errors.New("wrong usage")

// New makes the command.
func New() *cobra.Command {
	c := redirect.Default()
	remove := false
	cmd := &cobra.Command{
		Use:   "redirect",
		Short: "Turn this Pod's TCP connections to its proxy",
		Long: `Turns the TCP connections of the network namespace that it runs in to the proxy that runs there: those that come in to port 15006, those that
go out to 15001. The proxy's own user and group, loopback, and what flags exclude are left alone, as Istio leaves them alone.

It is one nftables table, inet weft-redirect, put in place in one transaction: running it again changes nothing. It needs NET_ADMIN.`,
		Example: `  weft-proxy redirect
  weft-proxy redirect --exclude-inbound-ports=9090 --exclude-outbound-ranges=10.1.0.0/16,fd01::/64`,
		Args:         cobra.NoArgs,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			if remove {
				if err := redirect.Remove(); err != nil {
					return err
				}
				log.Info("connections go where they are addressed")
				return nil
			}
			if err := redirect.Apply(c); err != nil {
				return err
			}
			log.Info("connections are turned to the proxy", "table", "inet "+redirect.TableName, "config", strings.Join(c.Args(), " "))
			return nil
		},
	}
	flags(cmd.Flags(), &c)
	cmd.Flags().BoolVar(&remove, "remove", false, "leave everything alone from now on")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return errors.Join(ErrUsage, err) })
	return cmd
}

// flags are one for each field of a Config.
func flags(fs *pflag.FlagSet, c *redirect.Config) {
	fs.Uint16Var(&c.Outbound, redirect.FlagOutboundPort, c.Outbound, "port of the proxy for what goes out")
	fs.Uint16Var(&c.Inbound, redirect.FlagInboundPort, c.Inbound, "port of the proxy for what comes in")
	fs.Uint32Var(&c.ProxyUID, redirect.FlagProxyUID, c.ProxyUID, "user whose connections are the proxy's own")
	fs.Uint32Var(&c.ProxyGID, redirect.FlagProxyGID, c.ProxyGID, "group whose connections are the proxy's own")
	list(fs, &c.InboundPorts, redirect.ParsePorts, redirect.FlagInboundPorts, "ports of which what comes in is turned, * for all", "*")
	list(fs, &c.ExcludeInbound, redirect.ParsePortList, redirect.FlagExcludeInbound, "ports of which what comes in is left alone, beside 15020, 15021 and 15090", "")
	list(fs, &c.OutboundRanges, redirect.ParseRanges, redirect.FlagOutboundRanges, "ranges of addresses to which what goes out is turned, * for all", "*")
	list(fs, &c.ExcludeRanges, redirect.ParseRanges, redirect.FlagExcludeRanges, "ranges of addresses to which what goes out is left alone", "")
	list(fs, &c.OutboundPorts, redirect.ParsePortList, redirect.FlagOutboundPorts, "ports to which what goes out is turned, whatever the address", "")
	list(fs, &c.ExcludeOutbound, redirect.ParsePortList, redirect.FlagExcludeOutbound, "ports to which what goes out is left alone", "")
	list(fs, &c.ExcludeInterfaces, redirect.ParseInterfaces, redirect.FlagExcludeInterfaces, "network interfaces whose traffic is left alone", "")
}

// list makes a flag of a list that a function reads.
func list[T any](fs *pflag.FlagSet, to *T, read func(string) (T, error), name, usage, usual string) {
	fs.Var(&value[T]{to: to, read: read, text: usual}, name, usage)
}

// value is a flag whose text a function reads.
type value[T any] struct {
	to   *T
	read func(string) (T, error)
	text string
}

func (v *value[T]) Set(text string) error {
	got, err := v.read(text)
	if err != nil {
		return fmt.Errorf("%s", strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	*v.to, v.text = got, text
	return nil
}

func (v *value[T]) String() string { return v.text }
func (v *value[T]) Type() string   { return "list" }
