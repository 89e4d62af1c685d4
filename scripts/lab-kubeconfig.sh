#!/usr/bin/env bash
# Writes bin/kubeconfig-$WEFT_LAB, with which programs of this machine reach the lab's API server: through a tunnel, which the lab keeps.
source "$(dirname "$0")/lib.sh"
: "${WEFT_LAB:?the name of the lab}"

port() { bin/weft-lab status -o json | jq -r 'first(.tunnels // [] | .[] | select(.host == "control-plane" and .hostPort == 6443) | .port) // empty'; }

[[ -n $(port) ]] || bin/weft-lab tunnel --background 0:control-plane:6443 >/dev/null
umask 077
# The API server's certificate does not name 127.0.0.1.
jq --arg server "https://127.0.0.1:$(port)" '.clusters[].cluster += {server: $server, "tls-server-name": "kubernetes.default.svc"}' \
	"$(bin/weft-lab kubeconfig)" >"bin/kubeconfig-$WEFT_LAB"
