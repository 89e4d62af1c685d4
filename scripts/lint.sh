#!/usr/bin/env bash
# Runs golangci-lint, built from the version pinned in tools/go.mod, over our own modules. `scripts/lint.sh DIR` takes one module only.
source "$(dirname "$0")/lib.sh"

mkdir -p bin
(cd tools && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
top=$PWD

status=0
for dir in ${1:-$(modules)}; do
	say "golangci-lint in $dir"
	(
		cd "$dir"
		# Kubernetes compiles for minutes: compile it the way weft-lab does, so that it happens once.
		[[ $dir == . ]] || export CGO_ENABLED=0 GOFLAGS=-trimpath
		nice "$top/bin/golangci-lint" run --allow-serial-runners --config="$top/.golangci.yml" ./...
	) || status=1
done
exit "$status"
