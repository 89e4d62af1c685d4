#!/usr/bin/env bash
# Kubernetes' own end-to-end tests of Services, EndpointSlices and DNS, in a lab of their own with weft installed; writes docs/conformance.md.
source "$(dirname "$0")/lib.sh"

need_root e2e-k8s
scripts/packages.sh busybox curl wget bind9-dnsutils netcat-openbsd # beside agnhost in the image of the tests' Pods
exec go run ./test/conformance "$@"
