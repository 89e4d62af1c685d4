#!/usr/bin/env bash
# Runs every fuzz target of every module for FUZZTIME (30s). Their committed corpus runs in `make test`; this looks for more.
source "$(dirname "$0")/lib.sh"

: "${FUZZTIME:=30s}"
found=0
while IFS=: read -r file _ line; do
	target=$(grep -oE 'Fuzz[A-Za-z0-9_]*' <<<"$line" | head -n 1)
	say "$target in $(dirname "$file"), $FUZZTIME"
	nice go test -C "$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" .
	found=$((found + 1))
done < <(git grep --untracked -nE '^func Fuzz[A-Za-z0-9_]*\(' -- '*_test.go')
((found > 0)) || die "there is no fuzz target"
