package lab_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weftmesh/weft/lab/internal/state"
)

// trace is everything that a lab could leave on a machine: what there is, and
// what it says.
type trace map[string]string

// takeTrace looks at links, addresses, routes, mounts, named namespaces, control
// groups, sysctls and files. Other labs are nobody's business here.
func takeTrace(t *testing.T, name string) trace {
	t.Helper()
	found := trace{}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		found["link "+l.Attrs().Name] = l.Type()
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			found["route "+r.String()] = ""
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		found["mount "+fields[4]] = fields[3]
	}
	for _, dir := range []string{"/run/netns", "/var/lib", "/var/lib/weft-lab", "/etc/cni", "/etc/cni/net.d", "/opt", "/usr/libexec", "/run", "/var/log", "/tmp"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if dir == "/tmp" && !ours.MatchString(e.Name()) {
				continue // everybody's
			}
			found["file "+filepath.Join(dir, e.Name())] = ""
		}
	}
	walk(t, "/sys/fs/cgroup", func(path string, d fs.DirEntry) {
		if d.IsDir() {
			found["cgroup "+path] = ""
		} else if d.Name() == "cgroup.subtree_control" {
			content, _ := os.ReadFile(path)
			found["cgroup "+path] = string(content)
		}
	})
	walk(t, "/proc/sys", func(path string, d fs.DirEntry) {
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o200 == 0 || restless.MatchString(path) {
			return
		}
		if content, err := os.ReadFile(path); err == nil {
			found["sysctl "+path] = string(content)
		}
	})
	names, err := state.Names()
	if err != nil {
		t.Fatal(err)
	}
	others := slices.ContainsFunc(names, func(n string) bool { return n != name })
	maps.DeleteFunc(found, func(what, _ string) bool {
		_, of, inLabs := strings.Cut(what, "/weft-lab/")
		// Labs share the limits of watchers, which are put back after the last.
		return inLabs && !strings.HasPrefix(of, name) || others && strings.Contains(what, "/fs/inotify/")
	})
	return found
}

// ours are names of files that programs of a lab make.
var ours = regexp.MustCompile(`weft|containerd|kube|cni|etcd|runc`)

// restless are sysctls that the kernel itself changes.
var restless = regexp.MustCompile(`/(ns_last_pid|tainted|random/.*|dentry-state|inode-.*|file-nr|aio-nr|.*drop_caches|compact_memory|stat_refresh|nf_conntrack_count|route/flush|sched_domain/.*|neigh/.*)$`)

func walk(t *testing.T, root string, visit func(path string, d fs.DirEntry)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			visit(path, d)
		}
		return nil // what went away meanwhile is not left
	})
	if err != nil {
		t.Fatal(err)
	}
}

// added says what is there in later and was not, or was other, in t.
func (t trace) added(later trace) []string {
	var added []string
	for _, what := range slices.Sorted(maps.Keys(later)) {
		before, was := t[what]
		switch {
		case !was:
			added = append(added, what+" is new")
		case before != later[what]:
			added = append(added, fmt.Sprintf("%s was %q and is %q", what, before, later[what]))
		}
	}
	for _, what := range slices.Sorted(maps.Keys(t)) {
		if _, still := later[what]; !still && !strings.HasPrefix(what, "file ") && !strings.HasPrefix(what, "cgroup ") {
			added = append(added, what+" is gone")
		}
	}
	return added
}

// process is a process that cannot be mistaken for another.
type process struct {
	pid     int
	started string
	command string
}

// descendants are a process and all below it.
func descendants(root int) []process {
	parents := map[int]int{}
	all := map[int]process{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, parent, ok := readProcess(pid); ok {
			all[pid], parents[pid] = p, parent
		}
	}
	var found []process
	for pid, p := range all {
		for at := pid; at > 1; at = parents[at] {
			if at == root {
				found = append(found, p)
				break
			}
		}
	}
	return found
}

// readProcess reads /proc/PID/stat (proc_pid_stat(5): fields 2, 3, 4 and 22).
func readProcess(pid int) (p process, parent int, ok bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, 0, false
	}
	open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	fields := strings.Fields(string(stat[end+1:]))
	if open < 0 || len(fields) < 20 {
		return process{}, 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return process{pid: pid, started: fields[19], command: string(stat[open+1 : end])}, parent, err == nil
}

// lives tells whether the process, and not another of its number, is there.
func (p process) lives() bool {
	now, _, ok := readProcess(p.pid)
	return ok && now.started == p.started
}
