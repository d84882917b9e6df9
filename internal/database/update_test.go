package database_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

var errRefused = errors.New("refused")

// hold keeps the committer busy until the returned function is called, so that
// what is queued meanwhile becomes one group.
func hold(t *testing.T, db *database.DB) (release func()) {
	t.Helper()
	running, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	db.Enqueue(func(*database.Tx) error {
		once.Do(func() { close(running) })
		<-free
		return nil
	}, func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	<-running
	return func() { close(free) }
}

// group queues functions, lets them run as one group and returns their errors
// and the order of the answers.
func group(t *testing.T, db *database.DB, fns ...func(*database.Tx) error) (errs []error, order []int) {
	t.Helper()
	release := hold(t, db)
	errs = make([]error, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Add(1)
		db.Enqueue(fn, func(err error) {
			errs[i] = err
			order = append(order, i)
			wg.Done()
		})
	}
	release()
	wg.Wait()
	return errs, order
}

func insert(ctx context.Context, id int64, name string, position *int64) func(*database.Tx) error {
	return func(tx *database.Tx) error {
		at, err := tx.Position(ctx)
		if err != nil {
			return err
		}
		if position != nil {
			*position = at
		}
		return tx.Queue(ctx, insertNote, id, name, nil, false, at)
	}
}

func TestOneCulprit(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		addNote(t, db, 1, "taken")
		var first, last int64
		committed := 0
		queued := func(id int64, name string) func(*database.Tx) error {
			return func(tx *database.Tx) error {
				tx.OnCommit(func() { committed++ })
				return tx.Queue(ctx, insertNote, id, name, nil, false, nil)
			}
		}
		errs, order := group(t, db,
			insert(ctx, 10, "ten", &first),
			queued(11, "taken"),
			func(tx *database.Tx) error { // writes and then changes its mind
				if err := insert(ctx, 12, "twelve", nil)(tx); err != nil {
					return err
				}
				return errRefused
			},
			func(tx *database.Tx) error { // only looks
				if _, err := tx.Position(ctx); err != nil {
					return err
				}
				return errRefused
			},
			func(tx *database.Tx) error { panic("bug") },
			func(tx *database.Tx) error { // does not care
				_, _ = tx.Exec(ctx, insertNote, 13, "taken", nil, false, nil)
				if _, err := tx.Exec(ctx, countNotes); err == nil {
					t.Error("a statement after the failed one works")
				}
				return nil
			},
			queued(14, "fourteen"),
			insert(ctx, 15, "fifteen", &last),
		)
		if fmt.Sprint(order) != "[0 1 2 3 4 5 6 7]" {
			t.Error("answers came in the order", order)
		}
		for i, ok := range []bool{true, false, false, false, false, false, true, true} {
			if (errs[i] == nil) != ok {
				t.Errorf("function %d: %v", i, errs[i])
			}
		}
		if !database.IsUnique(errs[1]) || !database.IsUnique(errs[5]) || database.IsUnique(errs[2]) {
			t.Error("IsUnique mistakes", errs[1], errs[5], errs[2])
		}
		if !errors.Is(errs[2], errRefused) || !errors.Is(errs[3], errRefused) || !strings.Contains(errs[4].Error(), "bug") {
			t.Error("errors are", errs[2:5])
		}
		if last != first+1 || committed != 1 {
			t.Errorf("positions are %d and %d, OnCommit ran %d times", first, last, committed)
		}
		if n := noteCount(t, db); n != 4 {
			t.Errorf("%d notes, want 4", n)
		}
	})
}

// Nothing is rolled back for a function that changed nothing.
func TestRefusalIsCheap(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx, runs := t.Context(), 0
		var first, last int64
		errs, _ := group(t, db,
			func(tx *database.Tx) error { runs++; return insert(ctx, 1, "one", &first)(tx) },
			func(tx *database.Tx) error {
				var n int64
				if err := tx.QueryRow(ctx, countNotes).Scan(&n); err != nil || n != 1 {
					t.Errorf("the group sees %d notes, %v", n, err)
				}
				if _, err := tx.Position(ctx); err != nil {
					t.Error(err)
				}
				return errRefused
			},
			func(tx *database.Tx) error { runs++; return insert(ctx, 2, "two", &last)(tx) },
		)
		if runs != 2 || errs[0] != nil || !errors.Is(errs[1], errRefused) || errs[2] != nil || last != first+1 {
			t.Error(runs, errs, first, last)
		}
	})
}

func TestAlone(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		addNote(t, db, 1, "taken")
		runs := 0
		err := db.Update(ctx, func(tx *database.Tx) error {
			runs++
			return tx.Queue(ctx, insertNote, 2, "taken", nil, false, nil)
		})
		if !database.IsUnique(err) || runs != 1 {
			t.Errorf("error is %v after %d runs", err, runs)
		}
	})
}

func TestStatementsInOrder(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		err := db.Update(ctx, func(tx *database.Tx) error {
			var rows [][]any
			for i := range 20 {
				rows = append(rows, []any{i, fmt.Sprint(i), nil, false, nil})
			}
			if err := tx.ExecMany(ctx, insertNote, rows); err != nil {
				return err
			}
			if err := tx.Queue(ctx, deleteNotes, 15); err != nil {
				return err
			}
			n, err := tx.Exec(ctx, deleteNotes, 10)
			if err != nil || n != 5 {
				return fmt.Errorf("deleted %d rows, want 5: %w", n, err)
			}
			var id int64
			var name string
			if err := tx.QueryRow(ctx, insertReturning, 100, "hundred").Scan(&id, &name); err != nil {
				return err
			}
			if err := tx.QueryRow(ctx, lockNote, 100).Scan(&name); err != nil || name != "hundred" {
				return fmt.Errorf("name is %q: %w", name, err)
			}
			all, err := tx.Query(ctx, selectAll)
			if err != nil {
				return err
			}
			seen := 0
			for all.Next() {
				seen++
			}
			if seen != 11 {
				t.Errorf("%d rows", seen)
			}
			return all.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(ctx, func(tx *database.Tx) error {
			rows, err := tx.Query(ctx, selectAll)
			if err != nil {
				return err
			}
			defer rows.Close()
			return tx.Queue(ctx, deleteNotes, 0)
		})
		if !errors.Is(err, database.ErrRowsOpen) || noteCount(t, db) != 11 {
			t.Errorf("error is %v with %d notes", err, noteCount(t, db))
		}
	})
}

// A function may queue more than a batch holds.
func TestManyRows(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		var rows [][]any
		for i := range 2500 {
			rows = append(rows, []any{i, fmt.Sprint(i), nil, false, nil})
		}
		err := db.Update(ctx, func(tx *database.Tx) error {
			if err := tx.ExecMany(ctx, insertNote, rows); err != nil {
				return err
			}
			n, err := tx.Exec(ctx, deleteNotes, 1000)
			if err != nil || n != 1500 {
				return fmt.Errorf("deleted %d rows: %w", n, err)
			}
			for i := 1000; i < 3000; i++ {
				if err := tx.Queue(ctx, insertNote, i, fmt.Sprint(i), nil, false, nil); err != nil {
					return err
				}
			}
			return nil
		})
		if n := noteCount(t, db); err != nil || n != 3000 {
			t.Errorf("%d notes, %v", n, err)
		}
		err = db.Update(ctx, func(tx *database.Tx) error {
			rows[2400][0] = 1
			if _, err := tx.Exec(ctx, deleteNotes, 2); err != nil {
				return err
			}
			return tx.ExecMany(ctx, insertNote, rows[2:])
		})
		if !database.IsUnique(err) || noteCount(t, db) != 3000 {
			t.Errorf("%d notes, %v", noteCount(t, db), err)
		}
	})
}

func TestLeavingTheQueue(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		release := hold(t, db)
		left := make(chan error)
		go func() { left <- db.Update(ctx, insert(ctx, 1, "one", nil)) }()
		ran, finished := make(chan struct{}), make(chan error)
		var once sync.Once
		stay, leave := context.WithCancel(t.Context())
		go func() {
			finished <- db.Update(stay, func(tx *database.Tx) error {
				once.Do(func() { close(ran); leave() })
				return insert(stay, 2, "two", nil)(tx)
			})
		}()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		release()
		<-ran
		if err := <-finished; err != nil {
			t.Errorf("a running function was disturbed: %v", err)
		}
		if n := noteCount(t, db); n != 1 {
			t.Errorf("%d notes", n)
		}
		if err := db.Update(ctx, insert(ctx, 3, "three", nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestCloseFinishesTheQueue(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, schema, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ids := db.NewIDs("x")
		release := hold(t, db)
		answers := make(chan error, 600)
		for i := range cap(answers) {
			db.Enqueue(insert(t.Context(), int64(i), fmt.Sprint(i), nil), func(err error) { answers <- err })
		}
		release()
		db.Close()
		for range cap(answers) {
			select {
			case err := <-answers:
				if err != nil {
					t.Fatal(err)
				}
			default:
				t.Fatal("an answer is missing")
			}
		}
		_, idErr := ids.Next(t.Context())
		var n int64
		for what, err := range map[string]error{
			"Update": db.Update(t.Context(), insert(t.Context(), -1, "x", nil)),
			"Read":   db.Read().QueryRow(t.Context(), countNotes).Scan(&n),
			"View":   db.View(t.Context(), func(q database.Querier) error { return q.QueryRow(t.Context(), countNotes).Scan(&n) }),
			"IDs":    idErr,
		} {
			if !errors.Is(err, database.ErrClosed) {
				t.Errorf("%s: error is %v", what, err)
			}
		}
		if n := noteCount(t, open(t, url, database.Options{})); n != int64(cap(answers)) {
			t.Errorf("%d notes", n)
		}
	})
}
