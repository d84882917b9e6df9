#!/usr/bin/env bash
# fuzz.sh TIME runs each fuzz target for so long, and goes on after a failure.
set -uo pipefail
exec </dev/null
time=${1:-10s}
failed=
while IFS=: read -r file target; do
	package=./$(dirname "$file")
	echo "$package $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$package" || failed=1
done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' cmd appservice bridges homeserver internal registration 2>/dev/null |
	sed 's/:func /:/' | sort)
[ -z "$failed" ]
