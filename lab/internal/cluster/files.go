package cluster

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/weftmesh/weft/lab/internal/artefact"
	"github.com/weftmesh/weft/lab/internal/cgroup"
	"github.com/weftmesh/weft/lab/internal/machine"
	"github.com/weftmesh/weft/lab/internal/network"
)

// Paths in a machine.
const (
	kubernetesProgram  = machine.Lab + "/bin/lab-kubernetes"
	pkiDir             = machine.Lab + "/pki"
	imagesDir          = machine.Lab + "/images"
	readyFile          = machine.Lab + "/ready"
	nodeCA             = "/etc/kubernetes/ca.crt"
	nodeKubeconfig     = "/etc/kubernetes/kubelet.conf"
	proxyKubeconfig    = "/etc/kubernetes/proxy.conf"
	kubeletConfigFile  = "/etc/kubernetes/kubelet.json"
	proxyConfigFile    = "/etc/kubernetes/proxy.json"
	containerdFile     = "/etc/containerd/weft-lab.toml"
	containerdSocket   = "/run/containerd/containerd.sock"
	cniFile            = "/etc/cni/net.d/10-weft-lab.conflist"
	resolvFile         = "/etc/resolv.conf"
	controlPlaneData   = "/var/lib/control-plane"
	controlPlaneServes = machine.Lab + "/control-plane-serves"
)

type object = map[string]any

// nodeFiles are the configuration files of one node.
func nodeFiles(c *Config, p *network.Plan, node network.Host) (map[string][]byte, error) {
	runtime, err := containerdConfig(c)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{containerdFile: []byte(runtime)}
	for file, content := range map[string]object{
		kubeletConfigFile: kubeletConfig(c, p, node),
		proxyConfigFile:   proxyConfig(p, node),
		cniFile:           cniConfig(node),
	} {
		if files[file], err = json.MarshalIndent(content, "", "  "); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// hostFiles are the files of every machine: the others' names, and the router
// as the one name server, where nothing listens unless a test puts it there.
func hostFiles(p *network.Plan) map[string][]byte {
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n")
	for _, h := range append([]network.Host{p.ControlPlane, p.Outside}, p.Nodes...) {
		for _, ip := range h.IPs() {
			fmt.Fprintf(&hosts, "%s\t%s\n", ip, h.Name)
		}
	}
	return map[string][]byte{
		"/etc/hosts": []byte(hosts.String()),
		resolvFile:   []byte("nameserver " + p.Router[0].String() + "\n"),
	}
}

func kubeletConfig(c *Config, p *network.Plan, node network.Host) object {
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": nodeCA},
		},
		"authorization":            object{"mode": "Webhook"},
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               cgroup.Path(c.Name, node.Name),
		"failCgroupV1":             false,
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"clusterDNS":               []string{p.ClusterDNS.String()},
		"clusterDomain":            "cluster.local",
		"resolvConf":               resolvFile,
		"failSwapOn":               false,
		// All nodes share one disk and one memory: none may think that it can
		// make room on them.
		"localStorageCapacityIsolation": c.DiskAccounting,
		"evictionHard":                  object{"memory.available": "50Mi"},
		"imageGCHighThresholdPercent":   100,
		"enforceNodeAllocatable":        []string{"pods"},
		// The default lies in /usr, which is the host's.
		"volumePluginDir": "/var/lib/kubelet/volume-plugins",
		// Tests kill the same container again and again, and wait for it.
		"crashLoopBackOff": object{"maxContainerRestartPeriod": "3s"},
		// Deletions of many small Pods, and tests that wait for them.
		"kubeAPIQPS":         100,
		"kubeAPIBurst":       200,
		"maxPods":            110,
		"serverTLSBootstrap": false,
	}
}

func proxyConfig(p *network.Plan, node network.Host) object {
	var ranges []string
	for _, r := range p.PodCIDRs {
		ranges = append(ranges, r.String())
	}
	return object{
		"apiVersion":       "kubeproxy.config.k8s.io/v1alpha1",
		"kind":             "KubeProxyConfiguration",
		"mode":             "nftables",
		"hostnameOverride": node.Name,
		"clientConnection": object{"kubeconfig": proxyKubeconfig},
		"clusterCIDR":      strings.Join(ranges, ","),
		// These are settings of the whole kernel; 0 leaves them alone.
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
}

// cniConfig connects Pods by routes alone, so that no bridge netfilter is needed.
func cniConfig(node network.Host) object {
	var ranges [][]object
	var routes []object
	for _, r := range node.PodCIDRs {
		ranges = append(ranges, []object{{"subnet": r.String()}})
		everywhere := "0.0.0.0/0"
		if r.Addr().Is6() {
			everywhere = "::/0"
		}
		routes = append(routes, object{"dst": everywhere})
	}
	return object{
		"cniVersion": "0.4.0",
		"name":       "weft-lab",
		"plugins": []object{
			{"type": "ptp", "ipMasq": false, "ipam": object{
				// In memory: a node that lost power has no Pods.
				"type": "host-local", "ranges": ranges, "routes": routes, "dataDir": "/run/cni/networks",
			}},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}
}

// containerdConfig is for the version that is installed: 2.0 renamed the plugins
// and with them the format, 2.1 the setting of where CNI plugins are.
func containerdConfig(c *Config) (string, error) {
	var major, minor int
	if _, err := fmt.Sscanf(c.ContainerdVersion, "%d.%d.", &major, &minor); err != nil {
		return "", fmt.Errorf("containerd version %q", c.ContainerdVersion)
	}
	format, binaries := containerd2, fmt.Sprintf("bin_dirs = [%q]", c.CNI)
	if major < 2 {
		format = containerd1
	}
	if major < 2 || major == 2 && minor == 0 {
		binaries = fmt.Sprintf("bin_dir = %q", c.CNI)
	}
	return fmt.Sprintf(format, containerdSocket, artefact.PauseImage, c.Snapshotter, binaries, filepath.Dir(cniFile)), nil
}

// The plugin "opt" is off because it makes /opt/containerd, of the host.
const containerd1 = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.opt"]
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = %q
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    %s
    conf_dir = %q
`

const containerd2 = `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
  address = %q
[plugins."io.containerd.cri.v1.images"]
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = %q
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    snapshotter = %q
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    %s
    conf_dir = %q
`
