package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hostSysctls are settings of the whole kernel that a kubelet would change. In
// a machine, files with the wanted values lie over them, so that the kubelet
// finds nothing to change; the rest of /proc/sys but net is read-only.
var hostSysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// tree is a copy of a mount that is attached nowhere yet, so that it can be put
// in place when its source is hidden already.
type tree struct {
	fd     int
	source string
}

func openTree(source string) (tree, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return tree{}, fmt.Errorf("open_tree %s: %w", source, err)
	}
	return tree{fd, source}, nil
}

func (t tree) attach(target string) error {
	defer unix.Close(t.fd)
	if err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s at %s: %w", t.source, target, err)
	}
	return nil
}

// setUpMounts gives the calling process's mount namespace the machine's view:
// the programs of outside, and everything that changes of its own.
func (s *Spec) setUpMounts() error {
	if err := mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	varTree, err := openTree(s.Var)
	if err != nil {
		return err
	}
	binds := make([]tree, len(s.Binds))
	for i, b := range s.Binds {
		if binds[i], err = openTree(b.Source); err != nil {
			return err
		}
	}
	groups, err := openTree("/sys/fs/cgroup")
	if err != nil {
		return err
	}

	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := groups.attach("/sys/fs/cgroup"); err != nil {
		return err
	}
	if err := mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return err
	}
	if err := mount("run", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return err
	}
	if err := varTree.attach("/var"); err != nil {
		return err
	}
	if err := layoutVar(); err != nil {
		return err
	}
	if err := setUpEtc(); err != nil {
		return err
	}
	if err := coverSysctls(); err != nil {
		return err
	}
	for i, b := range s.Binds {
		if err := b.put(binds[i]); err != nil {
			return err
		}
	}
	for path, content := range s.Files {
		if err := writeFile(path, content); err != nil {
			return err
		}
	}
	// Kubelets and container runtimes pass mounts on to Pods and back.
	return mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s %s at %s: %w", kind, source, target, err)
	}
	return nil
}

// layoutVar makes the folders that programs expect in /var.
func layoutVar() error {
	for dir, mode := range map[string]os.FileMode{"lib": 0o755, "log": 0o755, "cache": 0o755, "tmp": 0o777 | os.ModeSticky} {
		path := filepath.Join("/var", dir)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"/var/run": "/run", "/var/lock": "/run/lock"} {
		if err := os.Symlink(target, name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return os.MkdirAll("/run/lock", 0o755)
}

// setUpEtc lays a layer in memory over /etc.
func setUpEtc() error {
	layer := filepath.Join(Lab, "etc")
	for _, dir := range []string{"upper", "work"} {
		if err := os.MkdirAll(filepath.Join(layer, dir), 0o755); err != nil {
			return err
		}
	}
	return mount("etc", "/etc", "overlay", 0, fmt.Sprintf("lowerdir=/etc,upperdir=%s/upper,workdir=%s/work", layer, layer))
}

// coverSysctls keeps the kernel's settings from being changed by the machine.
func coverSysctls() error {
	network, err := openTree("/proc/sys/net")
	if err != nil {
		return err
	}
	if err := mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := network.attach("/proc/sys/net"); err != nil {
		return err
	}
	dir := filepath.Join(Lab, "sysctl")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, value := range hostSysctls {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); err != nil {
			continue // not in this kernel
		}
		if err := mount(file, target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

// put attaches a bind.
func (b Bind) put(t tree) error {
	var st unix.Stat_t
	if err := unix.Fstat(t.fd, &st); err != nil {
		return fmt.Errorf("bind %s: %w", b.Source, err)
	}
	if err := os.MkdirAll(filepath.Dir(b.Target), 0o755); err != nil {
		return err
	}
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.MkdirAll(b.Target, 0o755)
	} else {
		var f *os.File
		if f, err = os.OpenFile(b.Target, os.O_CREATE|os.O_WRONLY, 0o755); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		return err
	}
	if err := t.attach(b.Target); err != nil {
		return err
	}
	if !b.ReadOnly {
		return nil
	}
	return mount("", b.Target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// writeFile writes a file of the machine, over a symbolic link rather than
// through it.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}
