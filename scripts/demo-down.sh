#!/usr/bin/env bash
# Takes the lab $WEFT_LAB down. What was built stays in the caches, nothing else.
source "$(dirname "$0")/lib.sh"

need_root demo-down
[[ -x bin/weft-lab ]] || scripts/build.sh
bin/weft-lab down
