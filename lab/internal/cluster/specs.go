package cluster

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/weftmesh/weft/lab/internal/machine"
	"github.com/weftmesh/weft/lab/internal/network"
	"github.com/weftmesh/weft/lab/internal/pki"
	"github.com/weftmesh/weft/lab/internal/state"
)

// Names of services.
const (
	containerd   = "containerd"
	kubelet      = "kubelet"
	controlPlane = "control-plane"
)

func anywhere(family netip.Addr) netip.Prefix {
	if family.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// kubernetesBind puts lab-kubernetes into a machine.
func kubernetesBind(c *Config) machine.Bind {
	return machine.Bind{Source: c.Kubernetes, Target: kubernetesProgram, ReadOnly: true}
}

func controlPlaneSpec(c *Config, p *network.Plan, dir state.Dir) machine.Spec {
	return machine.Spec{
		Hostname: p.ControlPlane.Name,
		Var:      dir.Var(p.ControlPlane.Name),
		Network: machine.Network{
			Addresses: p.ControlPlane.Addresses,
			Routes:    append(podRoutes(p, p.ControlPlane), defaultRoutes(p)...),
		},
		Binds: []machine.Bind{kubernetesBind(c), {Source: dir.PKI(), Target: pkiDir, ReadOnly: true}},
		Files: hostFiles(p),
	}
}

func controlPlaneService(c *Config, p *network.Plan) machine.Service {
	node := p.Nodes[0]
	return machine.Service{
		Name: controlPlane,
		Argv: []string{kubernetesProgram, "control-plane",
			"--data=" + controlPlaneData,
			"--pki=" + pkiDir,
			"--address=" + p.APIServer().Addr().String(),
			"--pod-cidrs=" + join(p.PodCIDRs),
			"--service-cidrs=" + join(p.ServiceCIDRs),
			fmt.Sprintf("--node-masks=%d,%d", node.PodCIDRs[0].Bits(), node.PodCIDRs[1].Bits()),
			"--ready-file=" + controlPlaneServes,
		},
		Ready:   controlPlaneServes,
		Timeout: c.UpTimeout,
		Log:     "/var/log/control-plane.log",
	}
}

// outsideSpec is a machine that knows the nodes' network, and that the external
// ranges are behind the first node.
func outsideSpec(p *network.Plan, dir state.Dir) machine.Spec {
	var routes []machine.Route
	for i, r := range p.ExternalCIDRs {
		routes = append(routes, machine.Route{To: r, Via: p.Nodes[0].Addresses[i].Addr()})
	}
	return machine.Spec{
		Hostname: p.Outside.Name,
		Var:      dir.Var(p.Outside.Name),
		Network:  machine.Network{Addresses: p.Outside.Addresses, Routes: routes},
		Files:    hostFiles(p),
	}
}

func nodeSpec(c *Config, p *network.Plan, dir state.Dir, node network.Host) (machine.Spec, error) {
	files, err := nodeFiles(c, p, node)
	if err != nil {
		return machine.Spec{}, err
	}
	maps.Copy(files, hostFiles(p))
	return machine.Spec{
		Hostname: node.Name,
		Var:      dir.Var(node.Name),
		Network: machine.Network{
			Addresses: node.Addresses,
			Routes:    append(podRoutes(p, node), defaultRoutes(p)...),
			Own:       node.PodCIDRs,
			Forward:   true,
		},
		Binds: []machine.Bind{
			kubernetesBind(c),
			{Source: dir.Images(), Target: imagesDir, ReadOnly: true},
			{Source: filepath.Join(dir.PKI(), "ca.crt"), Target: nodeCA, ReadOnly: true},
			{Source: filepath.Join(dir.PKI(), pki.Node(node.Name)), Target: nodeKubeconfig, ReadOnly: true},
			{Source: filepath.Join(dir.PKI(), "proxy.conf"), Target: proxyKubeconfig, ReadOnly: true},
		},
		Files: files,
	}, nil
}

func containerdService(c *Config) machine.Service {
	return machine.Service{
		Name:    containerd,
		Argv:    []string{"containerd", "--config", containerdFile, "--log-level", "warn"},
		Ready:   containerdSocket,
		Timeout: c.UpTimeout,
		Log:     "/var/log/containerd.log",
	}
}

func kubeletService(node network.Host) machine.Service {
	var ips []string
	for _, ip := range node.IPs() {
		ips = append(ips, ip.String())
	}
	return machine.Service{
		Name: kubelet,
		Argv: []string{kubernetesProgram, "kubelet",
			"--config=" + kubeletConfigFile,
			"--kubeconfig=" + nodeKubeconfig,
			"--hostname-override=" + node.Name,
			"--node-ip=" + strings.Join(ips, ","),
			"--v=1",
		},
		Log: "/var/log/kubelet.log",
	}
}

func kubeProxyService() machine.Service {
	return machine.Service{
		Name: KubeProxy,
		Argv: []string{kubernetesProgram, "kube-proxy", "--config=" + proxyConfigFile},
		Log:  "/var/log/kube-proxy.log",
	}
}

func join(ranges []netip.Prefix) string {
	var texts []string
	for _, r := range ranges {
		texts = append(texts, r.String())
	}
	return strings.Join(texts, ",")
}
