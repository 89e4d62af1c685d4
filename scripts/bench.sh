#!/usr/bin/env bash
# The benchmarks beside peers, in one run each, printing medians and ratios: scripts/bench.sh node|dns|edge|mesh|control [FLAGS]
source "$(dirname "$0")/lib.sh"

what=${1:?node, dns, edge, mesh or control}
shift
case $what in
dns)
	scripts/packages.sh dnsperf
	exec go run ./test/bench/dns "$@"
	;;
node)
	need_root bench-node
	scripts/packages.sh
	scripts/build.sh
	exec go run ./test/bench/node "$@"
	;;
edge)
	need_root bench-edge
	scripts/packages.sh wrk nghttp2-client nginx-light haproxy
	scripts/build.sh
	WEFT_ENVOY=${WEFT_ENVOY:-$(scripts/envoy.sh)} exec go run ./test/bench/edge "$@"
	;;
mesh)
	need_root bench-mesh
	scripts/packages.sh wrk nginx-light
	scripts/build.sh
	WEFT_ENVOY=${WEFT_ENVOY:-$(scripts/envoy.sh)} exec go run ./test/bench/mesh "$@"
	;;
control)
	exec go run ./test/bench/control "$@"
	;;
*) die "no benchmark $what: node, dns, edge, mesh or control" ;;
esac
