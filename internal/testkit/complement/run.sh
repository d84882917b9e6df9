#!/bin/sh
# Runs a package of the Complement suite against this checkout's binary, as
# plain processes in private namespaces (needs root):
#
#   run.sh SUITE DEPLOYER OUTPUT PACKAGE [go test flags]
#
# SUITE is a checkout of the suite, which is left alone; DEPLOYER the folder
# with procdeploy/ and nsrun.sh; OUTPUT a folder for the copy that is changed,
# the server's data and logs, and results as go test -json writes them.
set -eu
suite=$1 deployer=$2 output=$3 package=$4
shift 4
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
mkdir -p "$output/work"
output=$(cd "$output" && pwd)

make -s -C "$root" build
if [ ! -d "$output/suite" ]; then
	cp -r "$suite" "$output/suite"
	cp -r "$deployer/procdeploy" "$output/procdeploy"
	cd "$output/suite"
	printf '\nrequire example.invalid/procdeploy v0.0.0\nreplace example.invalid/procdeploy => ../procdeploy\n' >>go.mod
	# Old tests deploy blueprints through a hook that the suite lacks.
	cat >deploy_hook.go <<'EOF'
package complement

import (
	"github.com/matrix-org/complement/b"
	"github.com/matrix-org/complement/config"
	"github.com/matrix-org/complement/ct"
)

// OldDeployHook replaces OldDeploy.
var OldDeployHook func(t ct.TestLike, bp b.Blueprint, cfg *config.Complement) Deployment
EOF
	sed -i '/^func (tp \*TestPackage) OldDeploy/,/^}/ s/^\tt.Helper()$/\tt.Helper()\n\tif OldDeployHook != nil {\n\t\treturn OldDeployHook(t, blueprint, tp.Config)\n\t}/' test_package.go
	for main in $(grep -rl 'complement.TestMain(m' tests); do
		sed -i -E 's#^(\s*)(complement\.TestMain\(m, "[a-z0-9_]+")\)#\1complement.OldDeployHook = procdeploy.DeployBlueprint\n\1\2, complement.WithDeployment(procdeploy.Deploy), complement.WithCleanup(procdeploy.Cleanup))#; s#^(\s*)"github.com/matrix-org/complement"$#\1"example.invalid/procdeploy"\n\1"github.com/matrix-org/complement"#' "$main"
	done
fi

cd "$output/suite"
export GOFLAGS=-mod=mod
export TRESTLE="$root/bin/trestle" PROCDEPLOY_START="$here/start.sh" PROCDEPLOY_WORKDIR="$output/work" PROCDEPLOY_KEEP=1
export COMPLEMENT_BASE_IMAGE=none COMPLEMENT_ENABLE_DIRTY_RUNS=1
name=$(basename "$package")
[ "$name" != . ] || name=federation # what is in the folder of tests itself
go test -json -count=1 -timeout 25m -exec "$deployer/nsrun.sh" "./tests/$package" "$@" >"$output/$name.json" || true
