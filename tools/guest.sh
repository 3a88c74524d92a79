#!/usr/bin/env bash
# Builds the built-in guest, wasm/guest/guest.wasm, and writes its SHA-256 beside it with the version of Go, which decides the bytes as
# much as the source does. The same source and the same Go give the same file on every machine.
# usage: tools/guest.sh [FOLDER [TOOLCHAIN]]    FOLDER is relative to the root of the repository
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-wasm/guest}
export GOTOOLCHAIN=${2:-go1.26.8}

# Empty, against what a developer may have set: each of them changes the bytes.
export GOOS=wasip1 GOARCH=wasm GOWASM= GOEXPERIMENT= GOFLAGS= GODEBUG= GOWORK=off
go build -buildmode=c-shared -trimpath -buildvcs=false -ldflags='-s -w -buildid=' -o "$folder/guest.wasm" ./wasm/guest/reactor
{
	echo "# $(go env GOVERSION)"
	(cd "$folder" && sha256sum guest.wasm)
} >"$folder/guest.wasm.sha256"
