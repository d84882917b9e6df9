package database_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

// schema is what most tests use.
var schema = fstest.MapFS{"0001_notes.sql": {Data: []byte(`
CREATE TABLE notes (
	id BIGINT PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	body BYTEA,
	pinned BOOLEAN NOT NULL DEFAULT FALSE,
	position BIGINT
);
CREATE INDEX notes_position ON notes (position);

CREATE TABLE engine (name TEXT NOT NULL);
CREATE TABLE a (name TEXT NOT NULL, ready BOOLEAN NOT NULL);

CREATE TABLE bench_events (
	event_nid BIGINT PRIMARY KEY,
	event_id TEXT NOT NULL UNIQUE,
	room_nid BIGINT NOT NULL,
	sender_nid BIGINT NOT NULL,
	position BIGINT NOT NULL,
	json BYTEA NOT NULL
);
CREATE UNIQUE INDEX bench_events_position ON bench_events (position);
CREATE UNIQUE INDEX bench_events_room ON bench_events (room_nid, position);
`)}}

var (
	insertNote = database.SQL(`
		INSERT INTO notes (id, name, body, pinned, position)
		VALUES ($1, $2, $3, $4, $5)`)
	insertReturning = database.SQL(`
		INSERT INTO notes (id, name)
		VALUES ($1, $2)
		RETURNING id, name`)
	deleteNotes = database.SQL(`
		DELETE FROM notes
		WHERE id >= $1`)
	selectNote = database.SQL(`
		SELECT name, body, pinned, position
		FROM notes
		WHERE id = $1`)
	selectIDs = database.SQL(`
		SELECT id
		FROM notes
		WHERE id = ANY($1)
		ORDER BY id
		LIMIT 1000`)
	selectNames = database.SQL(`
		SELECT name
		FROM notes
		WHERE name = ANY($1::text[]) AND name <> ALL($2)
		ORDER BY name
		LIMIT 1000`)
	selectAll = database.SQL(`
		SELECT id, name, position
		FROM notes
		ORDER BY id
		LIMIT 100000`)
	countNotes = database.SQL(`
		SELECT COUNT(*)
		FROM notes`)
	lockNote = database.SQL(`
		SELECT name
		FROM notes
		WHERE id = $1
		FOR UPDATE`)
)

func open(t testing.TB, url string, opts database.Options) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url, schema, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// onEach runs a test with an open database on each engine.
func onEach(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	testkit.Databases(t, func(t *testing.T, url string) { test(t, open(t, url, database.Options{})) })
}

func addNote(t testing.TB, db *database.DB, id int64, name string) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *database.Tx) error {
		return tx.Queue(t.Context(), insertNote, id, name, nil, false, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func noteCount(t testing.TB, db *database.DB) (n int64) {
	t.Helper()
	if err := db.Read().QueryRow(t.Context(), countNotes).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNoRows(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		var n int64
		if err := db.Read().QueryRow(t.Context(), selectIDs, []int64{1}).Scan(&n); err != database.ErrNoRows {
			t.Errorf("error is %v", err)
		}
		err := db.Update(t.Context(), func(tx *database.Tx) error {
			if err := tx.QueryRow(t.Context(), selectIDs, []int64{1}).Scan(&n); err != database.ErrNoRows {
				t.Errorf("error is %v", err)
			}
			return nil
		})
		if err != nil {
			t.Errorf("finding nothing made the function fail: %v", err)
		}
	})
}

func TestReadersCannotWrite(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		try := func(q database.Querier) {
			if _, err := q.Exec(ctx, deleteNotes, 0); err == nil {
				t.Error("Exec: no error")
			}
			if err := q.ExecMany(ctx, deleteNotes, [][]any{{0}}); err == nil {
				t.Error("ExecMany: no error")
			}
			if err := q.QueryRow(ctx, insertReturning, 1, "x").Scan(); err == nil {
				t.Error("INSERT RETURNING: no error")
			}
			if err := q.QueryRow(ctx, lockNote, 1).Scan(); err == nil {
				t.Error("FOR UPDATE: no error")
			}
		}
		try(db.Read())
		if err := db.View(ctx, func(q database.Querier) error { try(q); return nil }); err != nil {
			t.Error(err)
		}
	})
}

func TestViewIsASnapshot(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		addNote(t, db, 1, "one")
		var kept database.Querier
		err := db.View(ctx, func(q database.Querier) error {
			kept = q
			for range 2 {
				var n int64
				if err := q.QueryRow(ctx, countNotes).Scan(&n); err != nil || n != 1 {
					return fmt.Errorf("%d notes, %w", n, err)
				}
				addNote(t, db, 2+noteCount(t, db), fmt.Sprint("more", noteCount(t, db)))
			}
			rows, err := q.Query(ctx, selectAll)
			if err != nil {
				return err
			}
			if _, err := q.Query(ctx, countNotes); !errors.Is(err, database.ErrRowsOpen) {
				t.Errorf("second query: error is %v", err)
			}
			rows.Next() // and left open
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := noteCount(t, db); n != 3 {
			t.Errorf("%d notes", n)
		}
		if _, err := kept.Query(ctx, countNotes); err == nil {
			t.Error("the snapshot works after its end")
		}
		failure := errors.New("failure")
		if err := db.View(ctx, func(database.Querier) error { return failure }); !errors.Is(err, failure) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestLeavingEarly(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		for i := range int64(10) {
			addNote(t, db, i, fmt.Sprint(i))
		}
		for range 50 { // more than there are connections
			rows, err := db.Read().Query(t.Context(), selectAll)
			if err != nil || !rows.Next() {
				t.Fatal(err)
			}
			rows.Close()
			rows.Close()
			if rows.Next() || rows.Err() != nil {
				t.Fatal("a row after Close, or", rows.Err())
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		rows, err := db.Read().Query(ctx, selectAll)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		for rows.Next() {
			continue
		}
		rows.Close()
		if _, err := db.Read().Query(ctx, selectAll); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestByteOrder(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		for i, name := range []string{"b", "A", "ä", "a", "B", "_"} {
			addNote(t, db, int64(i), name)
		}
		var got []string
		rows, err := db.Read().Query(t.Context(), selectByName)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
		if want := []string{"A", "B", "_", "a", "b", "ä"}; !reflect.DeepEqual(got, want) {
			t.Errorf("order is %q, want %q", got, want)
		}
		var n int64
		if err := db.Read().QueryRow(t.Context(), countLike, "a%").Scan(&n); err != nil || n != 1 {
			t.Errorf("LIKE 'a%%' finds %d, %v; want 1: case counts", n, err)
		}
	})
}

var (
	selectByName = database.SQL(`
		SELECT name
		FROM notes
		ORDER BY name
		LIMIT 100`)
	selectNeighbours = database.SQL(`
		SELECT n.name
		FROM notes p
		JOIN notes n ON n.position = p.id
		WHERE p.id = ANY($1)
		ORDER BY n.name
		LIMIT 100`)
	analyzeNotes = database.SQL(`
		ANALYZE notes`)
	countLike = database.SQL(`
		SELECT COUNT(*)
		FROM notes
		WHERE name LIKE $1 ESCAPE '\'`)
)

func TestStatementsAndPlans(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		if err := database.CheckStatements(t.Context(), db); err != nil {
			t.Error(err)
		}
		plan, err := database.Explain(t.Context(), db, selectNote, 1)
		if err != nil || !strings.Contains(plan, "PRIMARY KEY") && !strings.Contains(plan, "notes_pkey") {
			t.Errorf("plan is %q, %v", plan, err)
		}
	})
}

// Whatever the engine believes of its tables, even that there is next to nothing
// in them, it goes by their indexes.
func TestPlansDoNotDependOnStatistics(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ids := make([]int64, 10)
		for i := range ids {
			ids[i] = int64(i)
			addNote(t, db, ids[i], fmt.Sprint("note ", i))
		}
		for range 2 {
			plan, err := database.Explain(t.Context(), db, selectNeighbours, ids)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(plan, "SCAN n") || strings.Contains(plan, "SCAN p") ||
				strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Hash Join") || strings.Contains(plan, "Merge Join") {
				t.Errorf("a whole table is read:\n%s", plan)
			}
			err = db.Update(t.Context(), func(tx *database.Tx) error {
				_, err := tx.Exec(t.Context(), analyzeNotes)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
