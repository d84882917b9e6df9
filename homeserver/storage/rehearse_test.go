package storage

import (
	"testing"

	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// What is rehearsed are questions that the database understands. One connection is
// left for others meanwhile, however few there are.
func TestRehearse(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		for _, readers := range []int{1, 2, rehearsals + 1, 0} {
			db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{Readers: readers})
			if err != nil {
				t.Fatal(err)
			}
			until, ended := make(chan struct{}), make(chan error, 1)
			go func() { ended <- Rehearse(t.Context(), db, until) }()
			if _, err := New(db).Position(t.Context()); err != nil {
				t.Error(err)
			}
			close(until)
			if err := <-ended; err != nil {
				t.Errorf("with %d connections: %v", readers, err)
			}
			db.Close()
			if err := Rehearse(t.Context(), db, until); err == nil && readers != 1 {
				t.Error("a closed database answers")
			}
		}
	})
}
