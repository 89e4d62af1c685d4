package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// place is where the specs run: a cluster, and a command that runs another where the cluster is reached.
type place struct {
	kubeconfig string
	enter      []string // a prefix; none for this machine's own network
	nodes      int      // how many nodes there are; when several specs run at a time, the framework does not count them itself
}

// runSpecs runs the specs and leaves Ginkgo's report in a file and what they print in specs.log. That specs fail is no error here.
func runSpecs(ctx context.Context, work string, at place, o options, report string) error {
	log, err := os.Create(filepath.Join(work, "specs.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	if err := os.Remove(report); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	args := append([]string{}, at.enter...)
	args = append(args, filepath.Join(work, "ginkgo"), "run",
		"--procs="+strconv.Itoa(o.procs), "--timeout="+o.timeout.String(), "--no-color", "--succinct",
		"--json-report="+filepath.Base(report), "--output-dir="+filepath.Dir(report),
		"--focus="+suite+".*(?:"+o.focus+")")
	for _, r := range leftOut {
		args = append(args, "--skip="+r.specs)
	}
	args = append(args, filepath.Join(work, "network.test"), "--",
		"--provider=skeleton", "--num-nodes="+strconv.Itoa(at.nodes), "--kubeconfig="+at.kubeconfig, "--kubectl-path="+filepath.Join(work, "kubectl"))

	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	out := io.MultiWriter(log, &counter{every: 30 * time.Second})
	cmd.Stdout, cmd.Stderr = out, out
	// Ginkgo lets specs clean up after themselves when it is told to end.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		if _, missing := os.Stat(report); missing == nil {
			return nil // specs failed, and the report says which
		}
	}
	if err != nil {
		return fmt.Errorf("%w; what it printed is in %s", err, log.Name())
	}
	return nil
}

// counter tells a person how far Ginkgo is, which prints a dot when a spec has ended.
type counter struct {
	every time.Duration
	ended int
	said  time.Time
}

// Write never fails.
func (c *counter) Write(p []byte) (int, error) {
	c.ended += strings.Count(string(p), "•")
	if now := time.Now(); now.Sub(c.said) >= c.every && c.ended > 0 {
		c.said = now
		fmt.Printf("   %d done\n", c.ended)
	}
	return len(p), nil
}
