package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHierarchiesOfMountinfo(t *testing.T) {
	for line, want := range map[string]string{
		"31 24 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory":      "/sys/fs/cgroup/memory",
		"32 24 0:28 / /sys/fs/cgroup/unified rw,relatime shared:3 - cgroup2 cgroup2 rw": "/sys/fs/cgroup/unified",
		"33 24 0:29 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755":                      "",
		"34 24 0:30 / /mnt/elsewhere rw - cgroup cgroup rw,cpu":                         "",
		"":                       "",
		"35 24 0:30 / - cgroup ": "",
	} {
		got, ok := hierarchy(line, "/sys/fs/cgroup")
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// On v1 an empty cpuset takes what the group above has; on v2 nothing is written.
func TestEmptyCPUSetsAreFilled(t *testing.T) {
	for name, above := range map[string]string{"v1": "0-1\n", "v2": "\n"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "above", "own")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
				for path, content := range map[string]string{filepath.Join(dir, f): "\n", filepath.Join(dir, "..", f): above} {
					if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := inheritCPUs(dir); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "cpuset.cpus"))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != above {
				t.Errorf("%q, want %q", got, above)
			}
		})
	}
}

func TestGroupsAreListedInnermostFirst(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "a", "b", "c"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "a", "tasks"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := groupsBelow(filepath.Join(root, "a"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(root, "a/b/c"), filepath.Join(root, "a/b"), filepath.Join(root, "a")}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, err := groupsBelow(filepath.Join(root, "none")); err != nil || len(got) != 0 {
		t.Errorf("a group that is not there: %v, %v", got, err)
	}
	if err := remove(t.Context(), []string{filepath.Join(root, "a/b/c"), filepath.Join(root, "none")}); err != nil {
		t.Error(err)
	}
}
