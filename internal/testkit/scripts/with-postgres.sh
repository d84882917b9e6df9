#!/usr/bin/env bash
# with-postgres.sh [--durable] COMMAND…
#
# Runs a command beside a PostgreSQL of its own, whose URL is in
# TEST_POSTGRES, and throws it away afterwards. It is fast, because it writes
# nothing to disk for certain, unless --durable. A TEST_POSTGRES that is set
# already is used as it is.
set -euo pipefail

durable=
if [ "${1:-}" = --durable ]; then
	durable=1
	shift
fi
if [ -n "${TEST_POSTGRES:-}" ]; then
	exec "$@"
fi

bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1 || true)
if [ -z "$bin" ]; then
	echo "PostgreSQL is not installed." >&2
	exit 1
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/trestle-postgres.XXXXXX")
server=
finish() {
	status=$?
	trap - EXIT INT TERM
	if [ -n "$server" ] && kill -INT "$server" 2>/dev/null; then
		wait "$server" 2>/dev/null || true
	fi
	rm -rf "$folder"
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# PostgreSQL refuses to run as root. The signal ends it if this script is killed.
as=(setpriv --pdeathsig INT)
if [ "$(id -u)" -eq 0 ]; then
	as+=(--reuid postgres --regid postgres --clear-groups)
	chown postgres:postgres "$folder"
fi
data=$folder/data

if ! (cd / && "${as[@]}" "$bin/initdb" -D "$data" -U trestle --auth=trust --encoding=UTF8 --locale=C --no-sync) \
	>"$folder.initdb" 2>&1 </dev/null; then
	cat "$folder.initdb" >&2
	rm -f "$folder.initdb"
	exit 1
fi
rm -f "$folder.initdb"

{
	echo "listen_addresses = '127.0.0.1'"
	echo "unix_socket_directories = '$folder'"
	echo "max_connections = 300"
	echo "shared_buffers = 256MB"
	echo "max_wal_size = 2GB"
	if [ -z "$durable" ]; then
		echo "fsync = off"
		echo "synchronous_commit = off"
		echo "full_page_writes = off"
	fi
} >>"$data/postgresql.conf"

# Somebody may take the port between the look and the start: then another.
ready=
for _ in 1 2 3 4 5; do
	port=$((20000 + RANDOM % 12000))
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
		continue
	fi
	(cd / && exec "${as[@]}" "$bin/postgres" -D "$data" -p "$port") >"$folder/out" 2>&1 </dev/null &
	server=$!
	for _ in $(seq 300); do
		if "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; then
			ready=1
			break
		fi
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	[ -n "$ready" ] && kill -0 "$server" 2>/dev/null && break
	ready=
	kill -QUIT "$server" 2>/dev/null || true
	wait "$server" 2>/dev/null || true
	server=
done
if [ -z "$ready" ]; then
	cat "$folder/out" >&2 || true
	echo "PostgreSQL did not start." >&2
	exit 1
fi

export TEST_POSTGRES="postgres://trestle@127.0.0.1:$port/postgres?sslmode=disable"
"$@"
