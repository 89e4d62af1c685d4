#!/usr/bin/env bash
# The end-to-end tests, in the lab $WEFT_LAB with weft installed. RUN picks tests. The lab is taken down afterwards, also if a test fails,
# unless --keep is given: then the next run finds it up. With $GOTEST_ACCOUNT, results are added to that account (test/gotest).
source "$(dirname "$0")/lib.sh"
: "${WEFT_LAB:?the name of the lab}"

need_root e2e
if [[ ${1:-} != --keep ]]; then
	trap 'bin/weft-lab down' EXIT
fi
scripts/lab-up.sh
# A sidecar can be stock Envoy too. Where it cannot be had, the test of that is skipped.
if scripts/image-envoy.sh; then
	bin/weft-lab load-image bin/weft-envoy.tar
	export WEFT_ENVOY_IMAGE=weft-envoy:dev
fi
go build -o bin/gotest ./test/gotest
bin/gotest -v -account "${GOTEST_ACCOUNT:-}" -- -count=1 -timeout 30m -run "${RUN:-.}" ./test/e2e/...
