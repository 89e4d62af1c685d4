// Package cgroup keeps a lab's control groups: one group for the lab, below it
// one for the lab's own processes and one a node, in every hierarchy of a
// cgroup v1 machine or in the one tree of a cgroup v2 machine. It never limits
// anything and never touches groups of others; what it needs of the topmost
// group of a v2 machine it says as Settings.
package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/lab/internal/borrowed"
)

// parent is the group above all labs.
const parent = "weft-lab"

// system is the group of a lab's own processes. It holds no nodes' Pods, so on
// v2 it is a leaf and may hold processes.
const system = "system"

// Tree is where a machine's control groups are.
type Tree struct {
	// Unified tells that this is cgroup v2 only.
	Unified bool
	// roots are the mount points: one of v2, or one a hierarchy of v1.
	roots []string
}

// Find reads how this machine mounts its control groups.
func Find() (*Tree, error) {
	const root = "/sys/fs/cgroup"
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return nil, fmt.Errorf("%s: %w", root, err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return &Tree{Unified: true, roots: []string{root}}, nil
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer mounts.Close()
	t := &Tree{}
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		if point, ok := hierarchy(lines.Text(), root); ok {
			t.roots = append(t.roots, point)
		}
	}
	if len(t.roots) == 0 {
		return nil, fmt.Errorf("no control groups are mounted under %s", root)
	}
	return t, nil
}

// hierarchy returns the mount point if a line of mountinfo is a control group
// hierarchy below root (proc_pid_mountinfo(5)).
func hierarchy(line, root string) (string, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields := strings.Fields(before)
	kind, _, _ := strings.Cut(after, " ")
	if !ok || len(fields) < 5 || (kind != "cgroup" && kind != "cgroup2") {
		return "", false
	}
	return fields[4], strings.HasPrefix(fields[4], root+"/")
}

// Path is the name of a node's group within every hierarchy, as kubelets want it.
func Path(lab, node string) string { return "/" + parent + "/" + lab + "/" + node }

// Create makes the groups of a lab and its nodes.
func (t *Tree) Create(lab string, nodes []string) error {
	groups := []string{parent, filepath.Join(parent, lab), filepath.Join(parent, lab, system)}
	for _, n := range nodes {
		groups = append(groups, filepath.Join(parent, lab, n))
	}
	for _, root := range t.roots {
		for _, g := range groups {
			dir := filepath.Join(root, g)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("control group: %w", err)
			}
			if err := inheritCPUs(dir); err != nil {
				return err
			}
			if t.Unified && filepath.Base(g) != system {
				if err := enable(dir); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Settings are what a v2 machine must have on for labs: that the controllers of
// the topmost group are handed on to its children.
func (t *Tree) Settings() []borrowed.Setting {
	if !t.Unified {
		return nil
	}
	root := t.roots[0]
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return nil // Create will say so
	}
	var settings []borrowed.Setting
	for _, c := range strings.Fields(string(controllers)) {
		settings = append(settings, borrowed.Setting{
			File: filepath.Join(root, "cgroup.subtree_control"),
			Change: func(value string) (write, undo string) {
				if slices.Contains(strings.Fields(value), c) {
					return "", ""
				}
				return "+" + c, "-" + c
			},
		})
	}
	return settings
}

// enable hands every controller that a v2 group has on to its children.
func enable(dir string) error {
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return fmt.Errorf("control group %s: enable %s for its children (does it hold processes?): %w", dir, c, err)
		}
	}
	return nil
}

// inheritCPUs fills a v1 cpuset group, which is unusable empty.
func inheritCPUs(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(strings.TrimSpace(string(own))) > 0 {
			continue
		}
		above, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // v2, which needs nothing, and whose topmost group has no such file
		}
		if err != nil {
			return err
		}
		if len(strings.TrimSpace(string(above))) == 0 {
			continue // v2: empty means inherited
		}
		if err := os.WriteFile(filepath.Join(dir, name), above, 0); err != nil {
			return fmt.Errorf("control group %s: %s: %w", dir, name, err)
		}
	}
	return nil
}

// Join moves the calling process to the group of the lab's own processes.
func (t *Tree) Join(lab string) error {
	for _, root := range t.roots {
		procs := filepath.Join(root, parent, lab, system, "cgroup.procs")
		if err := os.WriteFile(procs, []byte("0"), 0); err != nil {
			return fmt.Errorf("join control group: %w", err)
		}
	}
	return nil
}

// Clear removes what is below a node's group.
func (t *Tree) Clear(ctx context.Context, lab, node string) error {
	for _, root := range t.roots {
		dir := filepath.Join(root, parent, lab, node)
		children, err := groupsBelow(dir)
		if err != nil {
			return err
		}
		if err := remove(ctx, slices.DeleteFunc(children, func(d string) bool { return d == dir })); err != nil {
			return err
		}
	}
	return nil
}

// Remove kills what still runs in a lab's groups and removes them; and the
// group above, if no other lab has groups.
func (t *Tree) Remove(ctx context.Context, lab string) error {
	for _, root := range t.roots {
		groups, err := groupsBelow(filepath.Join(root, parent, lab))
		if err != nil {
			return err
		}
		for _, g := range groups {
			kill(g)
		}
		if err := remove(ctx, groups); err != nil {
			return err
		}
		err = os.Remove(filepath.Join(root, parent))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// Exist tells whether a lab has groups.
func (t *Tree) Exist(lab string) bool {
	for _, root := range t.roots {
		if _, err := os.Stat(filepath.Join(root, parent, lab)); err == nil {
			return true
		}
	}
	return false
}

// groupsBelow lists dir and all groups in it, innermost first.
func groupsBelow(dir string) ([]string, error) {
	var groups []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone meanwhile
		case err != nil:
			return err
		case d.IsDir():
			groups = append(groups, path)
		}
		return nil
	})
	slices.Reverse(groups)
	return groups, err
}

// remove removes groups, waiting while processes in them are still ending.
func remove(ctx context.Context, groups []string) error {
	for _, g := range groups {
		for {
			err := syscall.Rmdir(g)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if !errors.Is(err, syscall.EBUSY) {
				return fmt.Errorf("remove control group %s: %w", g, err)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("remove control group %s: %w", g, err)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// kill kills the processes of a group. They belong to the lab: nobody else
// moves processes there.
func kill(dir string) {
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return
	}
	for _, field := range strings.Fields(string(procs)) {
		// 0 stands for a process of a PID namespace that cannot be seen from here.
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
