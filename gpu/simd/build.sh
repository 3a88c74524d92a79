#!/bin/sh
# Compiles the kernels to kernels.wasm and notes in kernels.sha256 what they were compiled from, which a test compares. Run it when
# the C sources here or those of gpu/cpu have changed. The compiler is pinned, so that the same sources give the same bytes:
#   python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1
#   ZIG="$PWD/.venv/bin/python -m ziglang" gpu/simd/build.sh
: "${ZIG:=python3 -m ziglang}"
set -eu
cd "$(dirname "$0")"
version=$($ZIG version)
if [ "$version" != 0.17.1 ]; then
	echo "build.sh: needs Zig 0.17.1, found $version" >&2
	exit 1
fi
sources="kernels/simd128.c kernels/math.c ../cpu/ops.c"
headers="kernels/freestanding/math.h ../cpu/attend.h ../cpu/compose.h ../cpu/cpu.h ../cpu/dots.h ../cpu/linear.h ../cpu/matmul.h ../cpu/pointwise.h
	../cpu/vector.h"
# shellcheck disable=SC2086 # lists
$ZIG cc --target=wasm32-freestanding -mcpu=generic+simd128+bulk_memory -O3 -std=gnu11 -Wall -Wextra -Werror -I kernels/freestanding \
	-nostdlib -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=65536 -Wl,--export=__heap_base $sources -o kernels.wasm
chmod 644 kernels.wasm
# shellcheck disable=SC2086
sha256sum build.sh kernels.wasm $sources $headers >kernels.sha256
