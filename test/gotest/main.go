// Command gotest runs `go test` with the arguments it is given and prints what `go test` would: a line for each package, and the output of
// what failed. Besides, it keeps account of the tests across several runs:
//
//	gotest -account FILE -C DIR -- -race ./...   runs the tests and adds what became of each to FILE
//	gotest -account FILE -sum                    prints which tests were skipped and why, and the totals
//
// It exits as `go test` does. A run whose tests were all skipped, or that had none, is not a failure here; -sum fails if there was no test at all.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	account := flag.String("account", "", "`file` that keeps what became of each test across runs")
	dir := flag.String("C", "", "run go test in this `folder`, the root of a module")
	sum := flag.Bool("sum", false, "print what the account holds instead of running anything")
	verbose := flag.Bool("v", false, "show the output of tests that pass, too")
	flag.Parse()
	err := func() error {
		if *sum {
			return printSum(os.Stdout, *account)
		}
		return run(*account, *dir, *verbose, flag.Args())
	}()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
}

// run runs go test in dir and adds the results to the account.
func run(account, dir string, verbose bool, args []string) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	results, readErr := follow(out, os.Stdout, verbose)
	if readErr != nil {
		_, _ = io.Copy(io.Discard, out) // let go test end by itself
	}
	if err := cmd.Wait(); err != nil {
		_ = add(account, results)
		return err
	}
	return errors.Join(readErr, add(account, results))
}
