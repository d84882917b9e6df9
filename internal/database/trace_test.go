package database_test

import (
	"context"
	"testing"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

var selectSeven = database.SQL(`SELECT 7`)

// What reads on behalf of a context is in its trace, in views as well, and nothing else.
func TestTraced(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx, trace := database.Traced(t.Context())
		ask := func(ctx context.Context, q database.Querier) {
			var seven int64
			if err := q.QueryRow(ctx, selectSeven).Scan(&seven); err != nil || seven != 7 {
				t.Errorf("%d, %v", seven, err)
			}
		}
		ask(t.Context(), db.Read())
		ask(ctx, db.Read())
		err := db.View(ctx, func(q database.Querier) error {
			ask(context.WithoutCancel(ctx), q)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if got := trace.Statements(); len(got) != 2 || got[0] != "database/trace_test.go:11" || got[1] != got[0] {
			t.Errorf("%q", got)
		}
	})
}

// Who reads one thing after the other does so on one connection, which knows its way.
func TestReadersThatAreWarmAreUsed(t *testing.T) {
	db := open(t, testkit.SQLite(t), database.Options{Readers: 3})
	if db.Readers() != 3 {
		t.Errorf("%d readers", db.Readers())
	}
	for range 10 {
		var seven int64
		if err := db.Read().QueryRow(t.Context(), selectSeven).Scan(&seven); err != nil {
			t.Fatal(err)
		}
	}
	if n := db.PreparedOn(selectSeven); n != 1 {
		t.Errorf("%d connections were asked", n)
	}
}
