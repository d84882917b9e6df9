#!/usr/bin/env bash
# test.sh ARGUMENTS… runs go test and counts what it says. What a failed test
# has printed is shown; with CI set, each test has its line, and the tests have
# to see every operation of the Client-Server API succeed.
set -euo pipefail
exec </dev/null
report=$(mktemp "${TMPDIR:-/tmp}/trestle-report.XXXXXX")
trap 'rm -f "$report"' EXIT
go build -o "$report" ./internal/testkit/report
go test -json "$@" | "$report" ${CI:+-tests -operations "${TRESTLE_SPEC:-../shared/spec}/endpoints.tsv"}
