package storage_test

import (
	"testing"

	_ "trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// Every statement that the package declares is one on both engines.
func TestStatements(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := database.CheckStatements(t.Context(), db); err != nil {
			t.Error(err)
		}
	})
}
