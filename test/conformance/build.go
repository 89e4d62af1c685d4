package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// programs are what is built beside the tests, from packages that k8s/go.mod pins as tools.
var programs = []string{
	"github.com/onsi/ginkgo/v2/ginkgo",
	"k8s.io/kubernetes/cmd/kubectl",
	"k8s.io/kubernetes/test/images/agnhost",
	"k8s.io/kubernetes/test/images/regression-issue-74839",
}

// build puts the programs and network.test, the specs, into a folder. What Go has built before it does not build again.
func build(ctx context.Context, root, to string) error {
	flags := []string{"-trimpath", "-ldflags=-s -w"}
	args := append([]string{"build", "-buildvcs=false", "-o", to + string(filepath.Separator)}, flags...)
	if err := goTool(ctx, root, append(args, programs...)...); err != nil {
		return err
	}
	args = append([]string{"test", "-c", "-o", filepath.Join(to, "network.test")}, flags...)
	return goTool(ctx, root, append(args, ".")...)
}

func goTool(ctx context.Context, root string, args ...string) error {
	cmd := goCommand(ctx, root, args...)
	cmd.Stdout = os.Stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s in %s: %w", args[0], cmd.Dir, err)
	}
	return nil
}

// goCommand is the Go tool in the module of the tests.
func goCommand(ctx context.Context, root string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(root, "test", "conformance", "k8s")
	// Static, so that agnhost runs in any image; and with the flags of the lab's own build, whose results Go then finds in its cache.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// kubernetes is Kubernetes' module: its version, and where its sources are.
type kubernetes struct{ version, sources string }

func kubernetesModule(ctx context.Context, root string) (k kubernetes, err error) {
	out, err := goCommand(ctx, root, "list", "-m", "-f", "{{.Version}} {{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return k, fmt.Errorf("go list -m k8s.io/kubernetes: %w", err)
	}
	k.version, k.sources, _ = strings.Cut(strings.TrimSpace(string(out)), " ")
	return k, nil
}

// pack writes the archive of the tests' images.
func pack(ctx context.Context, programs, sources, to string) error {
	content, err := testTree(ctx, programs, sources)
	if err != nil {
		return err
	}
	return writeArchive(to, content, testImages())
}
