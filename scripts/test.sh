#!/usr/bin/env bash
# Everything CI checks, on a fresh Debian machine with Go: one stage after another, ending with the first that fails. At the end it prints
# the minutes of each stage, the tests that were skipped and why, and how many ran. STAGES="lint unit" runs only these.
source "$(dirname "$0")/lib.sh"

export WEFT_LAB=${WEFT_TEST_LAB:-test} # a lab of its own, so that one that is up stays untouched
mkdir -p bin
account=bin/test-account.json
gotest=bin/gotest
all_stages=(packages build house lint unit lab e2e)
timings=()

# tests runs go test in a module and keeps account of it: tests DIR ARGUMENTS...
tests() {
	local dir=$1
	shift
	nice "$gotest" -account "$account" -C "$dir" -- "$@"
}

stage_packages() { scripts/packages.sh; }

stage_build() {
	scripts/build.sh
	go build ./... # go vet is part of the lint stage
}

stage_house() {
	[[ -z $(gofmt -l $(git ls-files '*.go')) ]] || die "not formatted: $(gofmt -l $(git ls-files '*.go'))"
	tests . -count=1 ./test/house
}

stage_lint() { scripts/lint.sh; }

# Unit and packet tests: everything of the main module that needs no lab. -p 2 keeps two packages with network namespaces from starving each
# other on two cores.
stage_unit() {
	local packages
	packages=$(go list ./... | grep -vE '/test/(house|e2e|bench|conformance)(/|$)')
	# A client of our xDS, which routing is compared with. Where it cannot be had, the tests that want it are skipped, and listed at the end.
	WEFT_ENVOY=$(scripts/envoy.sh) || echo "no Envoy: the tests against it are skipped" >&2
	export WEFT_ENVOY
	# shellcheck disable=SC2086
	CGO_ENABLED=1 GOFLAGS= tests . -race -p 2 -timeout 15m $packages
	# What is asserted of allocations holds without the race detector only, and for nobody else's work beside it.
	tests . -p 1 -count=1 -run 'Alloc|Garbage' -timeout 5m ./internal/proxy/...
	# Benchmarks must at least run, and what they count must hold.
	tests . -run . -timeout 10m ./test/bench/spine
}

stage_lab() { tests lab -p 1 -timeout 20m ./...; }

stage_e2e() { scripts/e2e.sh; }

finished=no

summary() {
	local status=$?
	[[ $finished == yes ]] || ((status != 0)) || status=1 # ended by a signal
	echo
	say "minutes per stage"
	((${#timings[@]} == 0)) || printf '  %s\n' "${timings[@]}"
	if [[ -s $account ]]; then
		"$gotest" -account "$account" -sum || status=1
	fi
	((status == 0)) && echo "make test: all passed" || echo "make test: FAILED" >&2
	exit "$status"
}
trap summary EXIT

rm -f "$account"
go build -o "$gotest" ./test/gotest
export GOTEST_ACCOUNT=$PWD/$account
if [[ $EUID -ne 0 ]]; then
	echo "not root: tests that need network namespaces are skipped, and the end-to-end stage is left out" >&2
	all_stages=("${all_stages[@]/e2e/}")
fi

# shellcheck disable=SC2086
for name in ${STAGES:-${all_stages[@]}}; do
	say "stage $name"
	began=$SECONDS
	set +e # outside the parentheses, and no `if`: either would turn errexit off inside the stage
	(
		set -e
		"stage_$name"
	)
	failed=$?
	set -e
	tenths=$(((SECONDS - began + 3) / 6))
	timings+=("$(printf '%-9s %3d.%d' "$name" $((tenths / 10)) $((tenths % 10)))")
	((failed == 0)) || { echo "stage $name failed" >&2; exit "$failed"; }
done
finished=yes
