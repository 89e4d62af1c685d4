#!/usr/bin/env bash
# Sees that the Debian packages are there that the tests and the lab need: installs what is missing when run by root on a Debian
# machine, otherwise says what to install. Arguments are packages wanted besides.
source "$(dirname "$0")/lib.sh"

wanted=(
	gcc libc6-dev                                 # the race detector
	git jq procps                                 # house rules; scripts; the lab's test of what it leaves behind
	iproute2 nftables iptables conntrack          # packet tests; iptables is what CNI's portmap uses
	containerd runc containernetworking-plugins   # the lab's nodes
	"$@"
)

command -v dpkg-query >/dev/null || die "this is no Debian: install the equivalents of: ${wanted[*]}"
missing=()
for p in "${wanted[@]}"; do
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) == installed ]] || missing+=("$p")
done
if ((${#missing[@]} == 0)); then
	echo "all there: ${wanted[*]}"
	exit 0
fi

[[ $EUID -eq 0 ]] || die "missing packages; run: sudo apt-get install -y ${missing[*]}"
say "apt-get install ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null
