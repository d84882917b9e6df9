package database_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

// Whatever fails, each function either did all or nothing, positions have no
// gaps, and they are in the order of the commits.
func TestRandomGroups(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		var mu sync.Mutex
		stayed := map[int64]int64{} // note → position
		var told []int64            // positions as OnCommit saw them
		work := func(id int64, fate int) func(*database.Tx) error {
			return func(tx *database.Tx) error {
				if fate == 1 {
					return errRefused
				}
				var position int64
				if err := insert(ctx, id, fmt.Sprint("n", id), &position)(tx); err != nil {
					return err
				}
				tx.OnCommit(func() {
					mu.Lock()
					defer mu.Unlock()
					stayed[id] = position
					told = append(told, position)
				})
				switch fate {
				case 2:
					return errRefused
				case 3:
					return tx.Queue(ctx, insertNote, id, "same", nil, false, nil)
				case 4:
					_, err := tx.Exec(ctx, insertNote, id+100_000, fmt.Sprint("n", id), nil, false, nil)
					return err
				case 5:
					panic("fate")
				}
				return nil
			}
		}
		var wg sync.WaitGroup
		for sender := range int64(32) {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(sender), 7))
				for i := range int64(25) {
					fate := max(0, random.IntN(40)-34)
					err := db.Update(ctx, work(sender*1000+i, fate))
					if (err == nil) != (fate == 0) {
						t.Errorf("fate %d: error is %v", fate, err)
					}
				}
			})
		}
		wg.Wait()
		rows, err := db.Read().Query(ctx, selectAll)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for rows.Next() {
			var id, position int64
			var name string
			if err := rows.Scan(&id, &name, &position); err != nil {
				t.Fatal(err)
			}
			if stayed[id] != position {
				t.Errorf("note %d has the position %d, was told %d", id, position, stayed[id])
			}
			found++
		}
		if rows.Err() != nil || found != len(stayed) {
			t.Errorf("%d notes, %d promised, %v", found, len(stayed), rows.Err())
		}
		for i, position := range told {
			if position != int64(i+1) {
				t.Fatalf("position %d was told as number %d", position, i+1)
			}
		}
	})
}

// Two processes share the positions.
func TestTwoWriters(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		one, two := open(t, url, database.Options{}), open(t, url, database.Options{})
		var mu sync.Mutex
		seen := map[int64]bool{}
		var wg sync.WaitGroup
		for sender := range int64(8) {
			db := one
			if sender%2 == 1 {
				db = two
			}
			wg.Go(func() {
				for i := range int64(25) {
					var position int64
					id := sender*100 + i
					if err := db.Update(t.Context(), insert(t.Context(), id, fmt.Sprint(id), &position)); err != nil {
						t.Error(err)
					}
					mu.Lock()
					seen[position] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for position := range int64(200) {
			if !seen[position+1] {
				t.Errorf("position %d is missing", position+1)
			}
		}
	})
}

// A test that fails inside of a function must not hang all others.
func TestGoexit(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		addNote(t, db, 1, "one")
		errs, _ := group(t, db,
			insert(ctx, 2, "two", nil),
			func(tx *database.Tx) error {
				rows, err := tx.Query(ctx, selectAll)
				if err != nil || !rows.Next() {
					t.Error(err)
				}
				runtime.Goexit()
				return nil
			})
		if errs[0] == nil || errs[1] == nil {
			t.Error(errs)
		}
		addNote(t, db, 3, "three")
		err := db.Update(ctx, func(tx *database.Tx) error {
			var id int64
			var name string
			return tx.QueryRow(ctx, selectAll).Scan(&id, &name, new(*int64))
		})
		if err != nil || noteCount(t, db) != 2 {
			t.Errorf("%d notes, %v", noteCount(t, db), err)
		}
	})
}

func TestPanicInCallbacks(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		err := db.Update(t.Context(), func(tx *database.Tx) error {
			tx.OnCommit(func() { panic("callback") })
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		db.Enqueue(func(*database.Tx) error { return nil }, func(error) { panic("callback") })
		addNote(t, db, 1, "one")
	})
}
