package cli

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/machine"
	"github.com/weftmesh/weft/lab/internal/network"
)

func TestKubectlArgs(t *testing.T) {
	for _, c := range []struct {
		args []string
		name string
		rest []string
	}{
		{[]string{"get", "pods", "--name", "x"}, "lab", []string{"get", "pods", "--name", "x"}},
		{[]string{"--name", "two", "get", "pods"}, "two", []string{"get", "pods"}},
		{[]string{"--name=two", "--", "exec", "x", "--", "ls"}, "two", []string{"exec", "x", "--", "ls"}},
		{nil, "lab", nil},
	} {
		name, rest, err := kubectlArgs("lab", c.args)
		if err != nil || name != c.name {
			t.Errorf("%v: lab %s, %v", c.args, name, err)
		}
		if d := cmp.Diff(c.rest, rest); d != "" {
			t.Errorf("%v: %s", c.args, d)
		}
	}
	if _, _, err := kubectlArgs("lab", []string{"--name"}); err == nil {
		t.Error("--name without a value")
	}
}

// Every command that people see says what it does and how it is used.
func TestEveryCommandHasAnExample(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			return
		}
		if c.Short == "" || !strings.Contains(c.Example, "weft-lab ") && !strings.Contains(c.Example, "$(weft-lab") {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(rootCommand(&bytes.Buffer{}, &bytes.Buffer{}))
}

func TestWriteStatus(t *testing.T) {
	plan, err := network.New(1)
	if err != nil {
		t.Fatal(err)
	}
	node := control.Machine{
		Name: "node-1", IPs: plan.Nodes[0].IPs(), PodCIDRs: plan.Nodes[0].PodCIDRs, On: true, PID: 42,
		Services: []machine.ServiceStatus{{Name: "containerd", Running: true}, {Name: "kubelet", Ended: "exit code 1"}},
	}
	s := &control.Status{
		Name: "lab", State: control.Running, Kubernetes: "v1.2.3", APIServer: "https://x", Network: plan, Nodes: []control.Machine{node},
		Outside: control.Machine{Name: "outside", IPs: []netip.Addr{netip.MustParseAddr("10.89.0.100")}},
		Tunnels: []control.Tunnel{{Port: 1, Host: "node-1", HostPort: 2}},
	}
	var out bytes.Buffer
	if err := writeStatus(&out, s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"no Service proxy", "127.0.0.1:1 to node-1 port 2", "10.89.0.200-10.89.0.250 fd89::200-fd89::250",
		"containerd, kubelet (exit code 1)", "10.244.1.0/24 fd44:0:0:1::/64",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
