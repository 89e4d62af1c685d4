// Command conformance runs Kubernetes' own end-to-end tests of the network ([sig-network]) against weft and keeps account of them:
//
//	go run ./test/conformance
//
// It builds the tests, agnhost and kubectl from Kubernetes' module (pinned in k8s/, a module of its own), packs the images that the tests'
// Pods run, brings up a lab without a registry and without a way out, installs weft, runs every spec that specs.go does not leave out, and
// writes docs/conformance.md: what passed, and for everything else why not. It needs root. It fails if a spec fails that specs.go has no
// reason for.
//
// The first run builds for some minutes; after that it takes as long as the specs do, which mostly wait. It holds no test of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	lab        string
	keep       bool
	kubeconfig string
	nodes      int
	focus      string
	procs      int
	timeout    time.Duration
	page       string
	last       bool
}

func main() {
	var o options
	flag.StringVar(&o.lab, "lab", "conformance", "`name` of the lab")
	flag.BoolVar(&o.keep, "keep", false, "use the lab if it is up, and leave it up at the end")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "use the cluster of this `file`, which has weft and the images, instead of a lab")
	flag.IntVar(&o.nodes, "nodes", 3, "how many nodes the cluster of -kubeconfig has")
	flag.StringVar(&o.focus, "focus", "", "only specs whose name matches this `regexp`; the page stays as it is")
	flag.IntVar(&o.procs, "procs", 8, "how many specs to run at a `time`")
	flag.DurationVar(&o.timeout, "timeout", 40*time.Minute, "when to give up on the specs")
	flag.StringVar(&o.page, "page", "docs/conformance.md", "the `file` to keep account in")
	flag.BoolVar(&o.last, "last", false, "run nothing, judge the last run again")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	root, err := repository()
	if err != nil {
		return err
	}
	work := filepath.Join(root, "bin", "conformance")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	module, err := kubernetesModule(ctx, root)
	if err != nil {
		return err
	}
	reportFile := filepath.Join(work, "report.json")
	if !o.last {
		if err := try(ctx, o, root, work, module, reportFile); err != nil {
			return err
		}
	}
	ran, err := readReport(reportFile)
	if err != nil {
		return err
	}
	results := judge(ran)
	fmt.Print(results.summary())
	if o.focus == "" && o.kubeconfig == "" {
		if err := results.writePage(filepath.Join(root, o.page), module.version); err != nil {
			return err
		}
	}
	if n := len(results.unexplained()); n > 0 {
		return fmt.Errorf("%d specs failed, and specs.go has no reason; what they said is in %s", n, filepath.Join(work, "specs.log"))
	}
	return nil
}

// try builds everything, brings a lab up and runs the specs in it.
func try(ctx context.Context, o options, root, work string, module kubernetes, reportFile string) (err error) {
	if err := step("build the tests, agnhost and kubectl", func() error { return build(ctx, root, work) }); err != nil {
		return err
	}
	archive := filepath.Join(work, "images.tar")
	if err := step("pack the tests' images", func() error { return pack(ctx, work, module.sources, archive) }); err != nil {
		return err
	}
	at := place{kubeconfig: o.kubeconfig, nodes: o.nodes}
	if o.kubeconfig == "" {
		l := labCluster{root: root, work: work, name: o.lab}
		if !o.keep {
			if err := l.down(ctx); err != nil {
				return err
			}
			defer func() {
				// Also when the user has had enough, which ends ctx.
				err = errors.Join(err, step("take the lab down", func() error { return l.down(context.WithoutCancel(ctx)) }))
			}()
		}
		if at, err = l.up(ctx, archive); err != nil {
			return err
		}
	}
	return step(fmt.Sprintf("run the specs, %d at a time", o.procs), func() error { return runSpecs(ctx, work, at, o, reportFile) })
}

// step says what is done and how long it took.
func step(what string, do func() error) error {
	began := time.Now()
	fmt.Printf("== %s\n", what)
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Printf("   %s\n", time.Since(began).Round(100*time.Millisecond))
	return nil
}

// repository is the root of the repository that the command was started in.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "test", "conformance", "k8s", "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s is not inside the repository", dir)
		}
	}
}
