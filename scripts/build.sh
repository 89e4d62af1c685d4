#!/usr/bin/env bash
# Builds weft, weft-proxy, weft-lab and the programs of the examples into bin/, all static: they run in images and in the lab's machines.
source "$(dirname "$0")/lib.sh"

mkdir -p bin
# Without gRPC's tracing pages nothing looks up methods by name, and the linker can leave out those that nobody calls: a third of weft-proxy.
go build -tags grpcnotrace -o bin/ ./cmd/weft ./cmd/weft-proxy ./examples/echo ./examples/bookshop
(cd lab && go build -o ../bin/ ./cmd/weft-lab)
echo "built bin/weft, bin/weft-proxy, bin/echo, bin/bookshop, bin/weft-lab"
