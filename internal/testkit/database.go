// Package testkit is what tests of several packages need: databases, servers
// and peers.
package testkit

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Databases runs a test on each engine as a subtest, with the URL of an empty
// database of its own. PostgreSQL is the server whose URL the environment
// variable TEST_POSTGRES holds; without it that half is skipped, but fails
// where CI is "true".
func Databases(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// EitherDatabase is the URL of an empty database on one engine: the engines
// take turns. It is for tests of many cases that differ by chance, where the
// same case on both engines would show nothing more.
func EitherDatabase(t testing.TB, turn uint64) string {
	t.Helper()
	if turn%2 == 0 {
		return SQLite(t)
	}
	return Postgres(t)
}

// SQLite returns the path of a database file that does not exist yet.
func SQLite(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "test.db")
}

// Postgres makes an empty schema on the server of TEST_POSTGRES, drops it when
// the test ends, and returns a URL whose connections use it. A schema takes 2 ms
// where a database takes 150. It skips the test if there is no server.
func Postgres(t testing.TB) string {
	t.Helper()
	server := os.Getenv("TEST_POSTGRES")
	if server == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("TEST_POSTGRES is not set")
		}
		t.Skip("TEST_POSTGRES is not set")
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("TEST_POSTGRES: %v", err)
	}
	schema := "test_" + strings.ToLower(rand.Text())
	runSQL(t, server, "CREATE SCHEMA "+schema)
	t.Cleanup(func() {
		// A connection that the test left in a transaction must not hang it.
		runSQL(t, server, "SET lock_timeout = '60s'; SET client_min_messages = 'warning'; DROP SCHEMA "+schema+" CASCADE")
	})
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String()
}

func runSQL(t testing.TB, server, sql string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("connect to TEST_POSTGRES: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
