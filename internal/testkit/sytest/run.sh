#!/bin/sh
# Runs Sytest against this checkout's binary, as a plain process:
#
#   run.sh SUITE OUTPUT [FILE...]
#
# SUITE is a checkout of the suite, which is left alone; OUTPUT a folder for the
# copy that is changed, the server's data and log, and results.tap. FILEs are
# tests of the suite (tests/31sync/03joined.pl); without any, all are run but
# those of federation. The suite's Perl modules must be where Perl finds them
# (PERL5LIB). ROOM_VERSION is that of new rooms, DATABASE a URL, and CAPTCHA=1
# has a puzzle solved by those who register.
set -eu
suite=$1 output=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
mkdir -p "$output/plugins/trestle" "$output/work"
output=$(cd "$output" && pwd)

make -s -C "$root" build
export TRESTLE="$root/bin/trestle" SYTEST_PLUGINS="$output/plugins"
export ROOM_VERSION="${ROOM_VERSION:-10}" IDENTITY_PORT="${IDENTITY_PORT:-28799}"
cp -r "$here/lib" "$output/plugins/trestle"
if [ ! -d "$output/suite" ]; then
	cp -r "$suite" "$output/suite"
	cd "$output/suite"
	# The IDs of transactions are opaque; what nobody waits for is answered.
	sed -i 's#/transactions/\\d+\$#/transactions/[^/]+$#' lib/SyTest/ApplicationService.pm
	sed -i '/Received spurious HTTP request/a $request->respond_json( {} ) if $path =~ m{/transactions/};' tests/01http-server.pl
	# Identity servers are trusted by name, and have certificates.
	sed -i -E "s#(service +=>) \"\",#\\1 $IDENTITY_PORT, reuseaddr => 1,#; s#(SSL_cert_file =>).*#\\1 \"\$main::WORK_DIR/test-server/server.crt\",#; s#(SSL_key_file +=>).*#\\1 \"\$main::WORK_DIR/test-server/server.key\",#" tests/07id-server.pl
fi

cd "$output/suite"
[ $# -gt 0 ] || set -- $(find tests -name '*.pl' ! -path 'tests/50federation/*' | sort)
perl run-tests.pl -I Trestle -O tap --all --work-directory "$output/work" -p "${PORTS:-28800:28899}" "$@" >"$output/results.tap" || true
echo "passed $(grep '^ok' "$output/results.tap" | grep -vc '# skip'), skipped $(grep -c '^ok.*# skip' "$output/results.tap"), failed $(grep -c '^not ok' "$output/results.tap")"
