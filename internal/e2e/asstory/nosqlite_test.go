//go:build !cgo || !libsqlite3

package asstory_test

import (
	"os"
	"testing"
)

func TestABridgeByBridgev2(t *testing.T) {
	const advice = "the bridge's database needs the SQLite of the system: Debian's libsqlite3-dev, cgo and -tags=libsqlite3"
	if os.Getenv("CI") == "true" {
		t.Fatal(advice)
	}
	t.Skip(advice)
}
