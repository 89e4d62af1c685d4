package lab_test

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/lab/internal/state"
)

// However a lab ends, the machine is as it was.
func TestNothingIsLeft(t *testing.T) {
	c := newCommand(t, "left")
	dir, err := state.Open(c.name)
	if err != nil {
		t.Fatal(err)
	}
	// The first one loads what the kernel loads once (modules with their
	// sysctls), and builds what is built once.
	c.run("up", "--nodes", "1")
	c.run("down")
	before := takeTrace(t, c.name)

	check := func(t *testing.T, processes []process) {
		t.Helper()
		eventually(t, 30*time.Second, func() string {
			var left []string
			for _, p := range processes {
				if p.lives() {
					left = append(left, fmt.Sprintf("process %d (%s) lives", p.pid, p.command))
				}
			}
			left = append(left, before.added(takeTrace(t, c.name))...)
			return strings.Join(left, "\n")
		})
	}

	t.Run("down", func(t *testing.T) {
		c := c.in(t)
		c.run("up", "--nodes", "1")
		processes := descendants(holder(t, dir))
		if len(processes) < 6 { // supervisor, process 1, three machines, containerd, kubelet, control plane
			t.Errorf("a lab of %d processes", len(processes))
		}
		c.run("down")
		if dir.Exists() {
			t.Errorf("%s is still there", dir.Path())
		}
		check(t, processes)
	})

	for name, moment := range map[string]string{"as soon as it has begun": "", "half-way": "API server answers"} {
		t.Run("up is killed "+name, func(t *testing.T) {
			c := c.in(t)
			up, output := startUp(t, c)
			if moment == "" {
				eventually(t, upTimeout, func() string {
					if _, err := dir.Holder(); err != nil {
						return "no supervisor: " + err.Error()
					}
					return ""
				})
			} else {
				for output.Scan() && !strings.Contains(output.Text(), moment) {
					t.Log(output.Text())
				}
			}
			processes := descendants(holder(t, dir))
			if err := up.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = up.Wait()
			// Nobody calls down: the supervisor sees to it.
			check(t, processes)
		})
	}

	t.Run("the supervisor is killed, then down", func(t *testing.T) {
		c := c.in(t)
		c.run("up", "--nodes", "1")
		supervisor := holder(t, dir)
		processes := descendants(supervisor)
		if err := syscall.Kill(supervisor, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, func() string {
			for _, p := range processes {
				if p.lives() {
					return fmt.Sprintf("process %d (%s) outlives its supervisor", p.pid, p.command)
				}
			}
			return ""
		})
		if _, code := c.try("status"); code != 3 {
			t.Errorf("status of a dead lab: exit code %d, want 3", code)
		}
		c.run("down")
		check(t, processes)
	})

	t.Run("process 1 is killed", func(t *testing.T) {
		c := c.in(t)
		c.run("up", "--nodes", "1")
		processes := descendants(holder(t, dir))
		if err := syscall.Kill(c.status().PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		check(t, processes)
	})

	t.Run("the supervisor is killed, then up", func(t *testing.T) {
		c := c.in(t)
		c.run("up", "--nodes", "1")
		if err := syscall.Kill(holder(t, dir), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c.run("up", "--nodes", "1")
		processes := descendants(holder(t, dir))
		c.run("down")
		check(t, processes)
	})
}

// in is the command for a subtest.
func (c *command) in(t *testing.T) *command { return &command{t: t, path: c.path, name: c.name} }

// holder is the supervisor's process, once there is one.
func holder(t *testing.T, dir state.Dir) (pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		pid, err := dir.Holder()
		if err == nil {
			return pid
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
}

// startUp begins to bring the lab up.
func startUp(t *testing.T, c *command) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	up := c.command(t.Context(), "up", "--nodes", "1")
	output, err := up.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	return up, bufio.NewScanner(output)
}
