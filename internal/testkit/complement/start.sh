#!/bin/sh
# Starts one homeserver for the Complement suite, run as plain processes: the
# deployer sets HS_… (see docs/conformance.md) and expects the server to stay
# in the foreground.
set -eu
# The suite is written for rooms whose creators are listed in the power levels.
export TRESTLE_ROOMS_DEFAULT_VERSION=11 TRESTLE_PASSWORDS_HASH=bcrypt TRESTLE_PASSWORDS_BCRYPT_COST=10
# Some passwords of the suite have seven characters.
export TRESTLE_PASSWORDS_MIN_LENGTH=7
# The page that is previewed is on the machine itself.
export TRESTLE_MEDIA_PREVIEWS_ALLOW_ADDRESSES=127.0.0.0/8 TRESTLE_MEDIA_PREVIEWS_PORTS="[]"
# So are the other servers.
export TRESTLE_FEDERATION_ALLOW_ADDRESSES=127.0.0.0/8
# Some of its tests download without authentication.
export TRESTLE_MEDIA_ALLOW_UNAUTHENTICATED=true
exec "${TRESTLE:?the binary under test}" serve \
	--data "$HS_DATA_DIR" \
	--server-name "$HS_SERVER_NAME" \
	--listen "$HS_CLIENT_ADDR" \
	--federation-listen "$HS_FED_ADDR" \
	--tls-cert "$HS_TLS_CERT" \
	--tls-key "$HS_TLS_KEY" \
	--ca-file "$HS_CA_FILE" \
	--appservices "$HS_APPSERVICE_DIR" \
	--registration-shared-secret "$HS_REGISTRATION_SECRET" \
	--open-registration \
	--no-rate-limits \
	--no-bridges
