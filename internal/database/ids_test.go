package database_test

import (
	"errors"
	"sync"
	"testing"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

// Two processes and many goroutines, inside and outside of functions that
// stay or fail, never get the same ID.
func TestIDsAreUnique(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		var mu sync.Mutex
		seen := map[int64]bool{}
		take := func(ids *database.IDs) {
			id, err := ids.Next(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || id < 1 || seen[id] {
				t.Errorf("ID %d, seen before: %v, %v", id, seen[id], err)
			}
			seen[id] = true
		}
		var wg sync.WaitGroup
		for range 2 {
			db := open(t, url, database.Options{})
			ids := db.NewIDs("thing")
			for worker := range 4 {
				wg.Go(func() {
					for range 800 {
						take(ids)
					}
				})
				wg.Go(func() {
					err := db.Update(ctx, func(tx *database.Tx) error {
						for range 1500 {
							take(ids)
						}
						if worker%2 == 0 {
							return nil
						}
						if _, err := tx.Exec(ctx, insertNote, 1, "x", nil, false, nil); err != nil {
							return err
						}
						return errRefused
					})
					if worker%2 == 1 && !errors.Is(err, errRefused) || worker%2 == 0 && err != nil {
						t.Errorf("error is %v", err)
					}
				})
			}
		}
		wg.Wait()
		// A name of its own starts at 1; a later process goes on.
		db := open(t, url, database.Options{})
		if id, err := db.NewIDs("other").Next(ctx); id != 1 || err != nil {
			t.Errorf("first ID of another name is %d, %v", id, err)
		}
		take(db.NewIDs("thing"))
	})
}

// A function that is undone among others never gives its block to those who
// reserve at that moment.
func TestIDsWhileFunctionsAreUndone(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db := open(t, url, database.Options{})
		var mu sync.Mutex
		seen := map[int64]bool{}
		// A counter of its own reserves a block with each ID.
		take := func() {
			id, err := db.NewIDs("thing").Next(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[id] {
				t.Errorf("ID %d, seen before: %v, %v", id, seen[id], err)
			}
			seen[id] = true
		}
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for range 100 {
					if worker < 2 {
						take()
						continue
					}
					err := db.Update(ctx, func(tx *database.Tx) error {
						take()
						if _, err := tx.Exec(ctx, insertNote, 1, "x", nil, false, nil); err != nil {
							return err
						}
						return errRefused
					})
					if !errors.Is(err, errRefused) {
						t.Errorf("error is %v", err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// A block that was reserved in a transaction that failed is not given out
// again after a restart, for its IDs may have been used.
func TestIDsSurviveRollback(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db, err := database.Open(ctx, url, schema, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ids := db.NewIDs("thing")
		var last int64
		err = db.Update(ctx, func(tx *database.Tx) error {
			if last, err = ids.Next(ctx); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, insertNote, 1, "x", nil, false, nil); err != nil {
				return err
			}
			return errRefused
		})
		if !errors.Is(err, errRefused) {
			t.Fatal(err)
		}
		if last, err = ids.Next(ctx); err != nil {
			t.Fatal(err)
		}
		addNote(t, db, last, "kept")
		db.Close()
		next, err := open(t, url, database.Options{}).NewIDs("thing").Next(ctx)
		if err != nil || next <= last {
			t.Errorf("ID %d comes after %d, %v", next, last, err)
		}
	})
}
