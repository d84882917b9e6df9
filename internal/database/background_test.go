package database_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

// riding starts background functions and returns once all of them wait for company.
func riding(t *testing.T, db *database.DB, ctx context.Context, fns ...func(*database.Tx) error) (wait func() ([]database.Ride, []error)) {
	t.Helper()
	rides, errs := make([]database.Ride, len(fns)), make([]error, len(fns))
	var group sync.WaitGroup
	before := db.Riders()
	for i, fn := range fns {
		group.Go(func() { rides[i], errs[i] = db.Background(ctx, fn) })
		for deadline := time.Now().Add(10 * time.Second); db.Riders() < before+i+1; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("a background function does not wait")
			}
		}
	}
	return func() ([]database.Ride, []error) {
		group.Wait()
		return rides, errs
	}
}

// While others write, background functions go along with them one by one, the last of
// each group; alone if nobody comes.
func TestBackground(t *testing.T) {
	var mu sync.Mutex
	var groups []int
	testkit.Databases(t, func(t *testing.T, url string) {
		groups = nil
		db := open(t, url, database.Options{OnGroup: func(n int, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			groups = append(groups, n)
		}})
		ctx := t.Context()
		ride, err := db.Background(ctx, insert(ctx, 1, "alone", nil))
		if err != nil || ride.Along || ride.Took <= 0 {
			t.Errorf("where nobody writes: %+v, %v", ride, err)
		}
		db.RideAlone(time.Hour)
		addNote(t, db, 2, "somebody")
		wait := riding(t, db, ctx, insert(ctx, 3, "first", nil), insert(ctx, 4, "second", nil))
		mu.Lock()
		groups = nil
		mu.Unlock()
		errs, _ := group(t, db, insert(ctx, 5, "five", nil), insert(ctx, 6, "six", nil))
		rides, failed := wait()
		if err := errors.Join(slices.Concat(errs, failed)...); err != nil {
			t.Fatal(err)
		}
		for _, ride := range rides {
			if !ride.Along || ride.Took <= 0 || ride.Rest() < 10*ride.Took {
				t.Errorf("went %+v", ride)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		// The one that holds the others up is a group with the first of them.
		if fmt.Sprint(groups) != "[2 3]" {
			t.Errorf("groups of %v", groups)
		}
	})
}

// One that errs undoes nothing of those that it went along with, and the other
// way round.
func TestBackgroundErrs(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		db.RideAlone(time.Hour)
		addNote(t, db, 1, "taken")
		wait := riding(t, db, ctx, insert(ctx, 2, "taken", nil))
		addNote(t, db, 3, "three")
		if _, errs := wait(); !database.IsUnique(errs[0]) {
			t.Errorf("a background function that cannot be: %v", errs)
		}
		wait = riding(t, db, ctx, insert(ctx, 4, "four", nil))
		if err := db.Update(ctx, insert(ctx, 5, "taken", nil)); !database.IsUnique(err) {
			t.Errorf("a function that cannot be: %v", err)
		}
		if _, errs := wait(); errs[0] != nil {
			t.Error(errs[0])
		}
		if n := noteCount(t, db); n != 3 {
			t.Errorf("%d notes", n)
		}
	})
}

// A context takes a background function back as long as it waits, and closing the
// database does not forget it.
func TestBackgroundEnds(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db := open(t, url, database.Options{})
		db.RideAlone(time.Hour)
		addNote(t, db, 1, "somebody")
		ctx, cancel := context.WithCancel(t.Context())
		wait := riding(t, db, ctx, insert(ctx, 2, "never", nil))
		cancel()
		if _, errs := wait(); !errors.Is(errs[0], context.Canceled) {
			t.Error(errs[0])
		}
		addNote(t, db, 3, "somebody else")
		if n := noteCount(t, db); n != 2 {
			t.Errorf("%d notes", n)
		}
		wait = riding(t, db, t.Context(), insert(t.Context(), 4, "at the end", nil))
		db.Close()
		if rides, errs := wait(); errs[0] != nil || rides[0].Along {
			t.Errorf("%+v, %v", rides, errs)
		}
		if _, err := db.Background(t.Context(), insert(t.Context(), 5, "too late", nil)); !errors.Is(err, database.ErrClosed) {
			t.Error(err)
		}
	})
}

// One that finds no company goes alone.
func TestBackgroundFindsNoCompany(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		db.RideAlone(time.Hour)
		addNote(t, db, 1, "somebody")
		db.RideAlone(20 * time.Millisecond)
		ride, err := db.Background(ctx, insert(ctx, 2, "alone", nil))
		if err != nil || ride.Along {
			t.Errorf("%+v, %v", ride, err)
		}
	})
}
