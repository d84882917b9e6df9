#!/usr/bin/env bash
# Everything that can be seen without running Trestle. It goes on after a
# failure, so that one run shows all.
set -uo pipefail
exec </dev/null
failed=

step() {
	local name=$1
	shift
	if "$@"; then
		echo "ok    $name"
	else
		echo "FAIL  $name"
		failed=1
	fi
}

formatted() {
	local files
	files=$(find . -name '*.go' -not -path './.*/*' -not -path '*/node_modules/*' -print0 | xargs -0 gofmt -s -l) || return 1
	[ -z "$files" ] && return 0
	echo "not formatted (gofmt -s -w):"
	echo "$files"
	return 1
}

scripts() {
	local script
	for script in .ci/run internal/testkit/scripts/*.sh; do
		bash -n "$script" || return 1
	done
}

# What is looked at is compiled as make test compiles it, with the race detector,
# so that it is in Go's cache for both; only staticcheck itself would be slow with it.
checked() {
	local staticcheck
	staticcheck=$(go tool -n staticcheck) && GOFLAGS="${GOFLAGS:-} -race" "$staticcheck" ./...
}

step 'gofmt' formatted
step 'go vet' go vet -race ./...
step 'staticcheck' checked
step 'go mod tidy' go mod tidy -diff
step 'scripts' scripts
step 'architecture' go test -race -vet=off -count=1 ./internal/architecture
[ -z "$failed" ]
