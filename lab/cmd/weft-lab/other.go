//go:build !linux

package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, "weft-lab: labs are made of Linux namespaces and control groups, and this is %s: use a Linux virtual machine\n", runtime.GOOS)
	os.Exit(4)
}
