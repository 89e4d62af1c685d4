// Package host tells whether this machine can run labs, and what of it they
// have to know. It only looks.
package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is what labs have to know of a machine.
type Host struct {
	// ContainerdVersion is like "1.6.20".
	ContainerdVersion string
	// CNI is the folder of CNI plugins.
	CNI string
}

// sbin is where programs for administrators are, which sudo's PATH may lack.
var sbin = []string{"/usr/sbin", "/sbin", "/usr/local/sbin"}

// needs are programs, and the Debian packages that have them.
var needs = []struct{ program, pkg string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"ip", "iproute2"},
	{"nft", "nftables"},
	{"iptables", "iptables"},
	{"conntrack", "conntrack"},
	{"nsenter", "util-linux"},
	{"mount", "mount"},
}

// cniDirs are where distributions put CNI plugins, and cniPlugins those that
// labs use.
var (
	cniDirs    = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}
	cniPlugins = []string{"ptp", "host-local", "portmap", "loopback"}
)

// CheckUser refuses whoever cannot have labs.
func CheckUser() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("labs need Linux, this is %s", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return errors.New("labs are made of namespaces and control groups, which only root may make: use sudo")
	}
	return nil
}

// Inspect looks at the machine; the error says what is missing, and how to get it.
func Inspect() (*Host, error) {
	if err := CheckUser(); err != nil {
		return nil, err
	}
	missing := missingPackages(func(program string) bool { _, err := Find(program); return err == nil })
	cni := findCNI(func(path string) bool { _, err := os.Stat(path); return err == nil })
	if cni == "" {
		missing = append(missing, "containernetworking-plugins")
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("labs need programs that are not installed; on Debian and Ubuntu: apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	program, err := Find("containerd")
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", program, err)
	}
	version, err := containerdVersion(string(out))
	if err != nil {
		return nil, err
	}
	return &Host{ContainerdVersion: version, CNI: cni}, nil
}

// Find is exec.LookPath that also looks where administrators' programs are.
func Find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	for _, dir := range sbin {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", err
}

func missingPackages(installed func(program string) bool) []string {
	var missing []string
	for _, n := range needs {
		if !installed(n.program) && (len(missing) == 0 || missing[len(missing)-1] != n.pkg) {
			missing = append(missing, n.pkg)
		}
	}
	return missing
}

func findCNI(exists func(path string) bool) string {
next:
	for _, dir := range cniDirs {
		for _, plugin := range cniPlugins {
			if !exists(filepath.Join(dir, plugin)) {
				continue next
			}
		}
		return dir
	}
	return ""
}

var version = regexp.MustCompile(`\bv?(\d+\.\d+\.\d+)`)

// containerdVersion reads what containerd --version prints:
// "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3".
func containerdVersion(output string) (string, error) {
	m := version.FindStringSubmatch(output)
	if m == nil {
		return "", fmt.Errorf("containerd --version says %q, without a version", strings.TrimSpace(output))
	}
	return m[1], nil
}

// Disk is how containers can use the file system of a folder.
type Disk struct {
	// Snapshotter is how containerd keeps images there: "overlayfs", or, where
	// the folder is on an overlay itself, "native", by copies.
	Snapshotter string
	// Accounting tells whether kubelets can account for its use.
	Accounting bool
}

// InspectDisk looks at the file system of a folder.
func InspectDisk(dir string) (Disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Disk{}, fmt.Errorf("%s: %w", dir, err)
	}
	return disk(int64(st.Type)), nil
}

func disk(filesystem int64) Disk {
	switch filesystem {
	case unix.OVERLAYFS_SUPER_MAGIC:
		return Disk{Snapshotter: "native"}
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC:
		return Disk{Snapshotter: "overlayfs", Accounting: true}
	}
	return Disk{Snapshotter: "overlayfs"}
}
