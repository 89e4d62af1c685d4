package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/lab/internal/control"
)

// upTimeout leaves time to build Kubernetes, once.
const upTimeout = 15 * time.Minute

// command is weft-lab, built for the test, and the name of a lab of the test's own.
type command struct {
	t    *testing.T
	path string
	name string
}

// newCommand skips where labs cannot be, and takes the lab down at the test's end.
func newCommand(t *testing.T, name string) *command {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: labs are made of namespaces and control groups")
	}
	if testing.Short() {
		t.Skip("brings labs up, which takes minutes: not in short mode")
	}
	c := &command{t: t, path: filepath.Join(t.TempDir(), "weft-lab"), name: fmt.Sprintf("%s-%d", name, os.Getpid())}
	build(t, c.path, "./cmd/weft-lab")
	t.Cleanup(func() {
		// The test's own context is over.
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if out, err := c.command(ctx, "down").CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	return c
}

func build(t *testing.T, target, pkg string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", target, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

func (c *command) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, c.path, append([]string{args[0], "--name", c.name}, args[1:]...)...)
}

// try runs weft-lab and gives what it printed, and its exit code.
func (c *command) try(args ...string) (output string, code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), upTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := c.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return stdout.String() + stderr.String(), exit.ExitCode()
	case err != nil:
		c.t.Fatal(err)
	}
	return stdout.String(), 0
}

// run is try for what must succeed.
func (c *command) run(args ...string) string {
	c.t.Helper()
	output, code := c.try(args...)
	if code != 0 {
		c.t.Fatalf("weft-lab %s: exit code %d\n%s", strings.Join(args, " "), code, output)
	}
	return output
}

func (c *command) status() *control.Status {
	c.t.Helper()
	var s control.Status
	if err := json.Unmarshal([]byte(c.run("status", "-o", "json")), &s); err != nil {
		c.t.Fatal(err)
	}
	return &s
}

// eventually waits until a condition holds; what it returns says what is missing.
func eventually(t *testing.T, within time.Duration, missing func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		m := missing()
		if m == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(m)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
