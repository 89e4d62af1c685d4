// Command weft carries a Kubernetes cluster's traffic. Run it without arguments for the list of its verbs.
package main

import (
	"os"

	"github.com/weftmesh/weft/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
