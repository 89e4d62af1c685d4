#!/usr/bin/env bash
# Prints where Jaeger is (all in one process, traces in memory), which the end-to-end tests of telemetry send traces to. It is built from its module at the version
# that test/e2e/jaeger pins, once, and kept in the lab's cache. That takes minutes.
source "$(dirname "$0")/lib.sh"

cd test/e2e/jaeger
version=$(go list -m -f '{{.Version}}' github.com/jaegertracing/jaeger)
program=${WEFT_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft-lab}/jaeger-$version
if [[ ! -x $program ]]; then
	mkdir -p "$(dirname "$program")"
	part=$(mktemp "$program.XXXXXX")
	trap 'rm -f "$part"' EXIT
	nice go build -ldflags '-s -w' -o "$part" github.com/jaegertracing/jaeger/cmd/all-in-one >&2
	chmod 755 "$part"
	mv -T "$part" "$program"
fi
echo "$program"
