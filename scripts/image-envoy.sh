#!/usr/bin/env bash
# Packs a proxy image in which weft's agent can run stock Envoy: bin/weft-envoy.tar (weft-envoy:dev), with the libraries of this machine that Envoy wants. A Pod asks for it
# with the annotations sidecar.istio.io/proxyImage: weft-envoy:dev and proxy.istio.io/config: "binaryPath: /envoy".
source "$(dirname "$0")/lib.sh"

envoy=$(scripts/envoy.sh)
files=("/weft-proxy=bin/weft-proxy" "/envoy=$envoy")
while read -r library; do
	files+=("$library=$(readlink -f "$library")")
done < <(ldd "$envoy" | grep -o '/[^ ]*')
bin/weft-lab build-image --tag weft-envoy:dev --output bin/weft-envoy.tar "${files[@]}"
