# make run      build Trestle and start it; its data is in ./data
# make test     set up what the tests need, and run them all
# make setup    only set up what the tests need
# make check    formatting, static analysis, dependencies, architecture
# make bench    measure a server from outside, on both engines (docs/performance.md)
# make microbench  benchmarks of single packages
# make soak     kill servers, services and bridges hundreds of times: SOAK (300) of them, and
#               as often as fits while MESSAGES (100000) cross the IRC bridge each way
# make fuzz     every fuzz target for FUZZTIME (10s)
# make build    bin/trestle, one static binary

# gin without MessagePack, and end-to-end encryption in pure Go; a bridge in the
# tests takes SQLite from the system, which setup brings, instead of compiling it
# for a minute. Everything is built with these, so that it is in Go's cache once.
#
# The race detector leaves out what has no goroutines and is mostly loops: SQLite,
# which was translated from C, is several times slower with it, and so are
# pictures and the arithmetic of keys.
comma   := ,
SQLITE   = $(shell [ -e /usr/include/sqlite3.h ] && echo '$(comma)libsqlite3')
UNRACED := modernc.org/sqlite/lib modernc.org/libc modernc.org/memory golang.org/x/crypto/blowfish \
           golang.org/x/crypto/argon2 golang.org/x/crypto/blake2b filippo.io/edwards25519/... math/big \
           crypto/internal/fips140/bigmod crypto/internal/fips140/nistec/... crypto/internal/fips140/edwards25519/... \
           image/... golang.org/x/image/... compress/flate
export GOFLAGS = -tags=nomsgpack,goolm$(SQLITE) -buildvcs=false $(UNRACED:%=-gcflags=%=-race=false)

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT   := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS  := -s -w -X trestle/internal/telemetry.version=$(VERSION) -X trestle/internal/telemetry.commit=$(COMMIT)
SCRIPTS  := internal/testkit/scripts
FUZZTIME ?= 10s
SOAK     ?= 300
MESSAGES ?= 100000
# What make test runs: TEST='./homeserver/... -run Join', for instance.
TEST     ?= ./...

.PHONY: build run setup test check bench microbench soak fuzz clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/trestle ./cmd/trestle

run: build
	./bin/trestle serve

setup:
	$(SCRIPTS)/setup.sh

# make check vets what is tested.
test: setup
	$(SCRIPTS)/with-postgres.sh $(SCRIPTS)/test.sh -race -vet=off -timeout 15m $(TEST)

check:
	$(SCRIPTS)/check.sh

bench: setup build
	@echo "SQLite:"
	./bin/trestle bench
	@echo "PostgreSQL:"
	$(SCRIPTS)/with-postgres.sh --durable sh -c './bin/trestle bench --bench-database "$$TEST_POSTGRES"'

microbench: setup
	$(SCRIPTS)/with-postgres.sh --durable go test -run '^$$' -bench . -benchmem ./...

soak: setup
	TEST_CRASHES=$(SOAK) TEST_KILL_MESSAGES=$(MESSAGES) $(SCRIPTS)/with-postgres.sh go test -timeout 24h -v \
		-run 'Crash|WhoeverDies|NothingThat' ./appservice/sender ./internal/e2e/...

fuzz:
	$(SCRIPTS)/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin .cache
