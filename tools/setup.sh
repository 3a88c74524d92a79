#!/bin/sh
# Installs what the tests need beside Go and a C compiler, where it is missing: a Chromium for the tests in a page, a Vulkan
# driver, which on a machine without a graphics processor is one that computes on the processor, and the servers of Redis and
# PostgreSQL, which the tests start by themselves.
set -eu

has_browser() {
	for name in chromium chromium-browser google-chrome-stable google-chrome chrome; do
		if command -v "$name" >/dev/null 2>&1; then return 0; fi
	done
	return 1
}

# The loader finds drivers by these files; without the loader itself they are of no use.
has_vulkan() {
	for file in /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json; do
		if [ -e "$file" ]; then
			for library in /usr/lib/*/libvulkan.so.1 /usr/lib/libvulkan.so.1 /usr/lib64/libvulkan.so.1; do
				if [ -e "$library" ]; then return 0; fi
			done
		fi
	done
	return 1
}

has_redis() { command -v redis-server >/dev/null 2>&1; }

# Debian keeps the server's programs off the PATH.
has_postgres() {
	for program in $(command -v postgres) /usr/lib/postgresql/*/bin/postgres; do
		if [ -x "$program" ] && [ -x "$(dirname "$program")/initdb" ]; then return 0; fi
	done
	return 1
}

missing=""
has_browser || missing="chromium"
if [ "$(uname)" != Darwin ] && ! has_vulkan; then # Metal is part of macOS
	missing="$missing libvulkan1 mesa-vulkan-drivers"
fi
has_redis || missing="$missing redis-server"
has_postgres || missing="$missing postgresql"
if [ -z "$missing" ]; then exit 0; fi

by_hand() {
	echo "setup: install by hand, then run this again:" >&2
	if ! has_browser; then echo "  Chromium or Chrome, under a name on the PATH such as chromium or google-chrome" >&2; fi
	case $missing in *vulkan*) echo "  the Vulkan loader and a driver (Mesa's will do)" >&2 ;; esac
	if ! has_redis; then echo "  Redis, with redis-server on the PATH" >&2; fi
	if ! has_postgres; then echo "  PostgreSQL, with postgres and initdb on the PATH, and for tests as root a user called postgres" >&2; fi
	exit 1
}

if ! command -v apt-get >/dev/null 2>&1; then by_hand; fi
if [ "$(id -u)" = 0 ]; then
	as_root=""
elif sudo -n true 2>/dev/null; then
	as_root="sudo -n"
else
	by_hand
fi
echo "setup: installing $missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # lists of words
if ! { $as_root apt-get -qq update && $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing; } >"$log" 2>&1; then
	cat "$log" >&2
	by_hand
fi
if ! has_browser || ! has_redis || ! has_postgres || { case $missing in *vulkan*) ! has_vulkan ;; *) false ;; esac; }; then by_hand; fi
