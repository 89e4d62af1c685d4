//go:build linux

// Command weft-lab brings up real Kubernetes clusters on one Linux machine. It
// only hands over to the packages below; see docs/lab.md.
package main

import (
	"os"

	"github.com/weftmesh/weft/lab/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
