#!/usr/bin/env bash
# Builds everything, brings the lab $WEFT_LAB up (or finds it up), loads the images and installs weft into it. Done again, it brings a lab up
# to date with the sources.
source "$(dirname "$0")/lib.sh"
: "${WEFT_LAB:?the name of the lab}"

scripts/build.sh
scripts/image.sh

say "lab $WEFT_LAB"
bin/weft-lab status >/dev/null 2>&1 && was_up=yes || was_up=no
bin/weft-lab up
bin/weft-lab load-image bin/weft.tar bin/echo.tar bin/bookshop.tar

say "weft install"
status=$(bin/weft-lab status -o json)
ask() { jq -r "$1" <<<"$status"; }
scripts/lab-kubeconfig.sh
KUBECONFIG=bin/kubeconfig-$WEFT_LAB bin/weft install --image weft:dev --image-pull-policy Never \
	--cluster-cidr "$(ask '.network.podCIDRs | join(",")')" \
	--lb-pool "$(ask '.network.loadBalancers | join(",")')"

# In a lab that was up, Pods still run the program they were started with.
if [[ $was_up == yes ]]; then
	say "restart weft with the program just built"
	bin/weft-lab kubectl get daemonsets,deployments -A -l app.kubernetes.io/part-of=weft \
		-o 'jsonpath={range .items[*]}{.metadata.namespace} {.kind}/{.metadata.name}{"\n"}{end}' |
		while read -r namespace workload; do
			bin/weft-lab kubectl rollout restart -n "$namespace" "$workload" </dev/null
			bin/weft-lab kubectl rollout status -n "$namespace" --timeout=2m "$workload" </dev/null
		done
fi
