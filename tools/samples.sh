#!/usr/bin/env bash
# Builds the sample plugins of wasm/samples as their READMEs say and keeps the modules in wasm/samples/testdata, with the digests of
# sources and modules in SOURCES.sha256. Go's is left out: the test builds it, since whoever runs tests has Go.
# Needs make, clang and lld, npm, and cargo with the target wasm32-unknown-unknown. CC names another clang.
set -euo pipefail
cd "$(dirname "$0")/../wasm/samples"
out=$PWD/testdata
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# The sources alone, without what a build in place has left.
sources=$(git ls-files --cached --others --exclude-standard c assemblyscript rust | LC_ALL=C sort)
tar -cf - $sources | tar -xf - -C "$work"

make -C "$work/c" --silent ${CC:+CC="$CC"}
cp "$work/c/plugin.wasm" "$out/c.wasm"

(cd "$work/assemblyscript" && npm install --silent --no-audit --no-fund && npm run --silent build)
cp "$work/assemblyscript/plugin.wasm" "$out/assemblyscript.wasm"

# RUSTFLAGS and the like would change the bytes.
(cd "$work/rust" && env -u RUSTFLAGS -u CARGO_TARGET_DIR cargo build --quiet --release --target wasm32-unknown-unknown)
cp "$work/rust/target/wasm32-unknown-unknown/release/plugin.wasm" "$out/rust.wasm"

chmod 644 "$out"/*.wasm
{
	echo "# $("${CC:-clang}" --version | head -n 1)"
	echo "# AssemblyScript $(sed -n 's/.*"assemblyscript": "\(.*\)".*/\1/p' assemblyscript/package.json)"
	echo "# $(rustc --version)"
	sha256sum $(grep -v '/README\.md$' <<<"$sources")
	sha256sum testdata/*.wasm
} >"$out/SOURCES.sha256"
