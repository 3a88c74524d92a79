#!/usr/bin/env bash
# Fuzz every target of the module for a given time each; finding no target is a failure.
# usage: tools/fuzz.sh FUZZTIME
set -euo pipefail
fuzztime=$1

# `go test -list` prints the names of a package's targets, then "ok PACKAGE TIME".
targets=$(go test -list '^Fuzz' ./... | awk '/^Fuzz/ { names[n++] = $1 } /^ok/ { while (n > 0) print names[--n], $2 }')
if [ -z "$targets" ]; then
	echo "fuzz: no target found" >&2
	exit 1
fi
while read -r target package; do
	echo "fuzz: $target of $package"
	# Without the limit, Go may spend a minute on making one interesting input smaller.
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 1x "$package"
done <<<"$targets"
