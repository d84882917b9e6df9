package database_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

func TestOneServer(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		first, err := database.Open(ctx, url, schema, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		second := open(t, url, database.Options{})
		for range 2 {
			if err := first.LockServer(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := second.LockServer(ctx); !errors.Is(err, database.ErrLocked) {
			t.Errorf("the second server: error is %v", err)
		}
		addNote(t, second, 1, "a tool may write")
		first.Close()
		if err := second.LockServer(ctx); err != nil {
			t.Errorf("after the first has gone: %v", err)
		}
	})
}

// terminate ends all connections of other clients that look like the query.
func terminate(t *testing.T, url, condition string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var n int
	err = conn.QueryRow(t.Context(), `
		SELECT COUNT(pg_terminate_backend(a.pid))
		FROM pg_stat_activity a
		WHERE a.pid <> pg_backend_pid() AND a.application_name = current_setting('application_name') AND `+condition).Scan(&n)
	if err != nil || n == 0 {
		t.Fatalf("terminated %d connections, %v", n, err)
	}
}

func TestLosingTheLock(t *testing.T) {
	url := testkit.Postgres(t) + "&application_name=" + t.Name()
	lost := make(chan error, 2)
	db := open(t, url, database.Options{OnLockLost: func(err error) { lost <- err }})
	if err := db.LockServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	terminate(t, url, "EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory')")
	select {
	case err := <-lost:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(2 * time.Minute):
		t.Error("nobody noticed")
	}
}
