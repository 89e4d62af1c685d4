#!/usr/bin/env bash
# What the mesh tells of itself, seen by those whom it is told: a Prometheus that scrapes and a Jaeger that takes spans, in the lab $WEFT_LAB, which is
# left up. Both are fetched or built the first time, which takes minutes.
source "$(dirname "$0")/lib.sh"

need_root e2e-telemetry
WEFT_PROMETHEUS=$(scripts/prometheus.sh)
WEFT_JAEGER=$(scripts/jaeger.sh)
export WEFT_PROMETHEUS WEFT_JAEGER
RUN=${RUN:-Telemetry} exec scripts/e2e.sh --keep
