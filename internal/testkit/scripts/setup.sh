#!/usr/bin/env bash
# Installs what the tests talk to: programs, from Debian, and the libraries of
# clients and services, from npm, into .cache. Where all is there it does
# nothing; without root it says what is missing. Without a network the tests with
# these libraries are left out, except where CI is "true".
set -euo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
export PATH="$PATH:/usr/sbin:/sbin"

# Sets missing to the packages of programs that are not there.
look() {
	missing=()
	need gcc gcc # the race detector wants a C compiler
	need ngircd ngircd
	need inspircd inspircd
	need anope anope
	need irssi irssi
	need tmux tmux
	need node nodejs
	need npm npm
	need curl curl
	command -v chromium >/dev/null || need chromium-headless-shell chromium-headless-shell
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
	[ -e /usr/include/sqlite3.h ] || missing+=(libsqlite3-dev)
	if [ "${#missing[@]}" -gt 0 ] && ! [ -e /usr/include/stdlib.h ]; then
		missing+=(libc6-dev)
	fi
}
need() { command -v "$1" >/dev/null || missing+=("$2"); }

programs() {
	local missing attempt
	look
	[ "${#missing[@]}" -eq 0 ] && return
	if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
		echo "The tests need programs that are not installed: ${missing[*]}" >&2
		echo "On Debian: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
		return 1
	fi

	# Installing a server must not start it.
	policy=/usr/sbin/policy-rc.d
	if ! [ -e "$policy" ]; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi

	export DEBIAN_FRONTEND=noninteractive
	local options=(-q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold)
	for attempt in 1 2 3; do
		if apt-get "${options[@]}" update &&
			apt-get "${options[@]}" install --no-install-recommends "${missing[@]}"; then
			return
		fi
		echo "Installing ${missing[*]} did not work (attempt $attempt)." >&2
	done
	return 1
}

# javascript FOLDER NAME installs what the folder's lock file lists, into
# .cache/NAME. installed.json is written last, so that what was interrupted
# begins anew.
javascript() {
	local from=$1 to=.cache/$2 attempt
	cmp -s "$from/package-lock.json" "$to/installed.json" && return
	mkdir -p "$to"
	rm -f "$to/installed.json"
	cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$to"
	for attempt in 1 2 3; do
		if (cd "$to" && npm ci --loglevel=error); then
			cp "$to/package-lock.json" "$to/installed.json"
			return
		fi
		echo "Installing what $from needs from npm did not work (attempt $attempt)." >&2
	done
	echo "The tests that need what $from lists cannot run." >&2
	[ "${CI:-}" != true ]
}

programs
installs=()
for name in jsclient jsservice browser/hydrogen; do
	javascript "internal/e2e/$name" "${name##*/}" &
	installs+=("$!")
done
for install in "${installs[@]}"; do
	wait "$install"
done
