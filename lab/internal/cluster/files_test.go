package cluster

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/network"
)

func TestContainerdIsConfiguredForItsVersion(t *testing.T) {
	for version, want := range map[string]struct{ format, plugin, binaries string }{
		"1.6.20": {"version = 2\n", `"io.containerd.grpc.v1.cri"`, `bin_dir = "/opt/cni/bin"`},
		"1.7.27": {"version = 2\n", `"io.containerd.grpc.v1.cri"`, `bin_dir = "/opt/cni/bin"`},
		"2.0.0":  {"version = 3\n", `"io.containerd.cri.v1.runtime"`, `bin_dir = "/opt/cni/bin"`},
		"2.1.4":  {"version = 3\n", `"io.containerd.cri.v1.runtime"`, `bin_dirs = ["/opt/cni/bin"]`},
	} {
		config, err := containerdConfig(&Config{ContainerdVersion: version, Snapshotter: "native", CNI: "/opt/cni/bin"})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{want.format, want.plugin, `snapshotter = "native"`, want.binaries, "SystemdCgroup = false"} {
			if !strings.Contains(config, text) {
				t.Errorf("containerd %s: no %s in\n%s", version, text, config)
			}
		}
	}
	if _, err := containerdConfig(&Config{ContainerdVersion: "new"}); err == nil {
		t.Error("a version that is none")
	}
}

func TestNodeFiles(t *testing.T) {
	plan, err := network.New(2)
	if err != nil {
		t.Fatal(err)
	}
	files, err := nodeFiles(&Config{Name: "x", ContainerdVersion: "1.6.20"}, plan, plan.Nodes[1])
	if err != nil {
		t.Fatal(err)
	}
	var kubelet struct {
		CgroupRoot string
		ClusterDNS []string
	}
	var cni struct {
		Plugins []struct {
			IPAM struct {
				Ranges [][]struct{ Subnet string }
				Routes []struct{ Dst string }
			}
		}
	}
	for file, into := range map[string]any{kubeletConfigFile: &kubelet, cniFile: &cni} {
		if err := json.Unmarshal(files[file], into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	if kubelet.CgroupRoot != "/weft-lab/x/node-2" || len(kubelet.ClusterDNS) != 1 || kubelet.ClusterDNS[0] != "10.96.0.10" {
		t.Errorf("kubelet: %+v", kubelet)
	}
	ipam := cni.Plugins[0].IPAM
	got := []string{ipam.Ranges[0][0].Subnet, ipam.Routes[0].Dst, ipam.Ranges[1][0].Subnet, ipam.Routes[1].Dst}
	if d := cmp.Diff([]string{"10.244.2.0/24", "0.0.0.0/0", "fd44:0:0:2::/64", "::/0"}, got); d != "" {
		t.Error(d)
	}
}

// A node knows the way to the Pods of every other, and to nothing that is its own.
func TestRoutes(t *testing.T) {
	plan, err := network.New(3)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range append(podRoutes(plan, plan.Nodes[1]), defaultRoutes(plan)...) {
		got = append(got, r.To.String()+" "+r.Via.String())
	}
	want := []string{
		"10.244.1.0/24 10.89.0.11", "fd44:0:0:1::/64 fd89::11",
		"10.244.3.0/24 10.89.0.13", "fd44:0:0:3::/64 fd89::13",
		"0.0.0.0/0 10.89.0.1", "::/0 fd89::1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestConfigIsReadAsWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	want := &Config{Name: "x", Nodes: 2, With: []string{KubeProxy}, UpTimeout: time.Minute, Images: []string{"a"}}
	if err := want.Write(file); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := ReadConfig(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no configuration: %v", err)
	}
}

func TestNotReady(t *testing.T) {
	var list nodeList
	err := json.Unmarshal([]byte(`{"items": [
		{"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
		{"metadata": {"name": "b"}, "status": {"conditions": [{"type": "Ready", "status": "False", "message": "no network"}]}},
		{"metadata": {"name": "c"}}]}`), &list)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "", "b": "no network", "c": "has not reported", "d": "is not registered"} {
		if got := notReady(list, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestEventsAreLines(t *testing.T) {
	var out strings.Builder
	write := eventWriter(&out)
	write(control.Event{Text: "one"})
	write(control.Event{Ready: true})
	if d := cmp.Diff("{\"text\":\"one\"}\n{\"ready\":true}\n", out.String()); d != "" {
		t.Error(d)
	}
}
