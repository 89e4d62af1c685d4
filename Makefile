# What can be made here. `make help` lists it; whatever takes more than a line is a script in scripts/.

SHELL := /usr/bin/env bash
GO    ?= go

# WEFT_LAB is the name of the lab that demo, demo-down and e2e work with. RUN picks tests by a regular expression.
WEFT_LAB ?= lab
RUN ?= .
# How long `make fuzz` gives each fuzz target, and how often `make bench` repeats a Go benchmark.
FUZZTIME ?= 30s
COUNT    ?= 3

export WEFT_LAB

.DEFAULT_GOAL := help
.PHONY: help build image demo demo-down check test lint fuzz e2e e2e-telemetry e2e-k8s lab-cgroup2 bench bench-spine bench-node bench-dns bench-edge bench-mesh bench-control

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build weft and weft-lab into bin/
	@scripts/build.sh

image: build ## Pack weft and the examples' workload as image archives in bin/
	@scripts/image.sh

demo: ## A Kubernetes in one box, carried by weft: bring it up, try everything, print what answered (root)
	@scripts/demo.sh

demo-down: ## Take the demo's lab down; nothing of it stays
	@scripts/demo-down.sh

check: ## The inner loop: gofmt, vet, house rules, and the tests of what changed (two minutes at most)
	@scripts/check.sh

test: ## Everything CI checks: house rules, lint, race, packets, end to end (root)
	@scripts/test.sh

lint: ## golangci-lint over weft and the lab
	@scripts/lint.sh

fuzz: ## Run every fuzz target for FUZZTIME=30s
	@FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

e2e: ## End-to-end tests RUN=regexp against WEFT_LAB=lab, which is left up (made if it is not there)
	@RUN='$(RUN)' scripts/e2e.sh --keep

e2e-telemetry: ## The mesh as a real Prometheus and a real Jaeger see it, against WEFT_LAB=lab, which is left up
	@scripts/e2e-telemetry.sh

e2e-k8s: ## Kubernetes' own [sig-network] conformance tests of Services, EndpointSlices and DNS
	@scripts/e2e-k8s.sh

lab-cgroup2: ## The lab on a kernel that has only cgroup v2, emulated: one container under its limits (root)
	@scripts/lab-cgroup2.sh

bench: bench-spine bench-node bench-dns bench-edge bench-mesh bench-control ## Every benchmark: the spine, the node beside nft and kube-proxy, DNS beside CoreDNS, the edge beside Envoy, nginx, haproxy, the mesh beside Envoy, the control plane

bench-spine: ## What a change costs, from objects to plans
	$(GO) test -run '^$$' -bench Change -benchtime 2000x -count $(COUNT) ./test/bench/spine
	$(GO) test -run '^$$' -bench Load -benchtime 3x ./test/bench/spine

bench-node: ## 10,000 Services in the kernel, beside nft -f and kube-proxy
	@scripts/bench.sh node

bench-dns: ## DNS answers, beside CoreDNS
	@scripts/bench.sh dns

bench-edge: ## The proxy beside Envoy, nginx and haproxy
	@scripts/bench.sh edge

bench-mesh: ## Two sidecars with mutual TLS between them, beside two Envoys (root)
	@scripts/bench.sh mesh

bench-control: ## What 500 sidecars of a mesh cost the control plane (two minutes)
	@scripts/bench.sh control
