package database_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

// background starts background functions, one after the other, while the
// committer is held, and returns once all of them wait.
func background(t *testing.T, db *database.DB, ctx context.Context, fns ...func(*database.Tx) error) (wait func() ([]database.Turn, []error)) {
	t.Helper()
	turns, errs := make([]database.Turn, len(fns)), make([]error, len(fns))
	var all sync.WaitGroup
	before := db.BackgroundWaiting()
	for i, fn := range fns {
		all.Go(func() { turns[i], errs[i] = db.Background(ctx, fn) })
		for deadline := time.Now().Add(2 * time.Minute); db.BackgroundWaiting() < before+i+1; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("a background function does not wait")
			}
		}
	}
	return func() ([]database.Turn, []error) {
		all.Wait()
		return turns, errs
	}
}

// positioned is a function that notes its name in the order of the commits.
func positioned(ctx context.Context, id int64, name string, order *[]string) func(*database.Tx) error {
	return func(tx *database.Tx) error {
		tx.OnCommit(func() { *order = append(*order, name) })
		return insert(ctx, id, name, nil)(tx)
	}
}

// Background functions go when nobody else has anything to write, each in a
// transaction of its own.
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
		turn, err := db.Background(ctx, insert(ctx, 1, "alone", nil))
		if err != nil || turn.Shared || turn.Took <= 0 {
			t.Errorf("where nobody writes: %+v, %v", turn, err)
		}
		db.BackgroundPatience(time.Hour)
		var order []string
		release := hold(t, db)
		wait := background(t, db, ctx, positioned(ctx, 2, "first", &order), positioned(ctx, 3, "second", &order))
		var others sync.WaitGroup
		for i, name := range []string{"five", "six"} {
			others.Add(1)
			db.Enqueue(positioned(ctx, int64(5+i), name, &order), func(err error) {
				if err != nil {
					t.Error(err)
				}
				others.Done()
			})
		}
		mu.Lock()
		groups = nil
		mu.Unlock()
		release()
		others.Wait()
		turns, errs := wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		for _, turn := range turns {
			if !turn.Shared || turn.Took <= 0 || turn.Rest() < 10*turn.Took {
				t.Errorf("went %+v", turn)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if got := fmt.Sprint(order); got != "[five six first second]" {
			t.Errorf("committed in the order %s", got)
		}
		// The first group is the one that has held the others up.
		if fmt.Sprint(groups) != "[1 2 1 1]" {
			t.Errorf("groups of %v", groups)
		}
	})
}

// Others who go on writing do not keep background functions waiting for good.
func TestBackgroundAmongOthers(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		db.BackgroundPatience(time.Millisecond)
		stop := make(chan struct{})
		var id int64
		var again func(error)
		ended := make(chan struct{})
		again = func(error) { // on the committing goroutine: the queue is never empty
			select {
			case <-stop:
				close(ended)
				return
			default:
			}
			id++
			db.Enqueue(insert(ctx, 1000+id, fmt.Sprint("note ", id), nil), again)
		}
		again(nil)
		turn, err := db.Background(ctx, insert(ctx, 1, "in between", nil))
		close(stop)
		<-ended
		if err != nil || turn.Took <= 0 {
			t.Errorf("%+v, %v", turn, err)
		}
	})
}

// What can be made again does not wait for the disk; everything else does, also after it.
func TestBackgroundIsNotFlushed(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		level := func(run func(fn func(tx *database.Tx) error) error) (level string) {
			err := run(func(tx *database.Tx) (err error) {
				level, err = tx.Flushing(ctx)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return level
		}
		update := func(fn func(tx *database.Tx) error) error { return db.Update(ctx, fn) }
		others := func(fn func(tx *database.Tx) error) error {
			_, err := db.Background(ctx, fn)
			return err
		}
		want, relaxed := "2", "1" // FULL and NORMAL
		if db.Engine() == database.PostgreSQL {
			want, relaxed = level(update), "off" // as the server is set
		}
		for i := range 2 {
			if got := level(update); got != want {
				t.Errorf("%d: an update is committed with %q", i, got)
			}
			if got := level(others); got != relaxed {
				t.Errorf("%d: a background function is committed with %q", i, got)
			}
		}
		if got := level(update); got != want {
			t.Errorf("an update after a background function is committed with %q", got)
		}
	})
}

// One that errs undoes nothing of the others, and the other way round.
func TestBackgroundErrs(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		db.BackgroundPatience(time.Hour)
		addNote(t, db, 1, "taken")
		release := hold(t, db)
		wait := background(t, db, ctx, insert(ctx, 2, "taken", nil), insert(ctx, 4, "four", nil))
		release()
		if _, errs := wait(); !database.IsUnique(errs[0]) || errs[1] != nil {
			t.Errorf("background functions, of which the first cannot be: %v", errs)
		}
		addNote(t, db, 3, "three")
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
		db.BackgroundPatience(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		release := hold(t, db)
		wait := background(t, db, ctx, insert(ctx, 2, "never", nil))
		cancel()
		if _, errs := wait(); !errors.Is(errs[0], context.Canceled) {
			t.Error(errs[0])
		}
		release()
		addNote(t, db, 3, "somebody else")
		if n := noteCount(t, db); n != 1 {
			t.Errorf("%d notes", n)
		}
		release = hold(t, db)
		wait = background(t, db, t.Context(), insert(t.Context(), 4, "at the end", nil))
		closed := make(chan struct{})
		go func() {
			db.Close()
			close(closed)
		}()
		release()
		if _, errs := wait(); errs[0] != nil {
			t.Error(errs)
		}
		<-closed
		if _, err := db.Background(t.Context(), insert(t.Context(), 5, "too late", nil)); !errors.Is(err, database.ErrClosed) {
			t.Error(err)
		}
	})
}
