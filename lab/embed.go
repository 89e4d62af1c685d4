// Package lab holds the sources of the programs that weft-lab builds for the
// machines of a lab, so that weft-lab is one file that needs a Go toolchain and
// a module proxy, and no checkout. It builds and runs nothing itself.
package lab

import "embed"

// Sources is what `go build ./cmd/lab-kubernetes` and `./cmd/lab-pause` need,
// laid out as in the module.
//
//go:embed go.mod go.sum cmd/lab-kubernetes/*.go cmd/lab-pause/*.go
var Sources embed.FS
