#!/usr/bin/env bash
# Runs golangci-lint, built from the version pinned in tools/go.mod, over our own modules. `scripts/lint.sh DIR` takes one module only.
source "$(dirname "$0")/lib.sh"

mkdir -p bin
(cd tools && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
top=$PWD

lint() { nice "$top/bin/golangci-lint" run --allow-serial-runners --config="$top/.golangci.yml" "$@"; }

status=0
for dir in ${1:-$(modules)}; do
	say "golangci-lint in $dir"
	(
		cd "$dir"
		heavy=./cmd/lab-kubernetes
		if [[ -d $heavy ]]; then
			# All of Kubernetes is in it. What is left out looks into everything that a package imports, which takes minutes there.
			mapfile -t packages < <(go list -f '{{.Dir}}' ./... | sed "s#^$PWD#.#" | grep -vFx "$heavy")
			lint --disable govet,staticcheck "$heavy" && lint "${packages[@]}"
		else
			lint ./...
		fi
	) || status=1
done
exit "$status"
