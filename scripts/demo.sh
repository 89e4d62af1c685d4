#!/usr/bin/env bash
# The demo: a lab with weft in it, the example Services and workloads, a table of what was tried and what answered, and what to try next.
source "$(dirname "$0")/lib.sh"

need_root demo
scripts/packages.sh
scripts/lab-up.sh

say "examples"
bin/weft-lab kubectl apply -f examples/services -f examples/edge
go run ./examples/demo -name "$WEFT_LAB" -certificate
for deployment in nginx python mesh-demo-v1 mesh-demo-v2; do
	bin/weft-lab kubectl rollout status --timeout=2m "deployment/$deployment"
done
bin/weft-lab kubectl wait --for=condition=Ready --timeout=2m pod/client

say "a mesh: the bookshop"
bin/weft-lab kubectl apply -f examples/bookshop
for deployment in storefront-v1 catalog-v1 reviews-v1 reviews-v2 ratings-v1; do
	bin/weft-lab kubectl rollout status -n bookshop --timeout=2m "deployment/$deployment"
done
bin/weft-lab kubectl wait -n bookshop --for=condition=Ready --timeout=2m pod/scraper
bin/weft-lab kubectl wait -n elsewhere --for=condition=Ready --timeout=2m pod/stranger

say "what was tried, and what answered"
go run ./examples/demo -name "$WEFT_LAB"

say "weft status"
export KUBECONFIG=$PWD/bin/kubeconfig-$WEFT_LAB
bin/weft status || true # exit code 3 only says that there are findings

node=$(bin/weft-lab status -o json | jq -r '.nodes[0].ips[0]')
address() { bin/weft-lab kubectl get service -n "$1" "$2" -o 'jsonpath={.status.loadBalancer.ingress[0].ip}'; }
storefront=bookshop/$(bin/weft-lab kubectl get pods -n bookshop -l app=storefront -o 'jsonpath={.items[0].metadata.name}')
balanced=$(address default my-loadbalancer)
edge=$(address weft-system weft-gateway)
# They may be there from the time before.
for tunnel in "30080:$node:30080" "8080:$edge:80" "8443:$edge:443"; do
	bin/weft-lab tunnel --background "$tunnel" >/dev/null 2>&1 || true
done
cat <<TEXT

Try next, in this folder:

  export WEFT_LAB=$WEFT_LAB KUBECONFIG=$KUBECONFIG
  curl http://127.0.0.1:30080/                                        # a tunnel to the node port
  curl http://127.0.0.1:8080/folder                                   # through the Ingress; a browser can go there too
  curl -H 'Host: www.service1.io' http://127.0.0.1:8080/ping          # through the Gateway, to version 1 alone
  curl -H 'Host: header.example.org' -H 'x-user: jason' http://127.0.0.1:8080/
  curl -k --connect-to secure.example.org:443:127.0.0.1:8443 https://secure.example.org/
  bin/weft explain GET http://www.service1.io/ping
  bin/weft status
  bin/weft explain tcp my-svc:80 --from client
  bin/weft-lab kubectl get services,pods -A -o wide
  bin/weft-lab kubectl exec client -- /echo lookup A my-headless
  bin/weft-lab shell node-1 -- nft list table ip weft-v1
  bin/weft-lab shell outside -- curl -s http://$balanced/           # the LoadBalancer address, from a machine that is no node

  curl -H 'Host: bookshop.example.org' http://127.0.0.1:8080/         # the bookshop's page: who had a part in it, and who called whom
  curl -H 'Host: bookshop.example.org' -H 'end-user: jason' http://127.0.0.1:8080/api/books/1
  bin/weft-lab kubectl exec -n bookshop deploy/storefront-v1 -c bookshop -- /bookshop load -rps 50 -for 5s http://reviews:9080/reviews/1
  bin/weft-lab kubectl exec -n bookshop scraper -c bookshop -- /bookshop get http://reviews:9080/reviews/1      # denied
  bin/weft-lab kubectl exec -n elsewhere stranger -- /bookshop get http://reviews.bookshop:9080/reviews/1       # shows no certificate
  bin/weft explain GET http://reviews:9080/reviews/1 --from $storefront
  bin/weft proxy-config routes $storefront
  make demo-down
TEXT
