package host

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMissingPackages(t *testing.T) {
	have := map[string]bool{}
	installed := func(p string) bool { return have[p] }
	all := []string{"containerd", "runc", "iproute2", "nftables", "iptables", "conntrack", "util-linux", "mount"}
	if d := cmp.Diff(all, missingPackages(installed)); d != "" {
		t.Error(d)
	}
	for _, n := range needs {
		have[n.program] = true
	}
	if m := missingPackages(installed); m != nil {
		t.Errorf("missing %v", m)
	}
	have["conntrack"] = false
	if d := cmp.Diff([]string{"conntrack"}, missingPackages(installed)); d != "" {
		t.Error(d)
	}
}

func TestFindCNI(t *testing.T) {
	for name, c := range map[string]struct {
		have []string
		want string
	}{
		"none":   {nil, ""},
		"half":   {[]string{"/usr/lib/cni/ptp", "/usr/lib/cni/portmap"}, ""},
		"second": {[]string{"/usr/lib/cni/ptp", "/opt/cni/bin/ptp", "/opt/cni/bin/host-local", "/opt/cni/bin/portmap", "/opt/cni/bin/loopback"}, "/opt/cni/bin"},
	} {
		if got := findCNI(func(p string) bool { return slices.Contains(c.have, filepath.Clean(p)) }); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestContainerdVersion(t *testing.T) {
	for output, want := range map[string]string{
		"containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3":         "1.6.20",
		"containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7193e4e490e9fbdc236c0e8": "2.1.4",
		"containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da":            "1.7.27",
	} {
		if got, err := containerdVersion(output); err != nil || got != want {
			t.Errorf("%q: %q, %v", output, got, err)
		}
	}
	if v, err := containerdVersion("what?"); err == nil {
		t.Errorf("version %q", v)
	}
}
