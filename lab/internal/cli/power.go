package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/lab/internal/cluster"
	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/tunnel"
)

func (a *app) nodeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "node",
		Short: "Take a node's power away, or give it back",
		Example: `  weft-lab node stop node-2
  weft-lab node start node-2`,
	}
	for _, verb := range []struct{ name, short, long, done string }{
		{"stop", "Take a node's power away",
			"Takes a node's power away: kubelet, containers and everything in its kernel's tables are gone at once. /var stays.", "off"},
		{"start", "Give a node its power back",
			"Gives a node its power back. It boots with empty memory and the disk that it had.", "on"},
	} {
		c.AddCommand(&cobra.Command{
			Use: verb.name + " NODE", Short: verb.short, Long: verb.long,
			Example: "  weft-lab node " + verb.name + " node-2",
			Args:    cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				client, status, err := a.lab(c.Context())
				if err != nil {
					return err
				}
				if _, ok := status.Machine(args[0]); !ok {
					return coded{fmt.Errorf("lab %s has no node %q", status.Name, args[0]), exitUsage}
				}
				if err := client.Do(c.Context(), "/nodes/"+args[0]+"/"+verb.name, nil, nil); err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "%s is %s\n", args[0], verb.done)
				return nil
			},
		})
	}
	return c
}

func (a *app) controlPlaneCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "control-plane",
		Short: "Stop the API server, etcd and controllers, or start them again",
		Example: `  weft-lab control-plane stop --kill
  weft-lab control-plane start`,
	}
	var kill bool
	stop := &cobra.Command{
		Use: "stop", Short: "Stop the control plane; its state stays",
		Example: "  weft-lab control-plane stop",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.do(c.Context(), "/control-plane/stop", cluster.StopRequest{Kill: kill}, "the control plane is stopped")
		},
	}
	stop.Flags().BoolVar(&kill, "kill", false, "without letting it finish")
	start := &cobra.Command{
		Use: "start", Short: "Start the control plane with the state that it had",
		Example: "  weft-lab control-plane start",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.do(c.Context(), "/control-plane/start", nil, "the control plane serves")
		},
	}
	c.AddCommand(stop, start)
	return c
}

func (a *app) do(ctx context.Context, path string, in any, done string) error {
	client, _, err := a.lab(ctx)
	if err != nil {
		return err
	}
	if err := client.Do(ctx, path, in, nil); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, done)
	return nil
}

func (a *app) tunnelCommand() *cobra.Command {
	var background bool
	c := &cobra.Command{
		Use:   "tunnel PORT:HOST:HOSTPORT...",
		Short: "Lead ports of 127.0.0.1 into a lab",
		Long: `Leads ports of 127.0.0.1 of this machine to addresses in a lab, by TCP, until it is ended; or, in the background, until
the lab goes down. HOST is a machine's name or an address, IPv6 in brackets. Connections come from the machine outside;
those to Pods and cluster IPs, which only nodes can reach, from the first node that is on. PORT 0 takes a free port.`,
		Example: `  weft-lab tunnel 8080:node-1:30080
  weft-lab tunnel --background 8080:10.89.0.200:80 6443:control-plane:6443`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var tunnels []control.Tunnel
			for _, arg := range args {
				t, err := tunnel.Parse(arg)
				if err != nil {
					return coded{err, exitUsage}
				}
				tunnels = append(tunnels, t)
			}
			client, status, err := a.lab(c.Context())
			if err != nil {
				return err
			}
			for _, t := range tunnels {
				if _, _, err := tunnel.Resolve(status, t); err != nil {
					return err
				}
			}
			if background {
				return a.tunnelsInBackground(c.Context(), client, tunnels)
			}
			return a.tunnels(c.Context(), client, tunnels)
		},
	}
	c.Flags().BoolVar(&background, "background", false, "return at once and let the lab keep the tunnels")
	return c
}

func (a *app) tunnelsInBackground(ctx context.Context, client *control.Client, tunnels []control.Tunnel) error {
	for _, t := range tunnels {
		if err := client.Do(ctx, "/tunnels", t, &t); err != nil {
			return err
		}
		a.announce(t)
	}
	return nil
}

func (a *app) tunnels(ctx context.Context, client *control.Client, tunnels []control.Tunnel) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make(chan error, len(tunnels))
	for i, t := range tunnels {
		relay, err := tunnel.Listen(t, client.Status)
		if err != nil {
			cancel()
			for range i {
				<-ends
			}
			return err
		}
		t.Port = relay.Port()
		a.announce(t)
		go func() {
			ends <- relay.Serve(ctx, func(err error) { fmt.Fprintln(a.stderr, "weft-lab:", err) })
		}()
	}
	var failed error
	for range tunnels {
		if err := <-ends; err != nil && failed == nil {
			failed = err
			cancel()
		}
	}
	return failed
}

func (a *app) announce(t control.Tunnel) {
	fmt.Fprintf(a.stdout, "127.0.0.1:%d leads to %s port %d\n", t.Port, t.Host, t.HostPort)
}
