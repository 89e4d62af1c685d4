package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/network"
	"github.com/weftmesh/weft/lab/internal/state"
)

func (a *app) statusCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show a lab's machines, addresses and tunnels",
		Long:  "Shows a lab's machines, addresses and tunnels. The exit code is 3 if the lab is not up.",
		Example: `  weft-lab status
  weft-lab status -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, status, err := a.lab(c.Context())
			if err != nil {
				return err
			}
			switch output {
			case "json":
				e := json.NewEncoder(a.stdout)
				e.SetIndent("", "  ")
				return e.Encode(status)
			case "":
				return writeStatus(a.stdout, status)
			}
			return coded{fmt.Errorf("-o %s: known is json", output), exitUsage}
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json, or nothing for people")
	return c
}

func writeStatus(out io.Writer, s *control.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "lab\t%s, %s, Kubernetes %s\n", s.Name, s.State, s.Kubernetes)
	fmt.Fprintf(w, "beside\t%s\n", cmp.Or(strings.Join(s.With, ", "), "nothing: no Service proxy, no cluster DNS"))
	fmt.Fprintf(w, "API server\t%s\n", s.APIServer)
	fmt.Fprintf(w, "kubeconfig\t%s\n", s.Kubeconfig)
	fmt.Fprintf(w, "nodes' network\t%s\n", list(s.Network.NodeCIDRs))
	fmt.Fprintf(w, "Pods\t%s\n", list(s.Network.PodCIDRs))
	fmt.Fprintf(w, "Services\t%s; Pods ask %s for names\n", list(s.Network.ServiceCIDRs), s.Network.ClusterDNS)
	fmt.Fprintf(w, "for load balancers\t%s\n", list(s.Network.LoadBalancers))
	fmt.Fprintf(w, "external addresses\t%s\n", list(s.Network.ExternalCIDRs))
	for _, t := range s.Tunnels {
		fmt.Fprintf(w, "tunnel\t127.0.0.1:%d to %s port %d\n", t.Port, t.Host, t.HostPort)
	}
	fmt.Fprint(w, "\nMACHINE\tADDRESSES\tPODS\tPROCESS\tSERVICES\n")
	for _, m := range append([]control.Machine{s.ControlPlane, s.Outside, s.Router}, s.Nodes...) {
		process := "off"
		if m.On {
			process = fmt.Sprint(m.PID)
		}
		var services []string
		for _, service := range m.Services {
			text := service.Name
			if !service.Running {
				text += " (" + service.Ended + ")"
			}
			services = append(services, text)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.Name, list(m.IPs), list(m.PodCIDRs), process, strings.Join(services, ", "))
	}
	return w.Flush()
}

func list[T netip.Addr | netip.Prefix | network.Range](values []T) string {
	var texts []string
	for _, v := range values {
		texts = append(texts, fmt.Sprint(v))
	}
	return strings.Join(texts, " ")
}

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the labs of this machine",
		Example: "  weft-lab list",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			names, err := state.Names()
			if err != nil {
				return err
			}
			for _, name := range names {
				dir, err := state.Open(name)
				if err != nil {
					return err
				}
				word := "not running: weft-lab down --name " + name + " removes what is left"
				if s, err := control.NewClient(dir.Control()).Status(c.Context()); err == nil {
					word = fmt.Sprintf("%s, %d nodes", s.State, len(s.Nodes))
				}
				fmt.Fprintf(a.stdout, "%s: %s\n", name, word)
			}
			return nil
		},
	}
}

func (a *app) kubeconfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the administrator's kubeconfig",
		Long: `Prints the path of the administrator's kubeconfig. The API server that it names can be reached inside the lab only:
from a shell there, by weft-lab kubectl, or through a tunnel.`,
		Example: "  weft-lab kubeconfig",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, status, err := a.lab(c.Context())
			if err == nil {
				fmt.Fprintln(a.stdout, status.Kubeconfig)
			}
			return err
		},
	}
}

func (a *app) netnsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "netns MACHINE",
		Short: "Print the path of a machine's network namespace",
		Long: `Prints the path of the network namespace of a machine: a node, control-plane, outside, or router. It is good until that
machine is stopped.`,
		Example: "  nsenter --net=$(weft-lab netns node-1) ip address",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			_, status, err := a.lab(c.Context())
			if err != nil {
				return err
			}
			m, err := findMachine(status, args[0])
			if err == nil {
				fmt.Fprintln(a.stdout, m.Netns)
			}
			return err
		},
	}
}

// findMachine finds a machine that is on.
func findMachine(s *control.Status, name string) (control.Machine, error) {
	m, ok := s.Machine(name)
	switch {
	case !ok:
		return m, coded{fmt.Errorf("lab %s has no machine %q", s.Name, name), exitUsage}
	case !m.On:
		return m, fmt.Errorf("%s is off: weft-lab node --name %s start %s", name, s.Name, name)
	}
	return m, nil
}

// environment is the process's own with one variable set.
func environment(name, value string) []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, name+"=") })
	return append(env, name+"="+value)
}
