#!/usr/bin/env bash
# Makes the Go types of the .proto files named as arguments, beside them. go generate calls it; it needs Debian's protobuf-compiler.
source "$(dirname "$0")/lib.sh"

scripts/packages.sh protobuf-compiler
plugin=$(mktemp -d)
trap 'rm -rf "$plugin"' EXIT
go build -o "$plugin/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go
for file; do
	protoc --plugin="$plugin/protoc-gen-go" --go_out=. --go_opt=paths=source_relative "$file"
done
