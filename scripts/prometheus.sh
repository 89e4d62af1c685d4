#!/usr/bin/env bash
# Prints where Debian's Prometheus is, which the end-to-end tests of telemetry scrape with. Its package is unpacked, not installed, into the lab's cache.
source "$(dirname "$0")/lib.sh"

cache=${WEFT_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft-lab}
version=$(apt-cache show --no-all-versions prometheus | sed -n 's/^Version: //p')
[[ -n $version ]] || die "apt knows no package prometheus: apt-get update"
dir=$cache/prometheus-$version
if [[ ! -x $dir/usr/bin/prometheus ]]; then
	mkdir -p "$cache"
	part=$(mktemp -d "$dir.XXXXXX")
	trap 'rm -rf "$part"' EXIT
	(cd "$part" && apt-get download -qq "prometheus=$version" >&2 && dpkg-deb -x ./*.deb . && rm -f ./*.deb)
	chmod 755 "$part"
	mv -T "$part" "$dir" 2>/dev/null || [[ -x $dir/usr/bin/prometheus ]] || die "cannot keep Prometheus in $dir"
fi
echo "$dir/usr/bin/prometheus"
