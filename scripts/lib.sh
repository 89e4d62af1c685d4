# What the scripts here share; to be sourced. It leaves the caller at the top of the repository.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Everything is compiled in one way, the one that binaries for images need and in which weft-lab compiles Kubernetes: so each package is compiled
# once. Only the race detector wants another.
export CGO_ENABLED=0 GOFLAGS=-trimpath

# say prints a headline, in bold if a person is looking.
say() {
	if [[ -t 1 ]]; then printf '\033[1m== %s\033[0m\n' "$*"; else printf '== %s\n' "$*"; fi
}

# die says why it cannot go on, and ends the script.
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# need_root ends the script unless it is run by root.
need_root() { [[ $EUID -eq 0 ]] || die "needs root, for network namespaces and containers: sudo make ${1:?}"; }

# modules lists the folders of the Go modules that hold code of our own. The others pin programs of somebody else: tools, peers of benchmarks,
# Kubernetes' tests.
modules() { printf '%s\n' . lab; }
